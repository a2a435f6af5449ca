"""Guest links from their making to their end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from allauth.usersessions.models import UserSession
from auditlog.context import disable_auditlog
from django.conf import settings
from django.contrib.auth import login
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.http import urlencode

from controller.accounts.deletion import forget_in_audit_log, make_anonymous
from controller.identity import secrets
from controller.models import GuestLink, Limit, Revision, Team, User

PARAMETER = "link"
# Of all guests of a link together, unless its maker says otherwise.
FIRST_LIMITS: Mapping[str, int] = {
    Limit.Kind.REQUESTS_PER_MINUTE: 60,
    Limit.Kind.TOKENS_PER_DAY: 1_000_000,
}
# A guest's cookie outlives the link by this: who comes back is told why it is over.
TOLD_FOR = timedelta(days=1)
# Easily read out, and of no use to guess.
NAME_CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def make_link(
    created_by: User | None = None, *, limits: Mapping[str, int | None], **fields: Any
) -> tuple[GuestLink, str]:
    """(the link, its secret), its guests together bound by these limits, by kind.

    Raises `ValidationError` for an end that no link may have, and by field for what no
    row takes.
    """
    with transaction.atomic():
        link, secret = GuestLink.issue(created_by, **fields)
        for kind, amount in limits.items():
            if amount is not None:
                Limit.put(kind, amount, team_id=link.team_id)
        Revision.bump("keys")
    return link, secret


def path_of(secret: str) -> str:
    """What a guest opens. In the query, which no log of this site has."""
    return f"{reverse('chat:guest')}?{urlencode({PARAMETER: secret})}"


def find(secret: str) -> GuestLink | None:
    """The link with this secret, if it is open. A guess costs no query."""
    if not secrets.has_right_checksum(secret, secrets.GUEST_LINK):
        return None
    digest = secrets.digest(secret)
    return GuestLink.objects.open().filter(digest=digest).first()


def admit(request: HttpRequest, link: GuestLink) -> User | None:
    """The new guest, signed in by this browser until the link ends; None where it lets
    nobody in any more."""
    with transaction.atomic():
        if not link.take_place():
            return None
        guest = User(username=_new_name(link), guest_link=link)
        guest.set_unusable_password()
        guest.save()
    login(request, guest, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.set_expiry(link.expires_at + TOLD_FOR)
    UserSession.objects.create_from_request(request)
    return guest


def _new_name(link: GuestLink) -> str:
    """Such as `guest-12-k3x9wq`: operators see of which link somebody came."""
    return f"guest-{link.pk}-{get_random_string(8, NAME_CHARACTERS)}"


def revoke(link: GuestLink) -> None:
    """End the link, and with it what its guests see and ask, at once."""
    link.revoke()
    # Once they are sent to look, the link must be seen to be over.
    transaction.on_commit(lambda: _close_pages(link))


def _close_pages(link: GuestLink) -> None:
    """Its guests' open pages are told by the rows that go. Their cookies stay, open
    nothing, and are told so."""
    for session in UserSession.objects.filter(user__guest_link=link):
        session.delete()


def delete_guests(guests: QuerySet[User]) -> None:
    """Guests go with their conversations, as accounts do: the ledger keeps its sums and
    the audit log its rows, of nobody."""
    ids = list(guests.values_list("pk", flat=True))
    with transaction.atomic(), disable_auditlog():
        forget_in_audit_log(ids)
        User.objects.filter(pk__in=ids).delete()
    make_anonymous(ids)


def delete_links(links: QuerySet[GuestLink]) -> None:
    """Links go with their teams, unless somebody found another use for a team: without
    it a model or a key would be bound by nothing."""
    ids = list(links.values_list("pk", flat=True))
    with transaction.atomic():
        unused = Team.objects.filter(
            guest_links__in=ids, memberships=None, api_keys=None, served_models=None
        )
        teams = list(unused.values_list("pk", flat=True))
        GuestLink.objects.filter(pk__in=ids).delete()
        Team.objects.filter(pk__in=teams).delete()
