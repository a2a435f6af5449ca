"""Jobs that a web process repeats in the background; which the database fails."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError

logger = logging.getLogger(__name__)

Job = Callable[[], Coroutine[Any, Any, None]]


class Loops:
    """The loops of one web process. What a job raises ends no loop."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        """The jobs that the database failed, their last time: a full disk lets reads
        succeed while writes fail."""
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run until the loops stop."""
        self._tasks.append(asyncio.create_task(work))

    def every(self, interval: timedelta, job: Job) -> None:
        """Do it after each interval, until the loops stop."""

        async def forever() -> None:
            while True:
                await asyncio.sleep(interval.total_seconds())
                await self.once(job)

        self.keep(forever())

    async def once(self, job: Job) -> None:
        """Do it now; a failing database is said once and tried again."""
        name = job.__name__
        try:
            await job()
        except DatabaseError as exc:
            if name not in self.failing:
                logger.error("%s: the database fails: %s; will try again", name, exc)
            self.failing.add(name)
        except Exception:
            logger.exception("%s failed", name)
        else:
            if name in self.failing:
                logger.warning("%s: the database answers again", name)
            self.failing.discard(name)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
