"""What is worth a row of the audit log and is no change of a row: sign-ins, refusals,
and decisions that reach many rows by one statement."""

from collections.abc import Iterable, Mapping
from typing import Any

from auditlog.models import LogEntry
from django.contrib.auth.signals import (
    user_logged_in,
    user_logged_out,
    user_login_failed,
)
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db.models import Model, Q

from controller.models import User

SIGNED_IN, SIGNED_OUT, REFUSED = "signed in", "signed out", "sign-in refused"
FACTOR_REFUSED = "second factor refused"
# By an operator: who leaves signs out.
SESSION_ENDED = "session ended"
# The right password or code would have been refused, too.
HELD_BACK = "sign-in held back after too many"
REFUSALS = (REFUSED, FACTOR_REFUSED, HELD_BACK)
# Guesses come by the thousand: of those held back one row a minute for each account.
HELD_BACK_SECONDS = 60
# For a name that nobody has: people type their password there, too.
UNKNOWN = "(an unknown name)"


def record(rows: Iterable[Model], event: str, **more: Any) -> None:
    """Log of each of these rows what was done with it, in words."""
    for row in rows:
        LogEntry.objects.log_create(
            row,
            force_log=True,
            action=LogEntry.Action.ACCESS,
            changes={},
            additional_data={"event": event},
            **more,
        )


def record_deletions(rows: Iterable[Model]) -> None:
    """Log that each of these rows, whose changes are not watched, is deleted. To be
    called while they are there."""
    for row in rows:
        LogEntry.objects.log_create(
            row, force_log=True, action=LogEntry.Action.DELETE, changes={}
        )


def on_sign_in(user: User, **_signal: Any) -> None:
    record([user], SIGNED_IN, actor=user)


def on_sign_out(user: User | None, **_signal: Any) -> None:
    if user is not None:  # a session that had ended already
        record([user], SIGNED_OUT, actor=user)


def on_refusal(credentials: Mapping[str, Any], **_signal: Any) -> None:
    """The actor stays empty: it may be anybody. Of a name, that it was tried; two
    queries."""
    record_refusal(_meant(credentials), REFUSED)


def on_held_back(credentials: Mapping[str, Any]) -> None:
    """Somebody has guessed too often, so that this password was not looked at."""
    record_held_back(_meant(credentials))


def record_held_back(user: User | None) -> None:
    """The same for a known account; at most one row in HELD_BACK_SECONDS."""
    whose = user.pk if user else "unknown"
    if cache.add(f"audit:held-back:{whose}", True, HELD_BACK_SECONDS):
        record_refusal(user, HELD_BACK)


def record_refusal(user: User | None, event: str) -> None:
    """Log that somebody was refused who wanted to be this user, or nobody known."""
    if user is not None:
        record([user], event)
        return
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(User),
        object_pk="",
        object_repr=UNKNOWN,
        action=LogEntry.Action.ACCESS,
        changes={},
        additional_data={"event": event},
    )


def _meant(credentials: Mapping[str, Any]) -> User | None:
    """The account whose name or address was typed; None: nobody's."""
    typed = str(credentials.get("username") or credentials.get("email") or "")
    is_meant = Q(username__iexact=typed) | Q(email__iexact=typed)
    return User.objects.filter(is_meant).first() if typed else None


def connect() -> None:
    for signal, receiver in (
        (user_logged_in, on_sign_in),
        (user_logged_out, on_sign_out),
        (user_login_failed, on_refusal),
    ):
        signal.connect(receiver, dispatch_uid=f"controller.audit.{receiver.__name__}")
