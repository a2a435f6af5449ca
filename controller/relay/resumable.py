"""Streams that outlive their connection: a client that lost it comes back for the rest.

Such a stream is pumped by a task of the process, not by its response, into a bounded
log of numbered events; a connection reads from the log. With nobody reading, the engine
runs on for RESUME_SECONDS, and is then closed and billed as if its client had left.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice

from django.conf import settings

from controller.errors import InvalidRequest, NotFound, StreamGone
from controller.identity.caller import Caller
from controller.relay import sse
from controller.relay.exchange import Exchange

logger = logging.getLogger(__name__)

# What a stream takes beside its events: many small ones must not go uncounted.
BYTES_PER_STREAM = 2048
MAX_REMEMBERED = 10_000  # reasons why a stream is gone
TOO_LATE = "it was left alone for longer than this server waits for its client"
NO_ROOM = "its memory was needed for other streams"


@dataclass(frozen=True, slots=True)
class Gone:
    """What is remembered of a stream that is not kept any more."""

    key_id: int | None
    endpoint: str
    reason: str


class EventLog:
    """A stream's latest events, numbered from 1."""

    def __init__(self) -> None:
        self.first = 1
        """The number of the oldest that is kept."""
        self.size = 0
        self._events: deque[bytes] = deque()

    @property
    def next(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self._events)

    def append(self, event: bytes) -> None:
        """Keep the event, which is told its number."""
        numbered = b"id: %d\n%b" % (self.next, event)
        self._events.append(numbered)
        self.size += len(numbered)

    def drop_oldest(self) -> None:
        self.size -= len(self._events.popleft())
        self.first += 1

    def since(self, number: int) -> bytes:
        """The events from this number on. Costs as much as there are of them: a reader
        that follows takes one at a time, however long the log."""
        newest = list(islice(reversed(self._events), self.next - number))
        return b"".join(reversed(newest))

    def clear(self) -> None:
        self.first = self.next
        self.size = 0
        self._events.clear()


class StreamReader:
    """One connection's place in a stream: a `lean.Source`."""

    def __init__(self, stream: "ResumableStream", at: int) -> None:
        self._stream = stream
        self.at = at
        """The number of the first event that it has not had."""

    async def read(self) -> bytes:
        """The next events, as many as have come; empty at the end, or when another
        connection has taken the stream over."""
        return await self._stream.read(self)

    async def aclose(self) -> None:
        self._stream.leave(self)


class ResumableStream:
    """An exchange, the task that pumps it, and at most one reader."""

    def __init__(self, exchange: Exchange, streams: "ResumableStreams") -> None:
        self.id = exchange.request.request_id
        self.key_id = exchange.caller.key_id
        self.endpoint = exchange.request.endpoint
        self.log = EventLog()
        self.is_over = False
        self._exchange = exchange
        self._streams = streams
        self._reader: StreamReader | None = None
        self._unread = 1
        self._changed = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self.pumping = asyncio.create_task(self._pump())

    @property
    def is_left(self) -> bool:
        """Nobody reads it now."""
        return self._reader is None

    def attach(self, at: int) -> StreamReader:
        """A reader from event `at` on; one that reads already is let go."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._reader = reader = StreamReader(self, at)
        self._unread = at
        self._changed.set()
        return reader

    def leave(self, reader: StreamReader) -> None:
        if reader is not self._reader:
            return
        self._reader = None
        seconds = settings.RESUME_SECONDS.total_seconds()
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(seconds, self._streams.forget, self, TOO_LATE)

    async def read(self, reader: StreamReader) -> bytes:
        while reader is self._reader:
            if reader.at < self.log.next:
                events = self.log.since(reader.at)
                self._unread = reader.at = self.log.next
                self._changed.set()
                return events
            if self.is_over:
                break
            await self._until_changed()
        return b""

    def close(self) -> None:
        """Stop the engine's work, if it still runs, and let the memory go."""
        if self._expiry is not None:
            self._expiry.cancel()
        self.pumping.cancel()
        self._streams.num_bytes -= self.log.size + BYTES_PER_STREAM
        self.log.clear()
        self._reader = None
        self._changed.set()

    async def _pump(self) -> None:
        try:
            async with aclosing(self._exchange):
                async for block in self._exchange.events():
                    for event in sse.split_events(block):
                        await self._append(event)
        except Exception:
            logger.exception("the resumable stream %s failed", self.id)
        finally:
            self.is_over = True
            self._changed.set()

    async def _append(self, event: bytes) -> None:
        """Log the event, once there is room for it."""
        while self._lacks_room(len(event)):
            if self._streams.is_full(len(event)) and self._streams.make_room(self):
                continue
            if self.log.first < self._unread:
                self._drop_oldest()
            elif self.log.size:
                await self._until_changed()
            else:
                break  # one event at least, so that every stream can go on
        before = self.log.size
        self.log.append(event)
        self._streams.num_bytes += self.log.size - before
        self._changed.set()

    def _lacks_room(self, num_bytes: int) -> bool:
        own = self.log.size + num_bytes > settings.RESUME_STREAM_BYTES
        return own or self._streams.is_full(num_bytes)

    def _drop_oldest(self) -> None:
        before = self.log.size
        self.log.drop_oldest()
        self._streams.num_bytes -= before - self.log.size

    async def _until_changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class ResumableStreams:
    """All resumable streams of this process, by their request's id."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._streams: dict[str, ResumableStream] = {}
        self._gone: OrderedDict[str, Gone] = OrderedDict()

    def begin(self, exchange: Exchange) -> StreamReader:
        """The first reader of this exchange, which is pumped from here on."""
        stream = ResumableStream(exchange, self)
        self._streams[stream.id] = stream
        self.num_bytes += BYTES_PER_STREAM
        return stream.attach(1)

    def resume(
        self, caller: Caller, request_id: str, last_event_id: str
    ) -> StreamReader:
        """A reader of what comes behind the event with that id; empty: of everything.

        Raises `NotFound` for a stream that is not this key's, `StreamGone` for one, or
        a part of one, that is not kept any more, `InvalidRequest` for an id that it
        never sent.
        """
        stream = self._find(caller, request_id)
        after = _event_number(last_event_id)
        if after >= stream.log.next:
            raise InvalidRequest(
                f"Last-Event-ID: the stream has sent {stream.log.next - 1} events, and"
                f" none with the id {after}.",
                param="Last-Event-ID",
            )
        if after + 1 < stream.log.first:
            raise StreamGone(
                f"The stream's events up to {stream.log.first - 1} are not kept any"
                f" more, and {after} was the last that came. Ask again from the start."
            )
        return stream.attach(after + 1)

    def endpoint_of(self, request_id: str) -> str:
        """Where the stream was asked for; empty for one that nobody knows."""
        known = self._streams.get(request_id) or self._gone.get(request_id)
        return known.endpoint if known is not None else ""

    def forget(self, stream: ResumableStream, reason: str) -> None:
        """End the stream and remember why it is gone."""
        if self._streams.pop(stream.id, None) is None:
            return
        stream.close()
        self._gone[stream.id] = Gone(stream.key_id, stream.endpoint, reason)
        if len(self._gone) > MAX_REMEMBERED:
            self._gone.popitem(last=False)

    def is_full(self, num_bytes: int) -> bool:
        return self.num_bytes + num_bytes > settings.RESUME_MAX_BYTES

    def make_room(self, needed_by: ResumableStream) -> bool:
        """Whether a stream that nobody reads was given up: one that is over, if any."""
        left = [
            each
            for each in self._streams.values()
            if each.is_left and each is not needed_by
        ]
        if not left:
            return False
        self.forget(next((each for each in left if each.is_over), left[0]), NO_ROOM)
        return True

    def close_left(self) -> None:
        """Give up what nobody reads: nobody can come back to a server that stops."""
        for stream in [each for each in self._streams.values() if each.is_left]:
            self.forget(stream, TOO_LATE)

    async def close(self) -> None:
        streams = list(self._streams.values())
        for stream in streams:
            self.forget(stream, TOO_LATE)
        await asyncio.gather(
            *(stream.pumping for stream in streams), return_exceptions=True
        )

    def _find(self, caller: Caller, request_id: str) -> ResumableStream:
        stream = self._streams.get(request_id)
        if stream is not None and stream.key_id == caller.key_id:
            return stream
        gone = self._gone.get(request_id)
        if gone is not None and gone.key_id == caller.key_id:
            raise StreamGone(f"The stream is gone: {gone.reason}.")
        message = "There is no resumable stream of yours with this id."
        if settings.WEB_PROCESSES > 1:
            message += (
                f" Each of this server's {settings.WEB_PROCESSES} processes holds the"
                " streams that it began: ask again over a new connection, which may"
                " reach another one."
            )
        raise NotFound(message)


def _event_number(last_event_id: str) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdecimal()):
        raise InvalidRequest(
            "Last-Event-ID must be the id of an event of this stream: a number.",
            param="Last-Event-ID",
        )
    return int(last_event_id[:20])
