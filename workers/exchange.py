"""One HTTP exchange over ASGI: read the body, answer or stream, notice who left."""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from workers.engine_guard import Receive, Scope, Send
from workers.refusals import GenerationFailed, RequestRefused

logger = logging.getLogger(__name__)

SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_BODY_BYTES = 32 * 1024 * 1024
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Answer:
    """A whole answer. One that has been streamed has no body left: `STREAMED`."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    retry_after: int | None = None
    """When it is worth to ask again, in seconds."""

    @classmethod
    def of_json(cls, body: Any, status: int = 200) -> Self:
        return cls(msgspec.json.encode(body), status)

    @classmethod
    def of_error(cls, error: Exception, status: int) -> Self:
        """Return `error` as an answer in OpenAI's shape."""
        retry_after = error.retry_after if isinstance(error, RequestRefused) else None
        body = msgspec.json.encode(error_body(error))
        return cls(body, status, retry_after=retry_after)


STREAMED = Answer(b"")


class Exchange:
    """A request as it came in, and the way back to whoever sent it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        self._body = b""

    def header(self, name: bytes) -> str | None:
        for key, value in self._headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def request_id(self) -> str:
        """Return the id that the caller gave, or a new one."""
        given = self.header(b"x-request-id") or ""
        return given if SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

    async def body(self) -> bytes:
        return self._body

    async def answer_with(
        self, handle: Callable[["Exchange"], Awaitable[Answer]]
    ) -> None:
        """Send what `handle` returns; cancel it as soon as the client has left."""
        try:
            await self._read_body()
        except RequestRefused as error:
            await self._send_answer(Answer.of_error(error, error.status))
            return
        except ConnectionError:
            return
        handling = asyncio.ensure_future(handle(self))
        leaving = asyncio.ensure_future(self._wait_until_client_left())
        try:
            await asyncio.wait({handling, leaving}, return_when="FIRST_COMPLETED")
            if not handling.done():
                return
            answer = handling.result()
            if answer is not STREAMED:
                await self._send_answer(answer)
        finally:
            for task in (handling, leaving):
                task.cancel()
            # The generation gives its place on the model back before we return.
            await asyncio.gather(handling, leaving, return_exceptions=True)

    async def stream_events(self, events: AsyncGenerator[bytes, None]) -> Answer:
        """Send `events` as server-sent events, then `[DONE]`; return `STREAMED`.

        The status is sent with the first event, so that a failure before it can still
        be an error; a later one becomes an event, after which the stream ends.
        """
        # Closed here: a client may leave while we wait to send rather than to receive.
        async with aclosing(events):
            first = await anext(events)
            await self._send_start(200, b"text/event-stream; charset=utf-8")
            try:
                await self._send_event(first)
                async for event in events:
                    await self._send_event(event)
            except Exception as error:
                if not isinstance(error, GenerationFailed | RequestRefused):
                    logger.exception("A stream failed.")
                await self._send_event(msgspec.json.encode(error_body(error)))
        await self._send({"type": "http.response.body", "body": DONE})
        return STREAMED

    async def _read_body(self) -> None:
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BODY_BYTES:
                raise RequestRefused(
                    f"The body is longer than {MAX_BODY_BYTES} bytes.", status=413
                )
            more = message.get("more_body", False)
        self._body = b"".join(parts)

    async def _wait_until_client_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_answer(self, answer: Answer) -> None:
        more = [(b"content-length", b"%d" % len(answer.body))]
        if answer.retry_after is not None:
            more.append((b"retry-after", b"%d" % answer.retry_after))
        await self._send_start(answer.status, answer.content_type, *more)
        await self._send({"type": "http.response.body", "body": answer.body})

    async def _send_start(
        self, status: int, content_type: bytes, *more: tuple[bytes, bytes]
    ) -> None:
        headers = [(b"content-type", content_type), *more]
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )

    async def _send_event(self, event: bytes) -> None:
        await self._send(
            {
                "type": "http.response.body",
                "body": b"data: " + event + b"\n\n",
                "more_body": True,
            }
        )


def error_body(error: Exception) -> dict[str, Any]:
    """Return `error` in OpenAI's shape; of our own faults only that they happened."""
    param = code = None
    kind = "server_error"
    message = "The engine failed on this request."
    if isinstance(error, RequestRefused):
        kind = _kind_of(error.status)
        message = str(error)
        param, code = error.param, error.code
    elif isinstance(error, GenerationFailed):
        message = str(error)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _kind_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
