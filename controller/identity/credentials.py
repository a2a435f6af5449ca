"""The credential that a request bears, read in one place from every header for it."""

from collections.abc import Mapping

from controller.errors import AuthenticationFailed, InvalidRequest

MAX_LENGTH = 512
MAX_REPEATED = 8  # values of one header that are looked at one by one


def read_credential(meta: Mapping[str, str]) -> str:
    """The bearer secret of `Authorization` or `x-api-key`; empty if there is none.

    `meta` is a WSGI-style mapping of headers, in which a header that was sent twice has
    both values with a comma between. Raises `InvalidRequest` when two disagree,
    `AuthenticationFailed` for one that cannot be a secret of ours.
    """
    found = {
        *(_bearer(value) for value in _values(meta, "HTTP_AUTHORIZATION")),
        *_values(meta, "HTTP_X_API_KEY"),
    } - {""}
    if len(found) > 1:
        raise InvalidRequest(
            "The headers Authorization and x-api-key bear two different keys."
            " Send one of them.",
            code="conflicting_credentials",
        )
    secret = found.pop() if found else ""
    if len(secret) > MAX_LENGTH:
        raise AuthenticationFailed("Incorrect API key provided: it is far too long.")
    return secret


def _values(meta: Mapping[str, str], name: str) -> list[str]:
    return [value.strip() for value in meta.get(name, "").split(",", MAX_REPEATED)]


def _bearer(value: str) -> str:
    """The secret after the scheme; "" where there is none."""
    scheme, _, secret = value.partition(" ")
    if value and scheme.lower() != "bearer":
        raise AuthenticationFailed(
            "The Authorization header must read 'Bearer' and then your API key."
        )
    return secret.strip()
