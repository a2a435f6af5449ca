"""The last lines of an agent and its engine, for an operator who asks to see them.

What is secret does not leave the machine: secrets that we know are blotted out by their
text, others by what usually stands before them.
"""

import logging
import re
from collections import deque

from workers.protocol import MAX_LOG_LINE, MAX_LOG_LINES

MAX_SECRETS = 64
HIDDEN = "[hidden]"
# Ours and those of the common providers by their beginning; others by their name.
_SECRET = re.compile(
    r"\b(?:sy-[a-z]+-|sk-|hf_|AIza|gsk_|xai-)[A-Za-z0-9_-]{8,}"
    r"|(?<=Bearer )\S+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_NAMED = re.compile(
    r"""((?:api[_-]?key|secret|password|token|authorization)["']?\s*[=:]\s*["']?)"""
    r"""(?!Bearer\b)([^\s"',;)}]{6,})""",
    re.IGNORECASE,
)
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LogTail(logging.Handler):
    """At most MAX_LOG_LINES lines, the oldest forgotten first."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=MAX_LOG_LINES)
        self._secrets: deque[str] = deque(maxlen=MAX_SECRETS)

    def hide(self, secret: str) -> None:
        """Blot this out wherever it stands."""
        if secret and secret not in self._secrets:
            self._secrets.append(secret)

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self.add(line)

    def add(self, line: str) -> None:
        # Of what overwrites itself, as progress bars do, the last state counts.
        shown = line.rstrip("\r\n").rpartition("\r")[2]
        if shown.strip():
            self._lines.append(shown[: 4 * MAX_LOG_LINE])

    def lines(self) -> list[str]:
        """The lines as they may be seen, the oldest first."""
        return [self._seen(line)[:MAX_LOG_LINE] for line in self._lines]

    def _seen(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        line = _SECRET.sub(HIDDEN, _CONTROLS.sub("", line))
        return _NAMED.sub(rf"\g<1>{HIDDEN}", line)


log_tail = LogTail()
"""Of this process, and of the engine that it runs."""


class LineSplitter:
    """Lines out of pieces of output; a line without an end is bounded."""

    def __init__(self, tail: LogTail) -> None:
        self._tail = tail
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tail.add(line.decode(errors="replace"))
        self._rest = self._rest[-8 * MAX_LOG_LINE :]

    def close(self) -> None:
        self._tail.add(self._rest.decode(errors="replace"))
        self._rest = b""
