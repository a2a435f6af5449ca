"""Start and stop of a web process, with or without ASGI's lifespan."""

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from controller.gateway import is_running
from controller.lean import Receive, Scope, Send
from controller.serving.mounting import Application

logger = logging.getLogger(__name__)

Phase = Callable[[], AbstractAsyncContextManager[Any]]


class Lifespan:
    """Enters its phases in order at the start, leaves them in reverse at the stop."""

    def __init__(self, *phases: Phase) -> None:
        self._phases = phases
        self._starting = asyncio.Lock()
        self._stack: AsyncExitStack | None = None

    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            for phase in self._phases:
                await stack.enter_async_context(phase())
            self._stack = stack.pop_all()
        spare_what_stays()

    def started_before(self, application: Application) -> Application:
        """The application, started by its first request where the server (runserver)
        announces no lifespan."""

        async def started(scope: Scope, receive: Receive, send: Send) -> None:
            if self._stack is None and not is_running():
                async with self._starting:
                    if self._stack is None:
                        await self.start()
            await application(scope, receive, send)

        return started

    async def stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as exc:
                    logger.exception("the web process could not start")
                    await send({"type": "lifespan.startup.failed", "message": str(exc)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def spare_what_stays() -> None:
    """Let the garbage collector pass over what was loaded by now and never dies.

    Else each full collection walks all of Django and the libraries, and the loop stands
    still for it. Of what comes after, requests leave few cycles: rarer looks suffice.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
