"""Queries from the event loop, on threads of the chat's own."""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async

P = ParamSpec("P")
T = TypeVar("T")

# Not asgiref's one shared thread: a writer that waits for SQLite's file must not hold
# up every other socket and page.
_threads = ThreadPoolExecutor(4, thread_name_prefix="chat-database")


def in_database(
    query: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Awaitable[T]:
    """Run a function that uses the ORM off the loop, and await what it returns."""
    run = database_sync_to_async(query, thread_sensitive=False, executor=_threads)
    return run(*args, **kwargs)
