"""Second tries, within bounds: a fleet that fails must not be hammered by its gateway.

Where a worker's breaker has taken it out, the next try goes to others and cannot come
back: it is free, and made at once. All other retries wait a little and come out of a
budget, a share of the requests of this process.
"""

import random
import time
from collections.abc import Callable

from django.conf import settings

FLOOR_SECONDS = 10.0  # RETRY_FLOOR is for so long
LEAST_SIZE = 10.0
FIRST_PAUSE_SECONDS = 0.025
LONGEST_PAUSE_SECONDS = 1.0


class RetryBudget:
    """A bucket: each request puts a share of a retry in, time the floor's part.

    What it can hold is bounded, so that hours of peace buy no storm.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floor = float(settings.RETRY_FLOOR)
        self._share = settings.RETRY_PERCENT / 100
        self._most = max(LEAST_SIZE, 2 * self._floor)
        self._held = self._floor
        self._filled_at = clock()
        self.num_refused = 0

    def note_request(self) -> None:
        self._held = min(self._most, self._held + self._share)

    def take(self) -> bool:
        """Whether there was a retry left to take."""
        at = self._clock()
        earned = (at - self._filled_at) * self._floor / FLOOR_SECONDS
        self._held = min(self._most, self._held + earned)
        self._filled_at = at
        if self._held < 1:
            self.num_refused += 1
            return False
        self._held -= 1
        return True


def pause_seconds(num_retries: int, rng: random.Random | None = None) -> float:
    """How long to wait before retry number `num_retries`, the first being 1.

    Anything up to a bound that doubles: those who failed together part.
    """
    longest = FIRST_PAUSE_SECONDS * 2 ** min(num_retries - 1, 10)
    draw = rng or random
    return draw.uniform(0, min(LONGEST_PAUSE_SECONDS, longest))
