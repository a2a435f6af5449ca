"""Growing, random pauses between tries: a hundred workers must not come back as one."""

import random


class Backoff:
    """Pauses in seconds: each at random between half and all of a doubling bound."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._bound = first

    def next_pause(self) -> float:
        bound = self._bound
        self._bound = min(self._longest, bound * 2)
        return random.uniform(bound / 2, bound)  # noqa: S311  (jitter, not a secret)

    def reset(self) -> None:
        self._bound = self._first
