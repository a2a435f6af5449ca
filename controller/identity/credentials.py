"""The credential that a request bears, read in one place from every header for it."""

from collections.abc import Mapping

from controller.errors import AuthenticationFailed, InvalidRequest

MAX_LENGTH = 512


def read_credential(meta: Mapping[str, str]) -> str:
    """The bearer secret of `Authorization` or `x-api-key`; empty if there is none.

    `meta` is a WSGI-style mapping of headers. Raises `InvalidRequest` when two headers
    disagree, `AuthenticationFailed` for one that cannot be a secret of ours.
    """
    found = []
    if authorization := meta.get("HTTP_AUTHORIZATION", "").strip():
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed(
                "The Authorization header must read 'Bearer' and then your API key."
            )
        found.append(secret.strip())
    if api_key := meta.get("HTTP_X_API_KEY", "").strip():
        found.append(api_key)
    found = [secret for secret in found if secret]
    if len(set(found)) > 1:
        raise InvalidRequest(
            "The headers Authorization and x-api-key bear two different keys."
            " Send one of them.",
            code="conflicting_credentials",
        )
    if found and len(found[0]) > MAX_LENGTH:
        raise AuthenticationFailed("Incorrect API key provided: it is far too long.")
    return found[0] if found else ""
