"""What the mock engine is asked to do: per server by flags, per request by directives.

The text of a request's last user message (or its prompt) may hold directives, which
override the server's own behaviour for this one request::

    Say hello. [[tokens=8 interval_ms=10 cut_after=5]]
"""

import re
from functools import lru_cache
from typing import Any, Self

import msgspec
from msgspec import Struct

_DIRECTIVES = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


class Behaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one answer is given. Each field is also a directive of the same name."""

    tokens: int = 64
    """Length of the answer `t0 t1 t2 ...`; the client's `max_tokens` shortens it."""
    first_ms: float = 0.0
    """Wait before the first byte, status line included."""
    interval_ms: float = 0.0
    """Wait between tokens. 0 sends the whole answer in one write."""
    status: int = 200
    """Any other status is answered at once with vLLM's error shape."""
    cut_after: int | None = None
    """Close the connection after so many tokens; 0: before the first byte."""
    hang_after: int | None = None
    """Send nothing more after so many tokens, connection open; 0: not one byte."""
    error_after: int | None = None
    """End a stream after so many tokens with the error event that vLLM sends."""
    garbage: bool = False
    """Answer 200 with bytes that are neither JSON nor events."""
    reasoning: int = 0
    """So many of a streamed chat's first tokens are reasoning, as vLLM tells it."""
    echo: bool = False
    """Answer with the words of the prompt, directives left out."""


class MockEngineConfig(Behaviour, frozen=True, kw_only=True):
    """The server's settings, and the behaviour of requests without directives."""

    host: str = "127.0.0.1"
    port: int = 0
    key: str = "mock-key"
    models: tuple[str, ...] = ("mock-1",)
    context_length: int = 4096
    """Prompt and completion together, one word counting as one token."""
    concurrency: int = 0
    """So many answers are given at once, and others wait inside, in the order in which
    they came, as for a place in an engine's batch. 0: all are given at once."""
    open_paths: tuple[str, ...] = ()
    """Paths answered without the key, as an unguarded engine would."""
    headers: tuple[str, ...] = ()
    """`Name: value` lines added to every answer."""
    redirect: bool = False
    """Answer every request 302, to `/elsewhere`."""
    keep_requests: int = 10_000
    """So many of the latest requests are remembered."""

    def with_directives(self, text: str) -> tuple[Behaviour, str]:
        """Return the behaviour that `text` asks for, and `text` without directives.

        Raises `msgspec.ValidationError` for an unknown directive, so that a test's
        typing error becomes a 400 and not a puzzle.
        """
        if "[[" not in text:
            return self, text
        directives = tuple(_DIRECTIVES.findall(text))
        return _parse_directives(self, directives), _DIRECTIVES.sub("", text)

    def flags(self) -> list[str]:
        """Return the command line that starts a server with this configuration."""
        flags: list[str] = []
        for name, default in msgspec.structs.asdict(type(self)()).items():
            value = getattr(self, name)
            if value == default:
                continue
            flag = flag_of(name)
            if value is True:
                flags.append(flag)
            else:
                values = value if isinstance(value, tuple) else (value,)
                flags += [f"{flag}={each}" for each in values]
        return flags

    @classmethod
    def from_flags(cls, flags: dict[str, Any]) -> Self:
        """Return the configuration of parsed flags; those that are None are unset."""
        given = {name: value for name, value in flags.items() if value is not None}
        return msgspec.convert(given, cls, strict=False)


def flag_of(field: str) -> str:
    """Return a field's flag; of fields that hold several values, in the singular."""
    singular = {"models": "model", "open_paths": "open-path", "headers": "header"}
    return "--" + singular.get(field, field).replace("_", "-")


@lru_cache(maxsize=256)
def _parse_directives(
    config: MockEngineConfig, directives: tuple[str, ...]
) -> Behaviour:
    asked: dict[str, Any] = {
        name: getattr(config, name) for name in Behaviour.__struct_fields__
    }
    for word in " ".join(directives).split():
        name, _, value = word.partition("=")
        asked[name] = value or True
    return msgspec.convert(asked, Behaviour, strict=False)
