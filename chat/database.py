"""Queries from the event loop, on threads of the chat's own."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from django.db import connection

from controller.threads import DatabaseThreads

P = ParamSpec("P")
T = TypeVar("T")

# Not asgiref's one shared thread: a writer that waits for SQLite's file must not hold
# up every other socket and page.
_readers = DatabaseThreads("chat-reads", 4)
# SQLite has one writer at a time. Threads that compete for it sleep longer than they
# write; in line on one thread, none of them waits for nothing.
_writers = DatabaseThreads("chat-writes", 1 if connection.vendor == "sqlite" else 4)


def in_database(
    query: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Awaitable[T]:
    """Run a function that reads by the ORM off the loop; await what it returns."""
    return _readers.run(query, *args, **kwargs)


def writing(query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """The same for a function that writes."""
    return _writers.run(query, *args, **kwargs)
