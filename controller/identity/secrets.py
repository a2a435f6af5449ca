"""Secrets as strings: made with a findable prefix and a checksum, stored as digests.

A key reads `sy-<43 characters of base62><6 characters of checksum>`. 256 random bits
need no slow hash: SHA-256 of it can be looked up and not be guessed. The checksum lets
a typing error, or a stranger's guess, be refused without a query.
"""

import hashlib
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
BODY_LENGTH = 43  # of base62: 256 bits
CHECKSUM_LENGTH = 6  # of base62: 32 bits
SHOWN_LENGTH = 8  # characters after the prefix that an operator may see

API_KEY = "sy-"
PUBLISHABLE_KEY = "sy-pub-"  # of browsers: anybody who meets one knows that it may be
JOIN_TOKEN = "sy-join-"  # noqa: S105  # a prefix, not a secret
WORKER_CREDENTIAL = "sy-worker-"
INVITATION = "sy-invite-"
GUEST_LINK = "sy-guest-"


def make_secret(prefix: str) -> str:
    """A new secret; it exists nowhere else, so the caller shows it once."""
    body = _base62(secrets.randbits(256), BODY_LENGTH)
    return prefix + body + _checksum(prefix + body)


def has_right_checksum(secret: str, prefix: str) -> bool:
    """Whether this could be a secret that we made; costs no query. Never raises."""
    if len(secret) != len(prefix) + BODY_LENGTH + CHECKSUM_LENGTH:
        return False
    if not secret.isascii() or not secret.startswith(prefix):
        return False
    return secret[-CHECKSUM_LENGTH:] == _checksum(secret[:-CHECKSUM_LENGTH])


def is_api_key(secret: str) -> bool:
    """Whether this could be a key to `/v1` that we made; costs no query."""
    return has_right_checksum(secret, API_KEY) or has_right_checksum(
        secret, PUBLISHABLE_KEY
    )


def digest(secret: str) -> str:
    """SHA-256 as hexadecimal text: what is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown_part(secret: str) -> str:
    """The beginning of a secret: enough to tell two apart, too little to use."""
    prefix_length = secret.rindex("-") + 1
    return secret[: prefix_length + SHOWN_LENGTH]


def longest_shown(text: str) -> str:
    """As much of the beginning of a key as could have been shown of it."""
    is_publishable = text.startswith(PUBLISHABLE_KEY)
    prefix = PUBLISHABLE_KEY if is_publishable else API_KEY
    return text[: len(prefix) + SHOWN_LENGTH]


def shown_part_of_foreign(secret: str) -> str:
    """The beginning of a secret that we did not make, which may be short: a quarter."""
    return secret[: min(SHOWN_LENGTH, len(secret) // 4)]


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(ALPHABET[remainder])
    return "".join(reversed(digits))
