"""Terms of use: shown before the chat site is used, and agreed to."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from controller.accounts.gate import Gate
from controller.audit.actor import address_of
from controller.models import TermsConsent, TermsVersion, User

PAGE = "chat:terms"
# What one may see and do without agreeing: read them, leave, take one's own things.
OPEN = {
    PAGE,
    "chat:language",
    "chat:data",
    "chat:export_data",
    "chat:delete_account",
    "chat:receipt",
    "chat:manifest",
    "chat:service_worker",
    "chat:offline",
}
# In the session, so that a reader who agreed costs no query for the consent.
SESSION_KEY = "agreed_to_terms"


def agree(request: HttpRequest, user: User, terms: TermsVersion) -> None:
    """Write down that this person agrees, when and from where; once for a version."""
    TermsConsent.objects.get_or_create(
        user=user, terms=terms, defaults={"address": address_of(request)}
    )
    request.session[SESSION_KEY] = terms.pk


def has_agreed(user: User, terms: TermsVersion, session: Any) -> bool:
    """Whether this person agreed to exactly this version; at most one query."""
    if session.get(SESSION_KEY) == terms.pk:
        return True
    agreed = TermsConsent.objects.filter(user=user, terms=terms).exists()
    if agreed:
        session[SESSION_KEY] = terms.pk
    return agreed


def lacks_consent(user: User, session: Any) -> bool:
    """Whether this person still has terms to agree to; at most two queries."""
    terms = TermsVersion.current()
    return terms is not None and not has_agreed(user, terms, session)


class TermsMiddleware(Gate):
    """Sends people to the terms before they use the chat site, once for each version.

    The console stays open: terms are published there.
    """

    def answer_instead(self, request: HttpRequest, name: str) -> HttpResponse | None:
        user = request.user
        if not name.startswith("chat:") or name in OPEN:
            return None
        if not isinstance(user, User) or not lacks_consent(user, request.session):
            return None
        where = urlencode({"next": request.get_full_path()})
        return HttpResponseRedirect(f"{reverse(PAGE)}?{where}")
