"""A key that lies in a file, because every user of a machine reads command lines."""

from pathlib import Path

from workers.errors import BadSetting


def read_key(file: Path, what: str) -> str:
    """Return the key in `file`; raises `BadSetting`, which calls the file `what`."""
    try:
        key = file.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError as error:
        raise BadSetting(f"{what} {file}: {error.strerror}.") from error
    if not key:
        raise BadSetting(f"{what} {file} is empty.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise BadSetting(
            f"{what} {file} holds something else than a key: that is one word on one"
            " line, of ASCII characters."
        )
    return key
