"""Redis behind a breaker: whoever asks it has an answer, or none, within a moment."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# After a failure nobody asks Redis for so long; then one call finds out.
BREAKER_SECONDS = 5.0
# Calls beyond wait for one to end: many callers at once are no failure of Redis.
MAX_CONNECTIONS = 50


class GuardedRedis:
    """What one web process asks of Redis: Lua scripts, each one atomic step."""

    def __init__(
        self, url: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        seconds = settings.REDIS_TIMEOUT.total_seconds()
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
        )
        self._redis = Redis.from_pool(pool)
        self._scripts: dict[str, AsyncScript] = {}
        self._monotonic = monotonic
        self._retry_at = 0.0
        self.is_failing = False

    async def run(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | float | bytes]
    ) -> Any | None:
        """What the script returns; None if Redis does not answer now."""
        if self._monotonic() < self._retry_at:
            return None
        if self.is_failing:  # this call finds out; others go on without it
            self._retry_at = self._monotonic() + BREAKER_SECONDS
        call = asyncio.create_task(self._call(script, keys, arguments))
        # A cancelled caller leaves the call alone: now and then the client swallows a
        # cancellation, and whoever was to end would go on.
        await asyncio.wait((call,), timeout=settings.REDIS_TIMEOUT.total_seconds())
        if not call.done():
            call.cancel()
            self._fail(f"no answer in {settings.REDIS_TIMEOUT.total_seconds():g} s")
            return None
        return call.result()

    async def _call(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | float | bytes]
    ) -> Any | None:
        try:
            answer = await self._script(script)(keys, arguments)
        except (RedisError, OSError, TimeoutError) as exc:
            self._fail(str(exc) or type(exc).__name__)
            return None
        self._succeed()
        return answer

    async def close(self) -> None:
        await self._redis.aclose()

    def _script(self, text: str) -> AsyncScript:
        known = self._scripts.get(text)
        if known is None:
            known = self._scripts[text] = self._redis.register_script(text)
        return known

    def _fail(self, reason: str) -> None:
        self._retry_at = self._monotonic() + BREAKER_SECONDS
        if not self.is_failing:
            logger.error(
                "Redis fails: %s; each web process goes on with its own part of the"
                " rates and of the requests at once",
                reason,
            )
        self.is_failing = True

    def _succeed(self) -> None:
        self._retry_at = 0.0
        if self.is_failing:
            logger.warning("Redis answers again")
        self.is_failing = False
