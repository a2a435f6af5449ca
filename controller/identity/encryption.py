"""Secrets that must be readable again, encrypted at rest with FIELD_KEYS."""

from functools import lru_cache

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def encrypt(text: str) -> str:
    """Encrypted with the first of FIELD_KEYS; empty stays empty."""
    return (
        _box(tuple(settings.FIELD_KEYS)).encrypt(text.encode()).decode() if text else ""
    )


def decrypt(encrypted: str) -> str:
    """Readable with any of FIELD_KEYS.

    Raises `cryptography.fernet.InvalidToken` where none of them fits.
    """
    box = _box(tuple(settings.FIELD_KEYS))
    return box.decrypt(encrypted.encode()).decode() if encrypted else ""


def rotate(encrypted: str) -> str:
    """The same text, encrypted anew with the first of FIELD_KEYS."""
    if not encrypted:
        return ""
    return _box(tuple(settings.FIELD_KEYS)).rotate(encrypted.encode()).decode()


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
