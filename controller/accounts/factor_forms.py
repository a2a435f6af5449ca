"""The forms that ask for a second factor or a passkey: django-allauth's, whose refusals
are told to the audit log.

Its signal `authentication_failed` knows neither passkeys nor those held back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as codes
from allauth.mfa.webauthn import forms as passkeys
from django.core.exceptions import ValidationError

from controller.audit.events import (
    FACTOR_REFUSED,
    record_held_back,
    record_refusal,
)
from controller.models import User


@contextmanager
def _told(user: User | None) -> Iterator[None]:
    """A refusal within becomes a row about this user; None: a passkey of nobody."""
    try:
        yield
    except ValidationError as refusal:
        if refusal.code == "too_many_login_attempts":
            record_held_back(user)
        else:
            record_refusal(user, FACTOR_REFUSED)
        raise


class ToldCode:
    """Of apps and of recovery codes."""

    user: User

    def clean_code(self) -> str:
        with _told(self.user):
            return str(super().clean_code())  # type: ignore[misc]  # of the library


class ToldPasskey:
    """`user` is None where the passkey itself says whose it is."""

    user: User | None

    def clean_credential(self) -> Any:
        with _told(self.user):
            try:
                return super().clean_credential()  # type: ignore[misc]  # of the library
            except (AttributeError, KeyError) as exc:
                # JSON of another shape than a browser's: the library answers 500.
                raise get_adapter().validation_error("incorrect_code") from exc


class AuthenticateForm(ToldCode, codes.AuthenticateForm):  # type: ignore[misc]
    pass


class ReauthenticateForm(ToldCode, codes.ReauthenticateForm):  # type: ignore[misc]
    pass


class AuthenticateWebAuthnForm(ToldPasskey, passkeys.AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class ReauthenticateWebAuthnForm(ToldPasskey, passkeys.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class LoginWebAuthnForm(ToldPasskey, passkeys.LoginWebAuthnForm):  # type: ignore[misc]
    pass
