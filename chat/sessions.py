"""Whose socket it is, looked at again whenever it matters."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from chat.notices import end_session
from controller.models import User


def session_user(session_key: str | None) -> User | None:
    """The active user who is signed in by this session now; two queries.

    None after a sign-out, a changed password, a deactivation or the session's expiry.
    """
    if not session_key:
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request = HttpRequest()
    request.session = store(session_key)
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active else None


def close_sockets(request: HttpRequest | None = None, **_signal: Any) -> None:
    """Receiver of `user_logged_out`, which is sent before the session is flushed."""
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        end_session(session.session_key)
