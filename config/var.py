"""The folder of everything that this installation writes, and its generated secrets."""

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured


def prepare(folder: Path) -> Path:
    """The folder, made if missing and closed to other users."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ImproperlyConfigured(
            f"VAR_DIR={str(folder)!r} cannot be made: {exc.strerror}."
        ) from exc
    return folder


def kept_secret(path: Path, generated: str) -> str:
    """What the file holds; on first use, `generated`, written with mode 0600.

    Two processes that start at once end with the same secret: the file appears whole
    or not at all, and the later one reads the earlier one's.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(generated)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as exc:
            raise ImproperlyConfigured(
                f"{str(path)!r} cannot be written: {exc.strerror}."
            ) from exc
    return _read(path)


def _read(path: Path) -> str:
    """The secret in the file. Raises `ImproperlyConfigured` rather than go on with an
    empty one, or make another, which would lose what the first has encrypted."""
    try:
        kept = path.read_text().strip()
    except OSError as exc:
        raise ImproperlyConfigured(
            f"{str(path)!r} cannot be read: {exc.strerror}."
        ) from exc
    if not kept:
        raise ImproperlyConfigured(
            f"{str(path)!r} is empty. Put its secret back, or remove the file to have a"
            " new one made."
        )
    return kept


def secret_key(folder: Path) -> str:
    return kept_secret(folder / "secret_key", secrets.token_urlsafe(50))


def field_key(folder: Path) -> str:
    return kept_secret(folder / "field_keys", Fernet.generate_key().decode())
