"""Whose socket it is, looked at again whenever it matters."""

from importlib import import_module
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from chat.notices import end_session
from controller.accounts.second_factor import is_missing
from controller.accounts.terms import lacks_consent
from controller.models import User


def session_user(session_key: str | None) -> User | None:
    """The active user who is signed in by this session now; three queries, and one
    more for a guest and where a second factor is required of this person.

    None after a sign-out, a changed password, a deactivation or the session's expiry,
    for a guest whose link is over, and while a required second factor is missing or the
    terms of use are not agreed to.
    """
    if not session_key:
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request = HttpRequest()
    request.session = store(session_key)
    user = get_user(request)
    if not isinstance(user, User) or not user.is_active or is_missing(user):
        return None
    if user.guest_link is not None and not user.guest_link.is_open:
        return None
    if lacks_consent(user, request.session):
        return None
    return user


def close_sockets(request: HttpRequest | None = None, **_signal: Any) -> None:
    """Receiver of `user_logged_out`, which is sent before the session is flushed."""
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        end_session(session.session_key)


def close_sockets_of(instance: UserSession, **_signal: Any) -> None:
    """Receiver of `post_delete` of listed sessions: signed out from elsewhere, or gone
    with the account."""
    end_session(instance.session_key)
