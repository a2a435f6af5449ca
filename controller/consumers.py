"""The websocket of the pages of the fleet: what is new of workers, as it happens."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from controller.fleet.board import board, requests_on
from controller.fleet.decisions import LOG_WISH_LASTS, wish_log
from controller.models import WorkerLog
from controller.operators import operator_of

NOT_ALLOWED = 4401
PERMISSION = "controller.view_worker"
# Who was signed out or lost the permission is sent away so soon.
LOOK_AGAIN_SECONDS = 5.0
PAUSE_SECONDS = 1.0


class AskForLog(msgspec.Struct, tag="log", tag_field="type"):
    """Show the worker's log, as long as the page is open."""


class FleetConsumer(AsyncWebsocketConsumer):
    """With `?worker=ID` also what that worker is doing, and its log where asked."""

    async def connect(self) -> None:
        session = self.scope.get("session")
        self.session_key: str | None = session.session_key if session else None
        self.looked_at = 0.0
        self.tasks: list[asyncio.Task[None]] = []
        self.shows_log = False
        # Accepted first: a browser is not told why a socket was never opened.
        await self.accept()
        self.worker_id = _worker_of(self.scope["query_string"])
        if not await self._is_allowed():
            await self.close(NOT_ALLOWED)
            return
        self._keep(self._tell())
        if self.worker_id is not None:
            self._keep(self._tell_requests(self.worker_id))

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        try:
            message = msgspec.json.decode(text_data or bytes_data or "", type=AskForLog)
        except msgspec.DecodeError:
            return
        match message:
            case AskForLog():
                if self.worker_id is not None and not self.shows_log:
                    self.shows_log = True
                    self._keep(self._show_log(self.worker_id))

    async def _is_allowed(self) -> bool:
        if time.monotonic() - self.looked_at < LOOK_AGAIN_SECONDS:
            return True
        self.looked_at = time.monotonic()
        return await operator_of(self.session_key, PERMISSION) is not None

    async def _tell(self) -> None:
        """Everything that changes, until the socket is closed."""
        async with aclosing(board.watch()) as news:
            async for told in news:
                if not await self._is_allowed():
                    await self.close(NOT_ALLOWED)
                    return
                if self.worker_id is not None:
                    only = str(self.worker_id)
                    told["workers"] = [w for w in told["workers"] if w.id == only]
                await self._send(told)

    async def _tell_requests(self, worker_id: UUID) -> None:
        """What is under way there, whenever that has changed."""
        told: list[dict[str, Any]] | None = None
        while True:
            requests = requests_on(worker_id)
            if requests != told:
                told = requests
                await self._send({"type": "requests", "requests": requests})
            await asyncio.sleep(PAUSE_SECONDS)

    async def _show_log(self, worker_id: UUID) -> None:
        """Have the log sent, and pass on each new state of it."""
        wished_at, heard_at = float("-inf"), None
        while True:
            if time.monotonic() - wished_at > LOG_WISH_LASTS.total_seconds() / 2:
                wished_at = time.monotonic()
                await database_sync_to_async(wish_log)(worker_id)
            log = await WorkerLog.objects.filter(pk=worker_id).afirst()
            if log is not None and log.heard_at != heard_at:
                heard_at = log.heard_at
                await self._send(
                    {"type": "log", "lines": log.lines, "at": heard_at.timestamp()}
                )
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, content: dict[str, Any]) -> None:
        await self.send(text_data=msgspec.json.encode(content).decode())


def _worker_of(query: bytes) -> UUID | None:
    """The worker that the address names; None for none, or nonsense."""
    given = parse_qs(query.decode(errors="replace")).get("worker", [""])[0]
    try:
        return UUID(given)
    except ValueError:
        return None
