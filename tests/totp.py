"""An authenticator app, as far as tests need one (RFC 6238 with SHA-1, 6 digits)."""

import base64
import hmac
import struct
import time


def code_of(secret: str, at: float | None = None) -> str:
    """The six digits that an app shows now, or did at that time."""
    counter = struct.pack(">Q", int(time.time() if at is None else at) // 30)
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"
