"""The clock by which workers' silence is measured."""

import time
from collections.abc import Callable


class LoopClock:
    """Seconds that passed while this process's event loop could have heard a worker.

    Time in which the loop stood still is left out: then silence says nothing of the
    workers. `tick()` must be called at least every `LONGEST_TICK` seconds.
    """

    LONGEST_TICK = 1.0

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_tick = monotonic()
        self._counted = 0.0

    def tick(self) -> None:
        self._counted = self.now()
        self._last_tick = self._monotonic()

    def now(self) -> float:
        """Seconds since this clock was made, without the loop's stand-stills."""
        passed = self._monotonic() - self._last_tick
        return self._counted + min(passed, self.LONGEST_TICK)
