"""Rates: an allowance for each minute that comes back little by little.

A bucket holds a minute's allowance and fills up again at that speed, so that whoever
was quiet may send a minute's worth at once, and nobody gets two at the turn of one.
"""

import math
import time
from collections.abc import Callable

MINUTE = 60.0


class Bucket:
    """What is left of an allowance; negative after more was used than was foreseen."""

    __slots__ = ("_at", "_level", "_monotonic", "per_minute")

    def __init__(
        self, per_minute: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute = per_minute
        self._monotonic = monotonic
        self._level = float(per_minute)
        self._at = monotonic()

    def resize(self, per_minute: int) -> None:
        """Hold another allowance from now on; what is used stays used."""
        self._level += per_minute - self.per_minute
        self.per_minute = per_minute

    @property
    def level(self) -> int:
        """What is there now, or is missing."""
        return int(self._fill())

    def take_here(self, amount: int) -> bool:
        """Whether there was enough, which then is taken."""
        if self._fill() < amount:
            return False
        self._level -= amount
        return True

    def give(self, amount: int) -> None:
        """Put back what was not used; negative: take more, as far as it may go."""
        self._level = min(self._fill() + amount, self.per_minute)

    @property
    def remaining(self) -> int:
        """What could be taken now."""
        return max(0, self.level)

    def seconds_until(self, amount: int) -> float:
        """How long until so much is there; infinite for more than it ever holds."""
        if amount > self.per_minute or not self.per_minute:
            return math.inf
        return max(0.0, (amount - self._fill()) * MINUTE / self.per_minute)

    def standing(self) -> tuple[int, float]:
        """(what could be taken now, seconds until all of it is back)."""
        level = self._fill()
        missing = self.per_minute - level
        until_full = missing * MINUTE / self.per_minute if missing > 0 else 0.0
        return max(0, int(level)), until_full

    def _fill(self) -> float:
        now = self._monotonic()
        came_back = (now - self._at) * self.per_minute / MINUTE
        self._at = now
        self._level = min(self._level + came_back, float(self.per_minute))
        return self._level
