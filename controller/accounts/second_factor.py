"""Who must have a second factor, and what happens to those without one."""

from collections.abc import Iterable
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from controller.accounts.gate import Gate

# Recovery codes alone are no second factor: they stand in for one.
TYPES = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
# What somebody without one can reach: the pages of the account, to set it up or leave.
OPEN_PREFIXES = ("mfa_", "account_", "usersessions_")
OPEN_NAMES = ("chat:language",)


def is_required_of(user: Any) -> bool:
    """Whether REQUIRE_SECOND_FACTOR asks it of this person; guests have no first."""
    if getattr(user, "is_guest", False):
        return False
    match settings.REQUIRE_SECOND_FACTOR:
        case "everyone":
            return bool(user.is_authenticated)
        case "staff":
            return bool(user.is_authenticated and user.is_staff)
    return False


def is_missing(user: Any) -> bool:
    """Whether this person must have a second factor and has none. At most one query."""
    return is_required_of(user) and not get_adapter().is_mfa_enabled(user, TYPES)


def take_away(factors: Iterable[Authenticator]) -> None:
    """Delete them, and with somebody's last one the recovery codes that stood in for
    it: whoever finds the sheet must not get past the next factor by it."""
    for factor in list(factors):
        factor.delete()
        others = Authenticator.objects.filter(user=factor.user_id)
        if not others.filter(type__in=TYPES).exists():
            others.delete()


class SecondFactorMiddleware(Gate):
    """Sends those who lack a required second factor to set one up before anything else.

    The console too: it has no door of its own.
    """

    def answer_instead(self, request: HttpRequest, name: str) -> HttpResponse | None:
        if _is_open(name) or not is_missing(request.user):
            return None
        return HttpResponseRedirect(reverse("mfa_index"))


def _is_open(name: str) -> bool:
    return name.startswith(OPEN_PREFIXES) or name in OPEN_NAMES
