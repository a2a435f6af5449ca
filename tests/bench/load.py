"""The load generator: `python -m tests.bench.load PLAN` runs one plan, as JSON.

Closed loop: each connection sends its next request when the last answer has ended, so
the rate is what the other side can do and never outruns it. It prints `measuring` when
the warm-up is over and `measured` when the window ends, for the caller to read clocks
and counters at the same moments, and then one line of JSON, a `LoadResult`.

A raw `asyncio.Protocol` with httptools' parser: it shares one core with the mock
engine, and both together must do several times what the product does on its own core.
"""

import asyncio
import math
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import httptools
import msgspec
from msgspec import Struct

try:
    from uvloop import run
except ImportError:  # as fast as asyncio is, then
    from asyncio import run  # type: ignore[assignment]

EVENTS_BESIDE_TOKENS = 3  # the role, the finish reason, [DONE]
SPREAD_SECONDS = 1.0


class LoadPlan(Struct, kw_only=True, frozen=True):
    """What to ask of whom, on how many connections, for how long."""

    host: str
    port: int
    key: str
    model: str
    shape: str
    """`json`: not streamed. `burst`: a stream whose events arrive together. `paced`:
    one stream per connection, an event every `interval_ms`."""
    connections: int
    seconds: float
    warmup_seconds: float = 1.0
    tokens: int = 64
    """Per answer. Streams of `paced` last `seconds` and the time in which they start,
    so that for `seconds` all of them run."""
    interval_ms: float = 10.0

    @property
    def tokens_per_answer(self) -> int:
        if self.shape != "paced":
            return self.tokens
        return round((self.seconds + SPREAD_SECONDS) * 1000 / self.interval_ms)

    def request(self) -> bytes:
        """Return the HTTP request that each connection repeats."""
        directives = f"tokens={self.tokens_per_answer}"
        if self.shape == "paced":
            directives += f" interval_ms={self.interval_ms}"
        text = f"Write a short poem about switchyards. [[{directives}]]"
        content = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": text},
            ],
            "max_tokens": self.tokens_per_answer,
            "stream": self.shape != "json",
        }
        body = msgspec.json.encode(content)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class LoadResult(Struct, kw_only=True):
    """What was seen on the client's side within the window."""

    requests: int
    """Answers that ended well within the window."""
    seconds: float
    events: int
    """Events in those answers; 0 for `json`."""
    errors: dict[str, int]
    """By kind: `status 503`, `wrong number of events`, `connection lost`, ..."""
    latency_p50_ms: float
    latency_p99_ms: float
    ttft_p50_ms: float
    """From the request's last byte written to the answer's first body byte read."""
    ttft_p99_ms: float
    events_per_second: float
    """Of `paced`: the sum of what each stream reached between its first and last."""
    behind_p50_ms: float = 0.0
    """Of `paced`: how much later a stream's last event came than its pace allows,
    counted from the moment of the request."""
    behind_max_ms: float = 0.0
    gap_p99_ms: float = 0.0
    """Of `paced`: between an event and the next one of its stream."""

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds


class Measurements:
    """Everything noted since the window began."""

    def __init__(self) -> None:
        self.began_at = time.perf_counter()
        self.latencies = array("d")
        self.ttfts = array("d")
        self.events = 0
        self.errors: Counter[str] = Counter()
        self.behinds = array("d")
        self.gaps = array("d")
        self.events_per_second = 0.0


class LoadConnection(asyncio.Protocol):
    """One keep-alive connection that asks, reads the whole answer, and asks again."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.parser = httptools.HttpResponseParser(self)
        self.is_asking = False

    def ask(self) -> None:
        self.is_asking = True
        self.status = 0
        self.first_at = 0.0
        self.events = 0
        self.ends_in_newline = False
        self.arrivals = array("d")
        self.asked_at = time.perf_counter()
        self.transport.write(self.load.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.load.fail(self, "not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_asking:
            self.load.fail(self, "connection lost")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.first_at:
            self.first_at = time.perf_counter()
        events = body.count(b"\n\n")
        if self.ends_in_newline and body.startswith(b"\n"):
            events += 1  # this event's two newlines came in two reads
        self.ends_in_newline = body.endswith(b"\n") and not body.endswith(b"\n\n")
        self.events += events
        if self.load.is_paced:
            self.arrivals.extend([time.perf_counter()] * events)

    def on_message_complete(self) -> None:
        self.is_asking = False
        self.load.finish(self)


class Load:
    """One plan being run over all its connections."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.request = plan.request()
        self.is_paced = plan.shape == "paced"
        self.expected_events = plan.tokens_per_answer + EVENTS_BESIDE_TOKENS
        self.measured = Measurements()
        self.is_over = False
        self.reconnecting: set[asyncio.Task[None]] = set()
        self.streams_left = plan.connections
        self.all_streams_ended = asyncio.Event()

    async def run(self) -> LoadResult:
        plan = self.plan
        connections = [await self._connect() for _ in range(plan.connections)]
        if self.is_paced:
            await self._run_paced(connections)
        else:
            for connection in connections:
                connection.ask()
            await asyncio.sleep(plan.warmup_seconds)
            self.measured = Measurements()
            print("measuring", flush=True)
            await asyncio.sleep(plan.seconds)
        seconds = time.perf_counter() - self.measured.began_at
        print("measured", flush=True)
        self.is_over = True
        for connection in connections:
            connection.is_asking = False
            connection.transport.abort()
        return self._result(seconds)

    def finish(self, connection: LoadConnection) -> None:
        """Note an answer that has ended, and ask for the next one."""
        if self.is_over:
            return
        measured = self.measured
        if connection.status != 200:
            measured.errors[f"status {connection.status}"] += 1
        elif self.plan.shape != "json" and connection.events != self.expected_events:
            measured.errors["wrong number of events"] += 1
        else:
            ended_at = time.perf_counter()
            measured.latencies.append(ended_at - connection.asked_at)
            measured.ttfts.append(connection.first_at - connection.asked_at)
            measured.events += connection.events
            if self.is_paced:
                self._note_pace(connection)
        if self.is_paced:
            self._end_stream()
        else:
            connection.ask()

    def fail(self, connection: LoadConnection, reason: str) -> None:
        """Note a broken connection and put a new one in its place."""
        if self.is_over:
            return
        connection.is_asking = False
        connection.transport.abort()
        self.measured.errors[reason] += 1
        if self.is_paced:
            self._end_stream()
            return
        task = asyncio.ensure_future(self._replace())
        self.reconnecting.add(task)
        task.add_done_callback(self.reconnecting.discard)

    async def _connect(self) -> LoadConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: LoadConnection(self), self.plan.host, self.plan.port
        )
        return connection

    async def _replace(self) -> None:
        await asyncio.sleep(0.05)  # a dead server must not turn this into a busy loop
        try:
            connection = await self._connect()
        except OSError:
            self.measured.errors["connection refused"] += 1
            return
        connection.ask()

    async def _run_paced(self, connections: Sequence[LoadConnection]) -> None:
        """Start the streams one by one within SPREAD_SECONDS; wait for all to end.

        The step is a little off the interval, so that their events are spread over
        it: streams of many users do not tick together.
        """
        loop = asyncio.get_running_loop()
        step = (SPREAD_SECONDS + self.plan.interval_ms / 1000) / len(connections)
        self.measured = Measurements()
        print("measuring", flush=True)
        for position, connection in enumerate(connections):
            loop.call_later(position * step, connection.ask)
        try:
            await asyncio.wait_for(
                self.all_streams_ended.wait(), 3 * self.plan.seconds + 10
            )
        except TimeoutError:
            self.measured.errors["stream did not end"] += self.streams_left

    def _end_stream(self) -> None:
        self.streams_left -= 1
        if self.streams_left == 0:
            self.all_streams_ended.set()

    def _note_pace(self, connection: LoadConnection) -> None:
        measured, arrivals = self.measured, connection.arrivals
        gaps_wanted = self.plan.tokens_per_answer - 1
        pace = gaps_wanted * self.plan.interval_ms / 1000
        measured.behinds.append(arrivals[-1] - connection.asked_at - pace)
        measured.gaps.extend(later - earlier for earlier, later in pairwise(arrivals))
        measured.events_per_second += gaps_wanted / (arrivals[-1] - arrivals[0])

    def _result(self, seconds: float) -> LoadResult:
        measured = self.measured
        rate = measured.events_per_second or measured.events / seconds
        is_stream = self.plan.shape != "json"
        return LoadResult(
            requests=len(measured.latencies),
            seconds=seconds,
            events=measured.events if is_stream else 0,
            errors=dict(measured.errors),
            latency_p50_ms=1000 * percentile(measured.latencies, 50),
            latency_p99_ms=1000 * percentile(measured.latencies, 99),
            ttft_p50_ms=1000 * percentile(measured.ttfts, 50),
            ttft_p99_ms=1000 * percentile(measured.ttfts, 99),
            events_per_second=rate if is_stream else 0.0,
            behind_p50_ms=1000 * percentile(measured.behinds, 50),
            behind_max_ms=1000 * percentile(measured.behinds, 100),
            gap_p99_ms=1000 * percentile(measured.gaps, 99),
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all are not above; of none, 0.0."""
    if not values:
        return 0.0
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


async def main(plan: LoadPlan) -> None:
    result = await Load(plan).run()
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    run(main(msgspec.json.decode(sys.argv[1], type=LoadPlan)))
