"""Operators' keys: reading the fleet by a credential instead of a session."""

from collections.abc import Mapping

from controller.errors import PermissionRefused
from controller.gateway import gateway
from controller.identity.bounds import KeyUse
from controller.identity.credentials import read_credential
from controller.models import ApiKey

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
