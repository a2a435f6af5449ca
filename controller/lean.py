"""The handler of the machine paths: Django's requests, URLs and REST views, lean.

The stock ASGI handler costs about 0.8 ms a request in thread hops and signals, and
each sync middleware two hops more. Nothing on `/v1`, `/controller/` or the probes
needs those: no session, no CSRF, no cookie is ever read here. Signals are for the HTML
side: responses are sent without `HttpResponse.close()`, which would fire them.
"""

import asyncio
import io
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_resolver
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException
from rest_framework.views import APIView

from controller import logs
from controller.errors import (
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    SwitchyardError,
    error_body,
)
from controller.relay.request import make_request_id

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


MAX_DISCARDED_BYTES = 64 * 2**20
DISCARD_SECONDS = 5.0


class ClientGone(Exception):
    """The client left before its request was read; there is nobody to answer."""


class LeanRequest(ASGIRequest):
    """Django's request whose body is read only when a view asks for it.

    So an unknown caller is refused before its body is taken in, and the body's limit
    counts as bytes arrive.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, io.BytesIO())
        self.arrived_at = time.perf_counter()
        self.request_id = make_request_id()
        self.caller: Any = None
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()
        self.client_has_gone = False

    @property
    def peer(self) -> str:
        """The client's address, as `TRUSTED_PROXIES` lets it be told."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    async def read_body(self) -> bytes:
        """The whole body; from then on, a client that leaves cancels its request.

        Raises `BodyTooLarge` above MAX_BODY_BYTES, `ClientGone` if it broke off.
        """
        limit = settings.MAX_BODY_BYTES
        declared = self.META.get("CONTENT_LENGTH") or "0"
        if declared.isdecimal() and int(declared) > limit:
            await discard_body(self._receive)
            raise _too_large(limit)
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                await discard_body(self._receive)
                raise _too_large(limit)
            parts.append(part)
            more = message.get("more_body", False)
        self._watch = asyncio.create_task(self._watch_client())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_has_gone = True
        if self._task is not None:
            self._task.cancel()

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


async def discard_body(receive: Receive) -> None:
    """Let the client send on for a little while, and keep nothing of it.

    One that is still sending when the connection is closed loses the answer that says
    why: the kernel resets a connection with bytes that nobody has read.
    """
    left = MAX_DISCARDED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request body is larger than the {limit} bytes that this server takes."
        " Send less, or ask its operator to raise MAX_BODY_BYTES."
    )


GetResponse = Callable[[LeanRequest], Awaitable[HttpResponseBase]]


class Source(Protocol):
    """What a `PumpedResponse` sends: blocks of bytes, until an empty one."""

    async def read(self) -> bytes: ...

    async def aclose(self) -> None: ...


class PumpedResponse(HttpResponseBase):
    """A stream pushed straight into ASGI's `send`, with no generator to be left open.

    The source is closed on every ending; also when the client leaves while `send` is
    held up by its slow reading.
    """

    streaming = True

    def __init__(self, source: Source, headers: dict[str, str]) -> None:
        super().__init__(content_type="text/event-stream; charset=utf-8")
        self.source = source
        for name, value in headers.items():
            self.headers[name] = value

    async def pump(self, send: Send) -> None:
        while block := await self.source.read():
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _encoded_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    encoded = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    # Of those that every answer bears, checking each again would cost more than they.
    encoded += getattr(response, "raw_headers", ())
    return encoded


class LeanHandler:
    """An ASGI application over one urlconf, with no thread hop.

    `middleware` names async-capable middleware of Django's kind, the outermost first.
    """

    def __init__(self, urlconf: str, middleware: Sequence[str] = ()) -> None:
        self.urlconf = urlconf
        self.get_response: GetResponse = self.respond
        for name in reversed(middleware):
            self.get_response = import_string(name)(self.get_response)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = LeanRequest(scope, receive)
        token = logs.request_id.set(request.request_id)
        response: HttpResponseBase | None = None
        try:
            response = await self.get_response(request)
            response.headers["X-Request-Id"] = request.request_id
            await self.send(response, send)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not request.client_has_gone:
                raise  # the server stops; its own bookkeeping wants to know
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            request.stop_watching()
            if isinstance(response, PumpedResponse):
                await response.source.aclose()
            logs.request_id.reset(token)

    async def respond(self, request: LeanRequest) -> HttpResponseBase:
        """The view's answer; 404 for an unknown path, 500 for what nobody caught."""
        try:
            match = get_resolver(self.urlconf).resolve(request.path_info)
            request.resolver_match = match
            response: HttpResponseBase = await match.func(
                request, *match.args, **match.kwargs
            )
        except Http404:
            return error_response(
                NotFound(f"Unknown path: {request.method} {request.path}.")
            )
        except ClientGone:
            raise
        except Exception as exc:
            return error_response(as_switchyard_error(exc))
        return response

    async def send(self, response: HttpResponseBase, send: Send) -> None:
        if isinstance(response, PumpedResponse):
            await send(_start(response))
            await response.pump(send)
            return
        assert isinstance(response, HttpResponse)
        if response.status_code != 204:  # which has no content, not an empty one
            response.headers["Content-Length"] = str(len(response.content))
        await send(_start(response))
        await send({"type": "http.response.body", "body": response.content})


def _start(response: HttpResponseBase) -> Message:
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": _encoded_headers(response),
    }


def error_response(error: SwitchyardError) -> HttpResponse:
    """The error as an answer in OpenAI's shape, with `Retry-After` where known."""
    response = HttpResponse(
        error_body(error), status=error.status, content_type="application/json"
    )
    for name, value in error.headers().items():
        response.headers[name] = value
    if isinstance(error, BodyTooLarge):
        response.headers["Connection"] = "close"  # the rest of the body is not read
    return response


def uncaught(exc: Exception) -> SwitchyardError:
    """An internal error that gives nothing away; what it was stands in the log."""
    logger.error("uncaught error", exc_info=exc)
    return SwitchyardError(
        "The server failed while answering. The request id"
        f" {logs.request_id.get()} finds the reason in its log."
    )


class LeanAPIView(APIView):
    """A REST framework view whose handlers are coroutines.

    REST framework's dispatch is sync. This one keeps its shape (authenticate, check,
    handle, translate) over the request as it came: content is settled once, as JSON,
    and nothing of REST framework's lazy parsing is needed where msgspec reads.
    """

    # OPTIONS is for browsers, and answered before any view: see `openai_api.cors`.
    http_method_names = ["get", "post", "put", "patch", "delete"]

    async def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self.args, self.kwargs = args, kwargs
        self.request = request
        self.headers = {}
        try:
            handler = getattr(self, str(request.method).lower(), None)
            if handler is None or request.method.lower() not in self.http_method_names:
                raise MethodNotAllowed(str(request.method), self.allowed_methods)
            await self.admit(request)
            response = await handler(request, *args, **kwargs)
        except ClientGone:
            raise
        except Exception as exc:
            response = self.handle_exception(exc)
        return response

    async def admit(self, request: LeanRequest) -> None:
        """Set `request.caller`, or raise; nothing of the body is read before."""

    def translate(self, error: SwitchyardError) -> HttpResponse:
        """The error in the shape that this view's clients know."""
        return error_response(error)

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        return self.translate(as_switchyard_error(exc))


def as_switchyard_error(exc: Exception) -> SwitchyardError:
    """The error that it is, or that it comes to for a caller."""
    if isinstance(exc, SwitchyardError):
        return exc
    if isinstance(exc, Http404):
        return NotFound("There is nothing at this address.")
    if isinstance(exc, APIException):
        error = SwitchyardError(str(exc.detail), code=str(exc.default_code))
        error.status = exc.status_code
        error.type = "invalid_request_error"
        return error
    return uncaught(exc)
