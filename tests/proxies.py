"""A small reverse proxy, as stands in front of sites that serve more than this one."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

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
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

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


@contextlib.contextmanager
def running_proxy(target: str, prefix: str, port: int) -> Iterator[PrefixProxy]:
    """The proxy on a port of this machine, in a thread with a loop of its own."""
    proxy = PrefixProxy(target, prefix)
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
