"""Signed-in people for the benchmark, made within the product's own Django."""

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from controller.models import User


def make_sessions(num_users: int) -> list[str]:
    """The session keys of as many new people."""
    return [_sign_in(f"reader{number}") for number in range(num_users)]


def _sign_in(username: str) -> str:
    user = User(username=username)
    user.set_unusable_password()
    user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)
