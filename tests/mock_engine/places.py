"""The places in the mock engine's batch, and who waits for one."""

from collections import OrderedDict
from collections.abc import Callable, Hashable


class Places:
    """At most `limit` holders at once, if it is not 0; the others begin in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[Hashable] = set()
        self._waiting: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()

    def take(self, holder: Hashable, begin: Callable[[], None]) -> None:
        """Call `begin` when there is a place, which may be now."""
        if self._limit and len(self._holders) >= self._limit:
            self._waiting[holder] = begin
            return
        self._holders.add(holder)
        begin()

    def free(self, holder: Hashable) -> None:
        """Hold no place and wait for none; the next one begins."""
        self._waiting.pop(holder, None)
        self._holders.discard(holder)
        if self._waiting and len(self._holders) < self._limit:
            following, begin = self._waiting.popitem(last=False)
            self._holders.add(following)
            begin()
