"""Small reverse proxies: one as stands in front of sites that serve more than this one,
and one that stands before an engine and notes what it says."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import ClientSession, WSMsgType, web

# What concerns one connection, and what aiohttp reckons itself.
NOT_PASSED = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "content-length",
}


class PrefixProxy:
    """Passes what is asked below `prefix` on to the product, with the prefix taken off,
    and answers 404 to all else."""

    def __init__(self, target: str, prefix: str) -> None:
        self.target = target
        self.prefix = prefix
        self.strays: list[str] = []
        """Paths asked for outside of the prefix, by a link that forgot it."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(f"{self.prefix}/"):
            self.strays.append(request.path)
            return web.Response(status=404)
        path = request.raw_path.removeprefix(self.prefix)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in NOT_PASSED and not name.startswith("Sec-WebSocket")
        }
        async with ClientSession(auto_decompress=False) as session:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._bridge(session, request, path, headers)
            return await self._pass_on(session, request, path, headers)

    async def _pass_on(
        self, session: ClientSession, request: web.Request, path: str, headers: dict
    ) -> web.StreamResponse:
        body = await request.read()
        take = self.listener(request, body)
        async with session.request(
            request.method,
            self.target + path,
            headers=headers,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in NOT_PASSED:
                    response.headers.add(name, value)
            await response.prepare(request)
            # Who asked may have gone: then the answer is not read on.
            with contextlib.suppress(ConnectionResetError):
                async for chunk in answer.content.iter_any():
                    take(chunk)
                    await response.write(chunk)
                await response.write_eof()
            return response

    def listener(self, request: web.Request, body: bytes) -> Callable[[bytes], None]:
        """What takes the answer's pieces before they are passed on."""
        return lambda _piece: None

    async def _bridge(
        self, session: ClientSession, request: web.Request, path: str, headers: dict
    ) -> web.StreamResponse:
        near = web.WebSocketResponse()
        async with session.ws_connect(self.target + path, headers=headers) as far:
            await near.prepare(request)

            async def carry(source, sink) -> None:
                async for message in source:
                    if message.type == WSMsgType.TEXT:
                        await sink.send_str(message.data)
                await sink.close()

            await asyncio.gather(carry(near, far), carry(far, near))
        return near


@dataclass
class Said:
    """What an engine streamed in answer to one request."""

    asked: dict[str, Any]
    pieces: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The answer's text, as far as it came."""
        return "".join(
            choice["delta"].get("content") or ""
            for event in b"".join(self.pieces).split(b"\n\n")[:-1]
            if event.startswith(b"data: {")
            for choice in json.loads(event.removeprefix(b"data: "))["choices"]
        )


class Recorder(PrefixProxy):
    """Passes everything on, and keeps what is said in answer to streamed chats."""

    def __init__(self, target: str) -> None:
        super().__init__(target, prefix="")
        self.said: list[Said] = []

    def answer_to(self, beginning: str) -> str:
        """The text of the last answer to a first question that begins so."""
        asked = (
            each
            for each in reversed(self.said)
            if each.asked["messages"][0]["content"].startswith(beginning)
        )
        return next(asked).text

    def listener(self, request: web.Request, body: bytes) -> Callable[[bytes], None]:
        if not request.path.endswith("/chat/completions"):
            return super().listener(request, body)
        self.said.append(Said(json.loads(body)))
        return self.said[-1].pieces.append


@contextlib.contextmanager
def running_proxy(target: str, prefix: str, port: int) -> Iterator[PrefixProxy]:
    """The proxy on a port of this machine, in a thread with a loop of its own."""
    with _running(PrefixProxy(target, prefix), port) as proxy:
        yield proxy


@contextlib.contextmanager
def running_recorder(target: str, port: int) -> Iterator[Recorder]:
    with _running(Recorder(target), port) as recorder:
        yield recorder


P = TypeVar("P", bound=PrefixProxy)


@contextlib.contextmanager
def _running(proxy: P, port: int) -> Iterator[P]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    def call(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    runner = call(start())
    try:
        yield proxy
    finally:
        call(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()
