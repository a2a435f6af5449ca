"""Where the API is and which key opens it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from chat.terminal.errors import BadSetting

BASE_VARIABLE = "SWITCHYARD_API_BASE"
KEY_VARIABLE = "SWITCHYARD_API_KEY"
DEFAULT_BASE = "http://127.0.0.1:8000/v1"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Place:
    base: str
    """The address of the API, without a slash at its end."""
    key: str = field(default="", repr=False)
    """Empty: none is sent."""
    key_source: str = ""
    """Where the key was read, for messages."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class _Written(msgspec.Struct):
    """What `make run` wrote into `credentials.json`, as far as needed here."""

    api_base: str = ""
    api_key: str = ""


def find_place(
    base: str | None,
    key_file: Path | None,
    environment: Mapping[str, str] = os.environ,
) -> Place:
    """The place that flags, then variables, then `credentials.json` name.

    The key of that file is this machine's own: no other machine is sent it. Raises
    `BadSetting`.
    """
    written_file = Path(environment.get("VAR_DIR", "var")) / "credentials.json"
    written = _written(written_file)
    address = base or environment.get(BASE_VARIABLE) or written.api_base or DEFAULT_BASE
    address = _checked(address)
    if key_file is not None:
        return Place(address, _key_in(key_file), f"the file {key_file}")
    if key := environment.get(KEY_VARIABLE, "").strip():
        return Place(address, _sendable(key, KEY_VARIABLE), KEY_VARIABLE)
    is_ours = address == written.api_base or urlsplit(address).hostname in LOOPBACK
    if written.api_key and is_ours:
        return Place(address, written.api_key, str(written_file))
    return Place(address)


def _written(file: Path) -> _Written:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Written)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return _Written()
    except msgspec.MsgspecError as exc:
        raise BadSetting(
            f"{file} is not what `make run` writes ({exc}): mend or remove it."
        ) from exc


def _checked(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadSetting(
            f"{address!r} is no address of an API: write one such as {DEFAULT_BASE}"
            f" for --api-base or {BASE_VARIABLE}."
        )
    return address.rstrip("/")


def _key_in(file: Path) -> str:
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadSetting(f"--api-key-file {file} cannot be read: {exc}") from exc
    if not key:
        raise BadSetting(f"--api-key-file {file} is empty: write the key into it.")
    return _sendable(key, str(file))


def _sendable(key: str, source: str) -> str:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadSetting(f"What {source} holds is not one key: write it alone there.")
    return key
