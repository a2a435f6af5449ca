"""Many that want a part of something far away, and one call that fetches for all."""

import asyncio
from collections.abc import Awaitable, Callable


class Gathering:
    """`fetch_all` is called with the sum of what all that wait want."""

    def __init__(self, fetch_all: Callable[[int], Awaitable[None]]) -> None:
        self._fetch_all = fetch_all
        self._wanted = 0
        self._fetching: asyncio.Task[None] | None = None

    @property
    def is_fetching(self) -> bool:
        return self._fetching is not None

    async def fetch(self, wanted: int) -> None:
        """Return after a call that was under way or began now; raise what it raises.

        Whoever leaves meanwhile does not end it: what it fetches is there for others.
        """
        self._wanted += wanted
        try:
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._run())
                self._fetching.add_done_callback(_seen)
            await asyncio.shield(self._fetching)
        finally:
            self._wanted -= wanted

    async def _run(self) -> None:
        await asyncio.sleep(0)  # for all that come in this round of the loop
        try:
            await self._fetch_all(self._wanted)
        finally:
            self._fetching = None


def _seen(fetching: "asyncio.Task[None]") -> None:
    """Everybody who waited may have left: nobody else would look at its failure."""
    if not fetching.cancelled():
        fetching.exception()
