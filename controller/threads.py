"""Threads of this process that may wait for the database, apart from all others.

The loop and Django's shared thread must never wait for a writer that waits for SQLite's
file. Each of these threads has one connection, which it keeps: a connection for each
query, as threads that come and go need it, costs more than most queries.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.db import Error, connection, connections

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """As many as are named; a job runs in any that is free."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `job` returns or raises, run in a thread; jobs wait in line."""

        def in_thread() -> T:
            leave_dead_connection()
            try:
                return job(*args, **kwargs)
            except Error:
                connections.close_all()  # it may be the connection that is broken
                raise

        return await asyncio.get_running_loop().run_in_executor(
            self._executor, copy_context().run, in_thread
        )


class DatabaseThread(DatabaseThreads):
    """One, so that jobs run in the order in which they were given."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 1)

    async def close(self) -> None:
        """Finish what is queued, close the connection, end the thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, connections.close_all)
        self._executor.shutdown(wait=False)


def leave_dead_connection() -> None:
    """Have the next query connect anew if the database has gone since the last one.

    One round trip to PostgreSQL, a hundredth of connecting; nothing to SQLite.
    """
    if connection.connection is not None and not connection.is_usable():
        connection.close()
