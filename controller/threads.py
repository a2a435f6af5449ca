"""Threads of this process that may wait for the database, apart from all others.

The loop and Django's shared thread must never wait for a writer that waits for SQLite's
file. Each `DatabaseThread` is one thread with one connection, kept while it works.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import Error, connections

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread:
    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `job` returns or raises, run in the thread; jobs wait in line."""

        def in_thread() -> T:
            try:
                return job(*args, **kwargs)
            except Error:
                connections.close_all()  # it may be the connection that is broken
                raise

        return await asyncio.get_running_loop().run_in_executor(
            self._executor, in_thread
        )

    async def close(self) -> None:
        """Finish what is queued, close the connection, end the thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, connections.close_all)
        self._executor.shutdown(wait=False)
