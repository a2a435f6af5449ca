"""One HTTP exchange over ASGI: who left is noticed, wherever we wait."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from workers.exchange import MAX_BODY_BYTES, Answer, Exchange
from workers.refusals import GenerationFailed

SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": []}


class Caller:
    """A client: `leave` ends its connection, `blocked` keeps it from reading."""

    def __init__(self, body: bytes = b"{}") -> None:
        self.sent: list[Any] = []
        self.blocked = False
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if self.blocked:
            await asyncio.Event().wait()

    async def exchange(self, handle: Any) -> None:
        exchange = Exchange(SCOPE, self._messages.get, self.send)
        async with asyncio.timeout(5):
            await exchange.answer_with(handle)

    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_a_caller_who_leaves_cancels_a_whole_answer() -> None:
    caller, ended = Caller(), asyncio.Event()

    async def handle(_: Exchange) -> Answer:
        caller.leave()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    await caller.exchange(handle)

    assert ended.is_set()
    assert not caller.sent


async def test_a_stream_is_closed_when_its_reader_leaves_without_reading() -> None:
    caller, closed = Caller(), asyncio.Event()
    caller.blocked = True

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            caller.leave()
            yield b"1"
            yield b"2"
        finally:
            closed.set()

    await caller.exchange(lambda exchange: exchange.stream_events(events()))

    assert closed.is_set()


async def test_a_failure_after_the_first_event_is_one_more_event() -> None:
    caller = Caller()

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"1"
        raise GenerationFailed("out of memory")

    await caller.exchange(lambda exchange: exchange.stream_events(events()))

    assert caller.sent[0]["status"] == 200
    first, error, done, end = caller.text().split(b"\n\n")
    assert (first, done, end) == (b"data: 1", b"data: [DONE]", b"")
    assert b'"message":"out of memory"' in error


async def test_too_long_a_body_is_413_before_it_is_all_here() -> None:
    caller = Caller(b" " * (MAX_BODY_BYTES + 1))

    async def handle(_: Exchange) -> Answer:
        raise AssertionError

    await caller.exchange(handle)

    assert caller.sent[0]["status"] == 413
