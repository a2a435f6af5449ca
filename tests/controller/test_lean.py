"""The lean handler, spoken to as an ASGI server would, without one."""

import asyncio
import json
from typing import Any

import pytest
from django.http import Http404, HttpResponse
from django.urls import path
from rest_framework.exceptions import Throttled

from controller.errors import NoWorkerAvailable
from controller.lean import LeanAPIView, LeanHandler, LeanRequest, PumpedResponse


class Source:
    """Blocks to be pumped; it notes that it was closed."""

    def __init__(self, *blocks: bytes | Exception) -> None:
        self.blocks = [*blocks]
        self.is_closed = asyncio.Event()
        self.waits = asyncio.Event()

    async def read(self) -> bytes:
        if not self.blocks:
            self.waits.set()
            await asyncio.Event().wait()  # an engine that thinks
        block = self.blocks.pop(0)
        if isinstance(block, Exception):
            raise block
        return block

    async def aclose(self) -> None:
        self.is_closed.set()


class Echo(LeanAPIView):
    async def post(self, request: LeanRequest) -> HttpResponse:
        return HttpResponse(await request.read_body())


class Stream(LeanAPIView):
    source: Source

    async def post(self, request: LeanRequest) -> PumpedResponse:
        await request.read_body()
        return PumpedResponse(type(self).source, {"Cache-Control": "no-cache"})


class Failing(LeanAPIView):
    error: Exception

    async def post(self, request: LeanRequest) -> HttpResponse:
        raise type(self).error


async def plain(request: LeanRequest) -> HttpResponse:
    raise RuntimeError("a secret of ours")


urlpatterns = [
    path("echo", Echo.as_view()),
    path("stream", Stream.as_view()),
    path("failing", Failing.as_view()),
    path("plain", plain),
]


class Server:
    """Plays the ASGI server for one request, and keeps what was sent to the client."""

    def __init__(self, address: str, *parts: bytes, **headers: str) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for number, part in enumerate(parts, 1):
            more = number < len(parts)
            self.messages.put_nowait(
                {"type": "http.request", "body": part, "more_body": more}
            )
        self.sent: list[dict[str, Any]] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": address,
            "root_path": "",
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin-1"))
                for name, value in headers.items()
            ],
        }

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await self.may_send.wait()

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def run(self) -> "Server":
        handler = LeanHandler(__name__)
        await handler(self.scope, self.messages.get, self.send)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def serving(source: Source) -> Server:
    Stream.source = source
    return Server("/stream", b"{}")


# -- Bodies ----------------------------------------------------------------------------


async def test_a_body_in_pieces_is_put_together_and_its_length_is_said():
    server = await Server("/echo", b"ab", b"", b"cd").run()

    assert (server.status, server.body) == (200, b"abcd")
    assert server.headers[b"content-length"] == b"4"
    assert len(server.headers[b"x-request-id"]) == 24


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"12345", b"678901"], {}),
        ([b"12345", b"678901"], {"content_length": "3"}),
        ([], {"content_length": "11"}),  # refused before it is taken in
        ([], {"content_length": "9" * 40}),
    ],
)
async def test_a_body_over_the_limit_is_refused_as_its_bytes_come(
    settings, monkeypatch, parts, headers
):
    settings.MAX_BODY_BYTES = 10
    monkeypatch.setattr("controller.lean.DISCARD_SECONDS", 0.1)
    server = await Server("/echo", *parts, **headers).run()

    assert server.status == 413
    assert server.headers[b"connection"] == b"close"
    assert "10 bytes" in server.error["message"]


async def test_what_a_client_still_sends_is_taken_in_before_it_is_refused(settings):
    settings.MAX_BODY_BYTES = 10
    server = Server("/echo", *[b"12345678"] * 5)

    await server.run()

    assert server.status == 413
    assert server.messages.empty()


async def test_a_body_of_exactly_the_limit_is_taken(settings):
    settings.MAX_BODY_BYTES = 10

    assert (await Server("/echo", b"12345", b"67890").run()).status == 200


async def test_nobody_is_answered_who_left_in_mid_body():
    server = Server("/echo", b"ab")
    server.messages = asyncio.Queue()
    server.messages.put_nowait(
        {"type": "http.request", "body": b"ab", "more_body": True}
    )
    server.leave()

    await server.run()

    assert server.sent == []


# -- Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoWorkerAvailable("none", retry_after=3), 503, "no_worker_available"),
        (Throttled(), 429, "throttled"),
        (Http404(), 404, "not_found"),
        (RuntimeError("a secret of ours"), 500, "internal_error"),
    ],
)
async def test_every_failure_is_told_in_openais_shape(error, status, code):
    Failing.error = error
    server = await Server("/failing").run()

    assert (server.status, server.error["code"]) == (status, code)
    assert set(server.error) == {"message", "type", "param", "code"}
    assert b"secret" not in server.body
    if status == 503:
        assert server.headers[b"retry-after"] == b"3"


async def test_what_a_plain_view_raises_gives_nothing_away_but_an_id(caplog):
    server = await Server("/plain").run()

    assert server.status == 500
    assert b"secret" not in server.body
    assert "a secret of ours" in caplog.text


@pytest.mark.parametrize("address", ["/", "/nowhere", "/echo/", "//echo", "/é\0"])
async def test_an_unknown_path_is_a_404_of_the_same_shape(address):
    server = await Server(address).run()

    assert (server.status, server.error["code"]) == (404, "not_found")
    assert len(server.headers[b"x-request-id"]) == 24


# Two of them are methods of the view, of another kind.
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DISPATCH"])
async def test_a_method_that_is_not_there_is_a_405_that_names_those_that_are(method):
    server = Server("/echo")
    server.scope["method"] = method

    await server.run()

    assert (server.status, server.error["code"]) == (405, "method_not_allowed")
    assert server.error["message"] == f"{method} is not allowed here. Send POST."
    assert server.headers[b"allow"] == b"POST"


# -- Streams ---------------------------------------------------------------------------


async def test_a_stream_is_pumped_and_its_source_closed():
    source = Source(b"data: 1\n\n", b"data: 2\n\n", b"")

    server = await serving(source).run()

    assert server.body == b"data: 1\n\ndata: 2\n\n"
    assert server.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert [message.get("more_body") for message in server.sent[1:]] == [
        True,
        True,
        False,
    ]
    assert source.is_closed.is_set()


async def test_a_client_that_leaves_while_the_engine_thinks_closes_the_source():
    source = Source(b"data: 1\n\n")
    server = serving(source)
    running = asyncio.create_task(server.run())
    await source.waits.wait()

    server.leave()
    await asyncio.wait_for(running, 2)  # it ends as if nothing had been wrong

    assert source.is_closed.is_set()


async def test_a_client_that_leaves_while_send_is_blocked_closes_the_source():
    source = Source(b"data: 1\n\n", b"data: 2\n\n")
    server = serving(source)
    server.may_send.clear()
    running = asyncio.create_task(server.run())
    await asyncio.sleep(0)

    server.leave()
    await asyncio.wait_for(running, 2)

    assert source.is_closed.is_set()


async def test_a_server_that_cancels_the_request_is_told_so():
    source = Source()
    running = asyncio.create_task(serving(source).run())
    await source.waits.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert source.is_closed.is_set()


async def test_a_source_that_fails_is_closed_and_the_server_breaks_the_stream():
    source = Source(b"data: 1\n\n", OSError("gone"))
    server = serving(source)

    with pytest.raises(OSError, match="gone"):
        await server.run()

    assert source.is_closed.is_set()
    assert all(message.get("more_body", True) for message in server.sent)


async def test_no_task_is_left_behind():
    before = asyncio.all_tasks()
    await Server("/echo", b"x").run()
    await serving(Source(b"")).run()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
