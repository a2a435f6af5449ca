"""Server-sent events as bytes: whole events out of reads that cut anywhere."""

from typing import Any

import msgspec

DONE = b"data: [DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
# What a block of whole events can begin with; an error page begins otherwise.
BEGINNINGS = (b"data:", b":", b"event:", b"id:", b"retry:", b"\n")


class EventTooLong(Exception):
    """An event grew over the bound without ending."""


class EventBuffer:
    """Collects reads and gives out whole events; at most `limit` bytes are held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """All events that are complete by now, each ended by an empty line.

        Line ends come out as LF. Raises `EventTooLong`.
        """
        if b"\r" in chunk or self._rest.endswith(b"\r"):
            chunk = self._with_plain_line_ends(chunk)
        if not self._rest and chunk.endswith(b"\n\n"):
            return chunk  # the usual case: the engine writes event by event
        # Look for the end in what is new and one byte before: "\n" may end the rest.
        joined = self._rest + chunk
        cut = joined.rfind(b"\n\n", max(0, len(self._rest) - 1))
        if cut < 0:
            self._rest = joined
            if len(joined) > self._limit:
                raise EventTooLong(f"an event of more than {self._limit} bytes")
            return b""
        self._rest = joined[cut + 2 :]
        return joined[: cut + 2]

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        if self._rest.endswith(b"\r"):
            self._rest, chunk = self._rest[:-1], b"\r" + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        chunk = chunk.removesuffix(b"\r").replace(b"\r\n", b"\n")
        return chunk.replace(b"\r", b"\n") + held


def split_events(block: bytes) -> list[bytes]:
    """The block's events, each with the empty line that ends it."""
    return [event + b"\n\n" for event in block.split(b"\n\n") if event]


def event_data(event: bytes) -> bytes:
    """What stands behind `data:`, joined over lines; empty for a comment."""
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines)


def decode_events(block: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a block of whole events; `[DONE]` and comments are none.

    Raises `msgspec.DecodeError` for an event that is not JSON.
    """
    payloads = [event_data(event) for event in split_events(block)]
    return [msgspec.json.decode(p) for p in payloads if p and p != b"[DONE]"]
