"""An HTTP/1.1 client for engines: httptools under asyncio, one keep-alive pool each.

Measured against the general clients, it costs a request a tenth of httpx and half of
aiohttp, and it hands on what one read brought in one piece, so that a busy stream costs
less per event. It connects to the address that was resolved when the worker joined,
with the worker's own name as Host and in the certificate.
"""

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import httptools
from django.conf import settings

from controller.errors import UpstreamFailed

logger = logging.getLogger(__name__)

HIGH_WATER = 256 * 1024  # bytes received and not yet read: stop reading from the engine
MAX_HEADER_BYTES = 64 * 1024
# uvicorn, under vLLM too, closes idle connections after 5 s.
MAX_IDLE_SECONDS = 4.0
MAX_IDLE_CONNECTIONS = 256


class UpstreamUnreachable(Exception):
    """No connection came about: the engine has not seen the request."""


class UpstreamBroken(Exception):
    """The connection ended, or spoke nonsense, before the answer was complete."""


class UpstreamSilent(UpstreamBroken):
    """The engine sent nothing for longer than it may."""


class StreamStalled(UpstreamBroken):
    """We broke it off in mid-stream: it stood still, and another worker can go on."""


class UpstreamDown(UpstreamBroken):
    """The engine sent nothing for a while, and its health checks fail."""


# The engine has the request, and may be at work on it: not to be sent again as it is.
GIVEN_UP = (UpstreamSilent, UpstreamDown)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an engine is: the resolved address, and the name it goes by."""

    ip: str
    port: int
    host: str
    """The Host header: name and port as the worker gave them."""
    tls_name: str = ""
    """The certificate's name; empty for plain HTTP."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time. Its parser's callbacks are `on_*`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.heard_at = 0.0
        """When the engine last sent something, or was asked; `time.monotonic()`."""
        self.num_requests = 0
        self._lost: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._forget()

    def _forget(self) -> None:
        """Be ready for the next answer."""
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self.has_headers = False
        self.received_at = 0.0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._header_bytes = 0
        self._keep_alive = False
        self._is_paused = False

    # -- asyncio.Protocol ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if not self.received_at:
            self.received_at = time.perf_counter()
        self.heard_at = time.monotonic()
        if not self.has_headers:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(UpstreamBroken(f"not HTTP: {exc}"))
            return
        if not self.has_headers and self._header_bytes > MAX_HEADER_BYTES:
            self._fail(UpstreamBroken("endless headers"))
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.has_headers and not self._is_framed() and exc is None:
            self.is_complete = True  # an answer without length ends with its connection
        if self._lost is None:
            self._lost = UpstreamBroken(str(exc) if exc else "connection closed")
        self._keep_alive = False
        self._wake()

    # -- the parser's callbacks ------------------------------------------------

    def on_message_begin(self) -> None:
        # A second answer would be taken for that to the next request, which may be
        # another caller's. Raising ends the connection; what is complete stays good.
        if self.is_complete or not self.num_requests:
            raise UpstreamBroken("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:  # not of "100 Continue": the real ones follow
            self.has_headers = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._buffer.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER and not self._is_paused and self.transport:
            self._is_paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self.is_complete = self.has_headers

    # -- for the exchange ------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether the connection may bear another request."""
        return (
            self._lost is None
            and self.transport is not None
            and not self.transport.is_closing()
        )

    @property
    def may_be_kept(self) -> bool:
        return self.is_usable and self.is_complete and self._keep_alive

    def send(self, head: bytes, body: bytes) -> None:
        """Begin the next request."""
        if self.num_requests:
            self._forget()
        self.num_requests += 1
        self.heard_at = time.monotonic()
        assert self.transport is not None
        self.transport.write(head + body if len(body) < HIGH_WATER else head)
        if len(body) >= HIGH_WATER:
            self.transport.write(body)

    def owes_since(self, moment: float) -> bool:
        """Whether somebody waits for the engine, and it has been silent since then."""
        return self._waiter is not None and self.heard_at < moment

    def is_unread_since(self, moment: float) -> bool:
        """Whether something of the answer has lain here since then, with nobody waiting
        for more: what came after it would have been heard later."""
        is_lying = bool(self._buffer) and self._waiter is None
        return is_lying and self.heard_at < moment

    async def wait_for_headers(self, seconds: float) -> None:
        """Return when `status` and `headers` are known; raises `UpstreamBroken`."""
        while not self.has_headers:
            await self._wait(seconds)

    async def read(self, seconds: float) -> bytes:
        """What has arrived of the body, all of it; empty at its end.

        Raises `UpstreamBroken` when the connection ended early, `UpstreamSilent` when
        nothing came for `seconds`.
        """
        while not self._buffer:
            if self.is_complete:
                return b""
            await self._wait(seconds)
        parts, self._buffer, self._buffered = self._buffer, [], 0
        if self._is_paused and self.transport:
            self._is_paused = False
            self.heard_at = time.monotonic()  # it was we who did not listen
            self.transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self, reason: Exception | None = None) -> None:
        """Close at once; whoever waits for bytes gets `reason`."""
        self._fail(reason or UpstreamBroken("closed by us"))

    def _is_framed(self) -> bool:
        return "content-length" in self.headers or (
            "chunked" in self.headers.get("transfer-encoding", "").lower()
        )

    def _fail(self, reason: Exception) -> None:
        if self._lost is None:
            self._lost = reason
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float) -> None:
        if self._lost is not None:
            raise self._lost
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(
            seconds, self._fail, UpstreamSilent(f"nothing came for {seconds:g} s")
        )
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None


class UpstreamClient:
    """All connections of this process to engines."""

    def __init__(self) -> None:
        self._idle: dict[Target, deque[Connection]] = {}
        self._busy: dict[Target, set[Connection]] = {}

    @property
    def num_idle(self) -> int:
        return sum(map(len, self._idle.values()))

    @property
    def num_busy(self) -> int:
        """Connections on which a request is under way."""
        return sum(map(len, self._busy.values()))

    async def send(self, target: Target, head: bytes, body: bytes) -> Connection:
        """A connection on which the request is under way and its headers have come.

        A kept connection that the engine had closed meanwhile costs a second try, not
        the request. Raises `UpstreamUnreachable` and `UpstreamBroken`.
        """
        while connection := self._take_idle(target):
            try:
                return await self._exchange(target, connection, head, body)
            except UpstreamBroken as exc:
                if connection.received_at or isinstance(exc, GIVEN_UP):
                    raise
        return await self._exchange(target, await self._connect(target), head, body)

    async def _exchange(
        self, target: Target, connection: Connection, head: bytes, body: bytes
    ) -> Connection:
        self._busy.setdefault(target, set()).add(connection)
        connection.send(head, body)
        try:
            await connection.wait_for_headers(
                settings.UPSTREAM_FIRST_BYTE_TIMEOUT.total_seconds()
            )
        except BaseException:
            self._is_done(target, connection)
            connection.abort()
            raise
        return connection

    def _is_done(self, target: Target, connection: Connection) -> None:
        busy = self._busy.get(target)
        if busy is not None:
            busy.discard(connection)
            if not busy:
                del self._busy[target]

    def give_back(self, target: Target, connection: Connection) -> None:
        """Keep the connection for the next request, or close it if it is not done."""
        self._is_done(target, connection)
        if not connection.may_be_kept:
            connection.abort()
            return
        idle = self._idle.setdefault(target, deque(maxlen=MAX_IDLE_CONNECTIONS))
        if len(idle) == MAX_IDLE_CONNECTIONS:
            idle.popleft().abort()
        connection.idle_since = time.monotonic()
        idle.append(connection)

    def _take_idle(self, target: Target) -> Connection | None:
        idle = self._idle.get(target)
        youngest = time.monotonic() - MAX_IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_usable and connection.idle_since > youngest:
                return connection
            connection.abort()
        return None

    async def _connect(self, target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        seconds = settings.UPSTREAM_CONNECT_TIMEOUT.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                _transport, connection = await loop.create_connection(
                    Connection,
                    target.ip,
                    target.port,
                    ssl=_tls_context(settings.UPSTREAM_CA_FILE)
                    if target.tls_name
                    else None,
                    server_hostname=target.tls_name or None,
                )
        except TimeoutError as exc:
            raise UpstreamUnreachable(f"no connection within {seconds:g} s") from exc
        except OSError as exc:  # ssl.SSLError is one
            raise UpstreamUnreachable(str(exc)) from exc
        return connection

    def silent_targets(self, seconds: float) -> Iterator[Target]:
        """Engines that owe an answer which has not gone on for so long."""
        moment = time.monotonic() - seconds
        for target, busy in self._busy.items():
            if any(connection.owes_since(moment) for connection in busy):
                yield target

    def give_up(self, target: Target, reason: Exception) -> None:
        """Break off all that is under way there; whoever waits for it gets `reason`."""
        for connection in list(self._busy.get(target, ())):
            connection.abort(reason)

    def sweep(self) -> None:
        """Close what has been idle for too long; called each second."""
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        for target, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since < oldest or not idle[0].is_usable):
                idle.popleft().abort()
            if not idle:
                del self._idle[target]

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


@lru_cache(maxsize=2)
def _tls_context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


def request_head(
    target: Target, method: str, path: str, headers: Mapping[str, str], length: int
) -> bytes:
    """The request line and headers. Raises `UpstreamFailed` for a value with a line
    break, which would be a header of somebody else's making."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {target.host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {length}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise UpstreamFailed("The worker's registration holds an impossible header.")
    return f"{head}\r\n\r\n".encode("latin-1")
