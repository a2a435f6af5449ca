"""An engine in the test's own event loop, whose every answer a test may choose.

The mock engine (`tests.mock_engine`) behaves like vLLM; this one misbehaves on demand.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from workers.protocol import Capacity, JoinRequest, ModelOffer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeEngine:
    """Guarded like ours: 401 without the key; `answers` come before the guard."""

    key: str = "engine-key"
    models: tuple[str, ...] = ("llama",)
    answers: dict[str, Answer] = field(default_factory=dict)
    with_key: dict[str, Answer] = field(default_factory=dict)
    """What is answered to the right key only."""
    asked: list[web.Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "no key"}, status=401)
        if request.path in self.with_key:
            return await self.with_key[request.path](request)
        if request.path != "/v1/models":
            return web.json_response({}, status=404)
        listed = [{"id": name, "object": "model"} for name in self.models]
        return web.json_response({"object": "list", "data": listed})


@asynccontextmanager
async def running_engine(
    tls: ssl.SSLContext | None = None, **fields: Any
) -> AsyncIterator[FakeEngine]:
    engine = FakeEngine(**fields)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        engine.port = runner.addresses[0][1]
        yield engine
    finally:
        await runner.cleanup()


def answering(
    status: int = 200, body: bytes = b"{}", headers: dict[str, str] | None = None
) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


def make_offer(name: str = "llama", **fields: Any) -> ModelOffer:
    return ModelOffer(**{"name": name, "context_length": 4096} | fields)


def make_join(engine: Any = None, *names: str, **fields: Any) -> JoinRequest:
    """What a worker in front of `engine` asks; it offers `names` or all its models."""
    values: dict[str, Any] = {
        "engine": "mock",
        "start_id": "start-1",
        "capacity": Capacity(max_concurrency=8),
    }
    if engine is not None:
        values |= {"address": engine.url, "engine_key": engine.key}
        values["models"] = [make_offer(name) for name in names or engine.models]
    return JoinRequest(**values | fields)
