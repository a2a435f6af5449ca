"""Operators without a page of the admin: known by a key, or by their session."""

from collections.abc import Mapping
from importlib import import_module

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from controller.accounts import second_factor
from controller.errors import PermissionRefused
from controller.gateway import gateway
from controller.identity.bounds import KeyUse
from controller.identity.credentials import read_credential
from controller.models import ApiKey, User

ENDPOINT = "/controller/"  # a key that is bound to endpoints is not for it


async def bears_operators_key(meta: Mapping[str, str]) -> bool:
    """Whether the headers bear a key with the scope `fleet`; False for no key at all.

    Raises `AuthenticationFailed` for a wrong key, `PermissionRefused` for another's, or
    one that is not for this address.
    """
    secret = read_credential(meta)
    if not secret:
        return False
    caller = await gateway().keys.caller(secret, KeyUse.of(meta, ENDPOINT))
    if ApiKey.Scope.FLEET not in caller.scopes:
        raise PermissionRefused(
            "This API key lacks the scope `fleet`. Use one that has it."
        )
    return True


@database_sync_to_async
def operator_of(session_key: str | None, permission: str) -> User | None:
    """The active member of staff who is signed in by this session now and has the
    permission, and the second factor if one is required; None for anybody else, guests
    among them."""
    if not session_key:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    if not isinstance(user, User) or not user.is_active or not user.is_staff:
        return None
    if user.is_guest:  # somebody let one be staff: the link is no operator's credential
        return None
    may = user.has_perm(permission) and not second_factor.is_missing(user)
    return user if may else None
