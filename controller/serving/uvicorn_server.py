"""Serving with uvicorn: the default, at about half of daphne's cost a request."""

import asyncio
import socket
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings

from controller.serving.leaving import leave
from controller.serving.options import ServeOptions


class LeavingServer(uvicorn.Server):
    """uvicorn, but it tells before it closes its listener, and its streams may end."""

    _leaving: asyncio.Task[None] | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or not self.started:
            self.should_exit = True
        elif self._leaving is not None:
            self.force_exit = self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_to_leave)

    def _begin_to_leave(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(leave(self._stop_listening))

    def _stop_listening(self) -> None:
        self.should_exit = True


def serve(application: Any, options: ServeOptions, listener: socket.socket) -> None:
    """Serve until a signal; raises `SystemExit` where the start failed."""
    grace = settings.SHUTDOWN_GRACE.total_seconds()
    config = uvicorn.Config(
        application,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # config.asgi believes TRUSTED_PROXIES, and nobody else
        ssl_certfile=options.ssl_certfile or None,
        ssl_keyfile=options.ssl_keyfile or None,
        ws_max_size=settings.MAX_SOCKET_MESSAGE_BYTES,
        # A backstop behind our own grace, for what ignores its interruption.
        timeout_graceful_shutdown=int(grace) + 5,
        # Idle connections of SDKs' pools would else be closed under their next request.
        timeout_keep_alive=75,
    )
    server = LeavingServer(config)
    server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(3)
