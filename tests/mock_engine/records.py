"""What the mock engine remembers of its requests, and who waits for what."""

import asyncio
import time
from collections import deque
from typing import Any

import msgspec
from msgspec import Struct


class Totals(Struct, kw_only=True):
    """Counts of completion requests with the right key, since the start or reset.

    One is started when its headers and body are read, and then ends exactly once:
    ended (answered, or cut by the engine itself) or cancelled (the client left first).
    Challenges, `/metrics` and the like are recorded but not counted here.
    """

    started: int = 0
    ended: int = 0
    cancelled: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0

    def reached(self, goals: dict[str, int]) -> bool:
        """Return whether each count named in `goals` is at least that high."""
        return all(getattr(self, name) >= goal for name, goal in goals.items())


class RecordedRequest(Struct, kw_only=True):
    """One request as the engine saw it.

    `*_at` are seconds of `time.monotonic()`, which all processes of one Linux machine
    share; `*_wall` are seconds since the epoch.
    """

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """The parsed JSON; the text if it was none; None if empty."""
    started_at: float
    started_wall: float
    ended_at: float | None = None
    ended_wall: float | None = None
    cancelled_at: float | None = None
    """When the client was seen to close the connection before the answer's end."""
    status: int | None = None
    tokens: int = 0
    """Tokens sent, which is fewer than asked for after a cut or a cancellation."""


class Record:
    """A request in the making: raw bytes, made readable only when someone asks."""

    __slots__ = (
        "body",
        "cancelled_at",
        "ended_at",
        "headers",
        "is_counted",
        "method",
        "path",
        "started_at",
        "status",
        "tokens",
    )

    def __init__(
        self,
        method: bytes,
        path: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.started_at = time.monotonic()
        self.ended_at: float | None = None
        self.cancelled_at: float | None = None
        self.status: int | None = None
        self.tokens = 0
        self.is_counted = False

    def readable(self) -> RecordedRequest:
        """Return the record as it goes over the wire."""
        to_wall = time.time() - time.monotonic()
        ended_at = self.ended_at
        return RecordedRequest(
            method=self.method.decode("latin-1"),
            path=self.path.decode("latin-1"),
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in self.headers},
            body=_parsed(self.body),
            started_at=self.started_at,
            started_wall=self.started_at + to_wall,
            ended_at=ended_at,
            ended_wall=None if ended_at is None else ended_at + to_wall,
            cancelled_at=self.cancelled_at,
            status=self.status,
            tokens=self.tokens,
        )


class Journal:
    """The latest requests, the totals, and futures that wait for totals."""

    def __init__(self, keep_requests: int) -> None:
        self.totals = Totals()
        self.records: deque[Record] = deque(maxlen=keep_requests)
        self._waiting: list[tuple[dict[str, int], asyncio.Future[None]]] = []

    def add(self, record: Record) -> None:
        self.records.append(record)

    def start(self, record: Record, prompt_tokens: int) -> None:
        """Count an added record in the totals from now on."""
        record.is_counted = True
        self.totals.started += 1
        self.totals.prompt_tokens += prompt_tokens
        self.totals.in_flight += 1
        self._wake()

    def end(self, record: Record) -> None:
        record.ended_at = time.monotonic()
        if record.is_counted:
            self.totals.ended += 1
            self._close(record)

    def cancel(self, record: Record) -> None:
        record.cancelled_at = record.ended_at = time.monotonic()
        if record.is_counted:
            self.totals.cancelled += 1
            self._close(record)

    def reset(self) -> None:
        """Forget all requests; those in flight still count as in flight."""
        self.records.clear()
        in_flight = self.totals.in_flight
        self.totals = Totals(in_flight=in_flight)

    def reaching(self, goals: dict[str, int]) -> asyncio.Future[None]:
        """Return a future that is done as soon as the totals reach `goals`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((goals, future))
        self._wake()
        return future

    def _close(self, record: Record) -> None:
        self.totals.in_flight -= 1
        self.totals.generation_tokens += record.tokens
        self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            return
        still_waiting = []
        for goals, future in self._waiting:
            if future.done():
                continue
            if self.totals.reached(goals):
                future.set_result(None)
            else:
                still_waiting.append((goals, future))
        self._waiting = still_waiting


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")
