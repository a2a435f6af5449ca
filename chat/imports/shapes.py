"""What every importer makes of a file, before it becomes rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ROLES = {"system", "user", "assistant"}
LONGEST_KEY = 120
NULL = "\x00"  # PostgreSQL stores none


@dataclass(slots=True)
class ReadMessage:
    key: str
    parent: str | None
    role: str
    content: str
    """Empty for what cannot be taken: its replies hang on its parent then."""
    model: str = ""
    reasoning: str = ""
    created_at: datetime | None = None


@dataclass(slots=True)
class ReadConversation:
    key: str
    """Names it among all of its source, such as `chatgpt:<id>`."""
    title: str
    messages: dict[str, ReadMessage]
    leaf: str | None = None
    """The message that was looked at; None: the last one."""
    model: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    folder: str | None = None
    num_left_out: int = 0
    """Parts of its messages that are no text: images, tools' calls."""

    def kept(self) -> list[ReadMessage]:
        """The messages with a text, each behind its parent, parents mended.

        A chain of parents that leads into a circle or to nothing begins anew.
        """
        ordered: dict[str, ReadMessage] = {}
        walked: set[str] = set()
        above: dict[str, str | None] = {}
        for message in self.messages.values():
            for each in reversed(self._line(message, walked)):
                parent = self._kept_parent(each, above)
                each.parent = parent if parent in ordered else None
                ordered[each.key] = each
        return list(ordered.values())

    def kept_leaf(self) -> str | None:
        """The nearest message with a text at or above the leaf."""
        message = self.messages.get(self.leaf or "")
        if message is None:
            return None
        return message.key if message.content else self._kept_parent(message, {})

    def _line(self, message: ReadMessage, walked: set[str]) -> list[ReadMessage]:
        """The message and those above it that have a text, up to where somebody walked
        before: whatever the file holds, each of its messages is walked by once."""
        line: list[ReadMessage] = []
        each: ReadMessage | None = message
        while each is not None and each.key not in walked:
            walked.add(each.key)
            if each.content:
                line.append(each)
            each = self.messages.get(each.parent or "")
        return line

    def _kept_parent(
        self, message: ReadMessage, known: dict[str, str | None]
    ) -> str | None:
        """The nearest message with a text above this one; `known` keeps, of those
        without a text on the way, which it is."""
        passed: list[str] = []
        seen = {message.key}
        key, found = message.parent, None
        while key and key not in seen and (above := self.messages.get(key)):
            if above.content or key in known:
                found = key if above.content else known[key]
                break
            seen.add(key)
            passed.append(key)
            key = above.parent
        known.update(dict.fromkeys(passed, found))
        return found


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A conversation that could not be taken, and why, as a code the page words."""

    title: str
    why: str


@dataclass(slots=True)
class Summary:
    """What an import did."""

    num_taken: int = 0
    num_messages: int = 0
    num_known: int = 0
    """Conversations that had been imported before, or are here anyway."""
    num_parts_left_out: int = 0
    num_left_out: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    """The first of them."""


def text_of(value: Any) -> str:
    """The text, if it is one, as it can be stored; else ""."""
    return value.replace(NULL, "").strip() if isinstance(value, str) else ""


def key_of(value: Any) -> str | None:
    """An id as a file has it: a text or a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return text_of(str(value))[:LONGEST_KEY] or None


def moment_of(value: Any) -> datetime | None:
    """A time as a file has it: ISO 8601, or a number of seconds since 1970, or of
    milli-, micro- or nanoseconds."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        seconds = float(value)
        while seconds > 1e11:  # the year 5138 in seconds, 1973 in milliseconds
            seconds /= 1000
        return datetime.fromtimestamp(seconds, tz=UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def dicts_in(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a list; whatever else is there is passed over."""
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))
