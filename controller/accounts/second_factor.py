"""Who must have a second factor, and what happens to those without one."""

from collections.abc import Callable
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

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


class SecondFactorMiddleware:
    """Sends those who lack a required second factor to set one up before anything else.

    The console too: it has no door of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if _is_open(request) or not is_missing(request.user):
            return None
        return HttpResponseRedirect(reverse("mfa_index"))


def _is_open(request: HttpRequest) -> bool:
    match = request.resolver_match
    name = match.view_name if match else ""  # with its namespace: admin:…, chat:…
    return name.startswith(OPEN_PREFIXES) or name in OPEN_NAMES
