"""A controller as workers see it: a real HTTP server that takes or refuses them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from workers.protocol import (
    CheckAnswer,
    CheckRequest,
    Heartbeat,
    HeartbeatAnswer,
    JoinAnswer,
    JoinRequest,
    Refusal,
    RefusalCode,
    RefusalReason,
)

WAIT_SECONDS = 20


@dataclass
class StubController:
    """Takes the tokens in `tokens`, each as often as it comes."""

    tokens: set[str] = field(default_factory=lambda: {"good"})
    credentials: dict[str, str] = field(default_factory=dict)
    joins: list[tuple[str, JoinRequest]] = field(default_factory=list)
    """Every try to join, by bearer."""
    heartbeats: list[Heartbeat] = field(default_factory=list)
    checks: list[tuple[str, CheckRequest]] = field(default_factory=list)
    """What those said whose engine was not ready, by bearer."""
    left: list[str] = field(default_factory=list)
    wishes: HeartbeatAnswer = field(default_factory=HeartbeatAnswer)
    taken_names: set[str] = field(default_factory=set)
    """Of models; a join that offers one is refused."""
    on_join: Callable[[], None] = lambda: None
    port: int = 0
    tls: ssl.SSLContext | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, at the same port each time."""
        app = web.Application()
        app.router.add_post("/controller/workers/", self.join)
        app.router.add_post("/controller/workers/{id}/heartbeat/", self.heartbeat)
        app.router.add_post("/controller/check/", self.check)
        app.router.add_delete("/controller/workers/{id}/", self.leave)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a call has made `is_so` true."""
        async with asyncio.timeout(WAIT_SECONDS), self.changed:
            await self.changed.wait_for(is_so)

    async def join(self, request: web.Request) -> web.Response:
        joining = msgspec.json.decode(await request.read(), type=JoinRequest)
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        self.joins.append((bearer, joining))
        await asyncio.to_thread(self.on_join)
        await self._tell()
        known = joining.worker_id is not None
        if known and self.credentials.get(str(joining.worker_id)) != bearer:
            return refusal(401, RefusalCode.WORKER_UNKNOWN, "Unknown worker")
        if not known and bearer not in self.tokens:
            return refusal(401, RefusalCode.TOKEN_INVALID, "Unknown join token")
        if taken := self.taken_names & {offer.name for offer in joining.models}:
            message = f"{', '.join(taken)} is taken"
            return refusal(409, RefusalCode.MODEL_NAME_TAKEN, message)
        worker_id = joining.worker_id or f"w{len(self.joins)}"
        new = None if known else f"credential-of-{worker_id}"
        if new:
            self.credentials[worker_id] = new
        answer = JoinAnswer(
            worker_id=worker_id,
            credential=new,
            heartbeat_seconds=0.1,
            expiry_seconds=1,
        )
        return as_json(answer, 200 if known else 201)

    async def heartbeat(self, request: web.Request) -> web.Response:
        credential = request.headers["Authorization"].removeprefix("Bearer ")
        if self.credentials.get(request.match_info["id"]) != credential:
            return refusal(404, RefusalCode.WORKER_UNKNOWN, "Unknown worker")
        beat = msgspec.json.decode(await request.read(), type=Heartbeat)
        self.heartbeats.append(beat)
        await self._tell()
        return as_json(self.wishes)

    async def check(self, request: web.Request) -> web.Response:
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        checked = msgspec.json.decode(await request.read(), type=CheckRequest)
        self.checks.append((bearer, checked))
        await self._tell()
        if bearer not in self.tokens:
            return refusal(401, RefusalCode.TOKEN_INVALID, "Unknown join token")
        return as_json(CheckAnswer(steps=[]))

    async def leave(self, request: web.Request) -> web.Response:
        self.left.append(request.match_info["id"])
        await self._tell()
        return web.Response(status=204)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


def as_json(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def refusal(status: int, code: str, message: str) -> web.Response:
    reason = RefusalReason(message=message, code=code)
    return as_json(Refusal(error=reason), status)
