"""Tells a hung engine from a busy one, by what it answers and what it gets done."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import aiohttp

from workers.engine_client import EngineClient
from workers.metrics_scrape import EngineNumbers
from workers.protocol import Task

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
SUSPECT_SECONDS = 10.0
# An engine that has done nothing for so long is asked for a token, idle or not: a
# deadlocked one may look idle, since its numbers come from the part that is stuck.
QUIET_SECONDS = 60.0
UNBOUNDED = aiohttp.ClientTimeout(total=None)  # it is we who say how long is too long


class EngineWatch:
    """Looks after one run of an engine that has been ready.

    It hangs when it answers no call for `hung_seconds`, or when a tiny request is
    not answered for so long and no other one moves either: tokens and the KV cache's
    use stand still. Long before that it is `suspect`: to be sent nothing for now.
    """

    def __init__(
        self,
        client: EngineClient,
        read_numbers: Callable[[], Awaitable[EngineNumbers]],
        name: str,
        task: Task,
        hung_seconds: float,
    ) -> None:
        self.is_suspect = False
        self.is_silent = False
        """Not even an answer comes: it is of no use to ask such an engine to end."""
        self._read_numbers = read_numbers
        self._work: tuple[object, ...] = ()
        self._client = client
        self._name = name
        self._task = task
        self._hung_seconds = hung_seconds
        self._answered_at = self._moved_at = time.monotonic()
        self._probe: asyncio.Task[bool] | None = None
        self._stuck_since: float | None = None

    async def look(self) -> str:
        """Look once; return why the engine has to be restarted, or nothing."""
        await self._look()
        now = time.monotonic()
        silent = now - self._answered_at
        stuck = now - self._stuck_since if self._stuck_since is not None else 0.0
        patience = self._hung_seconds
        if silent >= patience:
            self.is_silent = True
            return f"has not answered for {silent:.0f} s"
        if stuck >= patience:
            return f"answers, but has not done anything for {stuck:.0f} s"
        # A long prompt on a slow machine moves nothing for a while: half the patience.
        self._suspect(
            silent >= min(SUSPECT_SECONDS, patience / 2) or stuck >= patience / 2
        )
        return ""

    async def pause(self) -> None:
        await asyncio.sleep(min(POLL_SECONDS, self._hung_seconds / 4))

    def close(self) -> None:
        """Give up the request that is out, if there is one."""
        if self._probe is not None:
            self._probe.cancel()

    async def _look(self) -> None:
        timeout = aiohttp.ClientTimeout(total=min(5.0, self._hung_seconds / 4))
        if not await self._client.is_healthy(timeout):
            return
        self._answered_at = time.monotonic()
        work = _work(await self._read_numbers())
        if work != self._work:
            self._work = work
            self._moved()
        self._ask_for_work()

    def _ask_for_work(self) -> None:
        """Have a tiny request under way whenever nothing moves by itself."""
        if self._probe is not None and self._probe.done():
            is_answered = self._probe.exception() is None
            self._probe = None
            if is_answered:
                self._moved()
        is_quiet = time.monotonic() - self._moved_at >= self._quiet_seconds
        if self._probe is None and is_quiet:
            self._probe = asyncio.create_task(
                self._client.does(self._task, self._name, UNBOUNDED)
            )
            if self._stuck_since is None:
                self._stuck_since = time.monotonic()

    @property
    def _quiet_seconds(self) -> float:
        return min(QUIET_SECONDS, self._hung_seconds)

    def _moved(self) -> None:
        self._moved_at = time.monotonic()
        self._stuck_since = None

    def _suspect(self, is_suspect: bool) -> None:
        if is_suspect and not self.is_suspect:
            logger.warning("The engine does not respond: it is given no more work.")
        elif self.is_suspect and not is_suspect:
            logger.info("The engine responds again.")
        self.is_suspect = is_suspect


def _work(numbers: EngineNumbers) -> tuple[object, ...]:
    """What changes only where the engine gets something done."""
    return (
        numbers.prompt_tokens_total,
        numbers.generation_tokens_total,
        numbers.kv_cache_usage,
    )
