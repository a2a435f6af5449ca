"""One client's connection to the mock engine, and the server that accepts them."""

import asyncio
import sys
from functools import partial
from typing import cast

import httptools
import msgspec
from msgspec import Struct

from tests.mock_engine import answers
from tests.mock_engine.behaviour import MockEngineConfig
from tests.mock_engine.records import Record, RecordedRequest, Totals
from tests.mock_engine.server import MockEngineServer, RefusedError, Reply


class WaitRequest(Struct, kw_only=True):
    """The body of `POST /mock/wait`: answer once each count is at least so high."""

    goals: dict[str, int]
    timeout: float


class Snapshot(Struct, kw_only=True):
    """The answer of `GET /mock/requests`."""

    totals: Totals
    requests: list[RecordedRequest]


class Connection(asyncio.Protocol):
    """Reads requests one after another and writes each one's reply at its pace."""

    def __init__(self, server: MockEngineServer) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.record: Record | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.record is not None:
            record, self.record = self.record, None
            self.server.journal.cancel(record)
            self.server.places.free(record)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        if self.record is not None and self.timer is None:
            self._write_next()

    # httptools

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        parser = self.parser
        record = Record(parser.get_method(), self.url, self.headers, self.body)
        self.keep_alive = parser.should_keep_alive()
        self._expect_request()
        if self.record is not None:  # pipelining: no client of ours does
            self.transport.abort()
            return
        if record.path.startswith(b"/mock/"):
            self._answer_control(record)
            return
        self.server.journal.add(record)
        self.record = record
        try:
            reply = self.server.reply(record)
            if record.is_counted:
                self.server.places.take(record, partial(self._begin, reply))
            else:
                self._begin(reply)
        except RefusedError as refused:
            self._begin(self.server.refusal(refused))

    def _expect_request(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    # The reply

    def _begin(self, reply: Reply) -> None:
        self.reply = reply
        self.position = 0
        if reply.first_delay:
            self.next_at = self.loop.time() + reply.first_delay
            self.timer = self.loop.call_at(self.next_at, self._write_next)
        else:
            self.next_at = self.loop.time() if reply.interval else 0.0
            self._write_next()

    def _write_next(self) -> None:
        """Write the piece that is due, and see to the next one or to the end."""
        self.timer = None
        if self.is_paused:
            return  # resume_writing comes back here
        assert self.record is not None
        reply = self.reply
        if self.position < len(reply.pieces):
            self.record.status = reply.status
            self.transport.write(reply.pieces[self.position])
            self.position += 1
            is_single = len(reply.pieces) == 1
            self.record.tokens = (
                reply.tokens if is_single else min(self.position, reply.tokens)
            )
        if self.position < len(reply.pieces):
            # By the schedule, not by the last write: late events do not add up.
            self.next_at += reply.interval
            self.timer = self.loop.call_at(self.next_at, self._write_next)
        elif not self.is_paused:
            self._end()

    def _end(self) -> None:
        if self.reply.ending == "hang":
            return
        record, self.record = self.record, None
        assert record is not None
        self.server.journal.end(record)
        self.server.places.free(record)
        if self.reply.ending == "cut" or not self.keep_alive:
            # Closing flushes what was written: the tokens arrive, then the end.
            self.transport.close()

    # Control

    def _answer_control(self, record: Record) -> None:
        server = self.server
        path = record.path
        if not server.has_key(record):
            self._reply_now(server.refusal(RefusedError(401, answers.UNAUTHORIZED)))
        elif path == b"/mock/requests":
            requests = [each.readable() for each in server.journal.records]
            snapshot = Snapshot(totals=server.journal.totals, requests=requests)
            self._reply_now(server.json_reply(snapshot))
        elif path == b"/mock/reset" and record.method == b"POST":
            server.journal.reset()
            self._reply_now(server.json_reply(server.journal.totals))
        elif path == b"/mock/wait" and record.method == b"POST":
            wish = msgspec.json.decode(record.body, type=WaitRequest)
            self.waiter = self.loop.create_task(self._answer_when_reached(wish))
        else:
            body = answers.error_body("Not Found", 404)
            self._reply_now(server.refusal(RefusedError(404, body)))

    async def _answer_when_reached(self, wish: WaitRequest) -> None:
        journal = self.server.journal
        status = 200
        try:
            await asyncio.wait_for(journal.reaching(wish.goals), wish.timeout)
        except TimeoutError:
            status = 408
        body = msgspec.json.encode(journal.totals)
        reply = self.server.refusal(RefusedError(status, body))
        self._reply_now(reply)

    def _reply_now(self, reply: Reply) -> None:
        self.transport.writelines(reply.pieces)
        if not self.keep_alive:
            self.transport.close()


async def serve(config: MockEngineConfig, *, until_stdin_closes: bool) -> None:
    """Print the address and serve until cancelled (or until the parent has gone)."""
    loop = asyncio.get_running_loop()
    engine = MockEngineServer(config)
    listener = await loop.create_server(
        lambda: Connection(engine), config.host, config.port, backlog=1024
    )
    port = listener.sockets[0].getsockname()[1]
    print(f"listening on http://{config.host}:{port}", flush=True)
    closed = asyncio.Event()
    if until_stdin_closes:
        loop.add_reader(sys.stdin, closed.set)
    await closed.wait()
