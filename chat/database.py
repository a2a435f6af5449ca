"""Queries from the event loop, on threads of the chat's own."""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")

# Not asgiref's one shared thread: a writer that waits for SQLite's file must not hold
# up every other socket and page.
_readers = ThreadPoolExecutor(4, thread_name_prefix="chat-reads")
# SQLite has one writer at a time. Threads that compete for it sleep longer than they
# write; in line on one thread, none of them waits for nothing.
_writers = ThreadPoolExecutor(
    1 if connection.vendor == "sqlite" else 4, thread_name_prefix="chat-writes"
)


def in_database(
    query: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Awaitable[T]:
    """Run a function that reads by the ORM off the loop; await what it returns."""
    run = database_sync_to_async(query, thread_sensitive=False, executor=_readers)
    return run(*args, **kwargs)


def writing(query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """The same for a function that writes."""
    run = database_sync_to_async(query, thread_sensitive=False, executor=_writers)
    return run(*args, **kwargs)
