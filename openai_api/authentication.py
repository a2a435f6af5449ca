"""Callers of `/v1`: the holder of a key, or the guest of an open gateway."""

from django.conf import settings

from controller.errors import AuthenticationFailed, PermissionRefused
from controller.gateway import gateway
from controller.identity.bounds import KeyUse
from controller.identity.caller import Caller, guest_caller
from controller.identity.credentials import read_credential
from controller.lean import LeanRequest


async def authenticate(request: LeanRequest, endpoint: str) -> Caller:
    """The caller that the request's headers prove, who may call models.

    Raises `PermissionRefused` for a key that may not, and what `identify` raises.
    """
    caller = await identify(request, endpoint)
    if "inference" not in caller.scopes:
        raise PermissionRefused(
            "This API key has no scope `inference`, which calls to models need."
        )
    return caller


async def identify(request: LeanRequest, endpoint: str) -> Caller:
    """The caller that the request's headers prove. Cookies are not looked at.

    Raises `AuthenticationFailed`, `InvalidRequest` for two keys that disagree, and
    `PermissionRefused` for a key that is not for this endpoint, or not from here.
    """
    secret = read_credential(request.META)
    if not secret:
        if settings.OPEN_TO_GUESTS:
            return _guest()
        raise AuthenticationFailed(
            "You didn't provide an API key. Send one in an Authorization header:"
            " 'Authorization: Bearer YOUR_KEY'."
        )
    try:
        return await gateway().keys.caller(secret, KeyUse.of(request.META, endpoint))
    except AuthenticationFailed:
        if settings.OPEN_TO_GUESTS:
            return _guest()
        raise


def _guest() -> Caller:
    return guest_caller("api", settings.GUEST_MAX_CONCURRENT)
