"""Typed readers of environment variables; a bad value names itself and its repair.

Every reader takes the variable's name and a default, and raises `ImproperlyConfigured`
with variable, value and what would be right. Secrets read `NAME_FILE` where `NAME`
is not set.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Network = IPv4Network | IPv6Network

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


def _read(name: str, default: T, parse: Callable[[str], T], wanted: str) -> T:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except (ValueError, OverflowError) as exc:
        raise ImproperlyConfigured(f"{name}={raw!r} is not {wanted}.") from exc


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool) -> bool:
    def parse(raw: str) -> bool:
        lowered = raw.lower()
        if lowered not in TRUE | FALSE:
            raise ValueError(raw)
        return lowered in TRUE

    return _read(name, default, parse, "a switch: write 1 or 0")


def integer(name: str, default: int, minimum: int = 0) -> int:
    def parse(raw: str) -> int:
        number = int(raw)
        if number < minimum:
            raise ValueError(raw)
        return number

    return _read(name, default, parse, f"a whole number of at least {minimum}")


def seconds(name: str, default: float) -> timedelta:
    def parse(raw: str) -> timedelta:
        number = float(raw)
        if not 0 < number < 10**9:  # also refuses nan
            raise ValueError(raw)
        return timedelta(seconds=number)

    fallback = timedelta(seconds=default)
    return _read(name, fallback, parse, "a positive number of seconds")


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(raw)
        return raw

    return _read(name, default, parse, f"one of {', '.join(choices)}")


def listing(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """The comma-separated items, stripped; empty ones are dropped."""
    raw = os.environ.get(name, "")
    return [item.strip() for item in raw.split(",") if item.strip()] or list(default)


def percentages(name: str, default: tuple[int, ...]) -> list[int]:
    """Whole numbers from 1 to 100, comma-separated, lowest first, each once."""

    def parse(raw: str) -> list[int]:
        numbers = sorted({int(item) for item in raw.split(",") if item.strip()})
        if not numbers or numbers[0] < 1 or numbers[-1] > 100:
            raise ValueError(raw)
        return numbers

    wanted = "a list of whole numbers from 1 to 100 such as 50, 80, 100"
    return _read(name, list(default), parse, wanted)


def networks(name: str, default: tuple[str, ...]) -> list[Network]:
    """Networks in CIDR notation, comma-separated; a lone address is one host."""

    def parse(raw: str) -> list[Network]:
        return [ip_network(item.strip()) for item in raw.split(",") if item.strip()]

    fallback = [ip_network(item) for item in default]
    return _read(name, fallback, parse, "a list of networks such as 10.0.0.0/8, ::1")


def secret(name: str, default: str = "") -> str:
    """`NAME`, else the stripped content of the file that `NAME_FILE` names."""
    if value := text(name):
        return value
    path = text(f"{name}_FILE")
    if not path:
        return default
    try:
        value = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ImproperlyConfigured(
            f"{name}_FILE={path!r} cannot be read: {reason}."
        ) from exc
    if not value:
        raise ImproperlyConfigured(f"{name}_FILE={path!r} is an empty file.")
    return value


def secrets(name: str) -> list[str]:
    """A comma-separated list of secrets, from `NAME` or `NAME_FILE`."""
    return [item.strip() for item in secret(name).split(",") if item.strip()]


def database(name: str, default_sqlite: Path) -> dict[str, Any]:
    """A Django database dictionary from `postgres://` or `sqlite:///`; else SQLite."""
    url = secret(name)
    return located(url, name) if url else sqlite(default_sqlite)


def located(url: str, name: str = "the address") -> dict[str, Any]:
    """The dictionary of the database at `url`, which came from variable `name`."""
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
    except ValueError:
        raise _no_database(name) from None  # its text may hold the password
    if parts.scheme == "sqlite":
        return sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise _no_database(name)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": port,
        "OPTIONS": {"connect_timeout": 5},
    }


def _no_database(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{name} does not read postgres://user:password@host:5432/name"
        " or sqlite:////absolute/path.sqlite3."
    )


def sqlite(path: Path) -> dict[str, Any]:
    """SQLite as a server wants it: WAL, and a writer that waits for its turn."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        # Tests of websockets and of the lean handler read from other threads, which
        # a private in-memory database would not show them.
        "TEST": {"NAME": str(path.with_name("test.sqlite3"))},
    }
