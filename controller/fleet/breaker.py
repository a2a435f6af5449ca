"""A worker's circuit breaker: one that fails is left alone, and tried again later.

*Closed*, requests go to it. *Open*, none does, for a time that grows with each opening.
*Half-open*, a few go on trial: as many successes close it, one failure opens it again.
Each web process has a breaker for each worker, by what it has itself seen of it.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from django.conf import settings
from django.utils.timezone import now

WINDOW_SIZE = 200  # outcomes that are remembered, however many come
NUM_TRIALS = 3
JITTER = 0.2  # workers that failed together are not tried again together


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Cause(StrEnum):
    """Why a breaker is open, in the words that a refused client reads."""

    REFUSING = "refusing connections"
    HANGING = "hanging"
    BREAKING_OFF = "breaking off"
    ANSWERING_ERRORS = "answering errors"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    window_seconds: float = 30.0
    min_requests: int = 5
    """Fewer outcomes within the window say nothing."""
    failure_share: float = 0.5
    open_seconds: float = 5.0
    longest_open_seconds: float = 60.0

    @classmethod
    def of_settings(cls) -> Self:
        return cls(
            window_seconds=settings.BREAKER_WINDOW.total_seconds(),
            min_requests=settings.BREAKER_MIN_REQUESTS,
            failure_share=settings.BREAKER_FAILURE_PERCENT / 100,
            open_seconds=settings.BREAKER_OPEN.total_seconds(),
            longest_open_seconds=settings.BREAKER_OPEN_LONGEST.total_seconds(),
        )


class Breaker:
    """No I/O and no clock of its own; `on_change` is called with it at each new state.

    A request goes through `begin`, `succeed` at its first bytes, `fail` if the worker
    fails it before or after them, and `end`. A client's own mistake, or a client that
    left, says nothing.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        rules: BreakerRules | None = None,
        rng: random.Random | None = None,
        on_change: "Callable[[Breaker], None] | None" = None,
    ) -> None:
        self.rules = rules or BreakerRules()
        self.state = BreakerState.CLOSED
        self.cause: Cause | None = None
        self.reason = ""
        """What was seen, in words; empty while closed."""
        self.since: datetime = now()
        self.is_down = False
        """Health checks fail: whatever the time, it is not tried."""
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrecy
        self._on_change = on_change
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._num_failures = 0
        self._num_openings = 0
        self._closed_at = clock()
        self._trial_at = 0.0
        self._num_on_trial = 0
        self._num_passed = 0

    # -- what goes through -----------------------------------------------------

    def bar(self) -> str:
        """Why nothing may go to the worker now, in a word or two; empty if it may."""
        if self.state is BreakerState.CLOSED:
            return ""
        if self.state is BreakerState.HALF_OPEN:
            return "on trial" if self._num_on_trial >= NUM_TRIALS else ""
        is_due = self._clock() >= self._trial_at and not self.is_down
        return "" if is_due else str(self.cause)

    @property
    def is_last_resort(self) -> bool:
        """Whether the worker is better than none: it takes requests, if it fails them.

        It may be one client's requests that it cannot digest. Those must not take from
        all others the last worker that there is.
        """
        return not self.is_down and self.cause in {
            Cause.ANSWERING_ERRORS,
            Cause.BREAKING_OFF,
        }

    def begin(self) -> None:
        """A request goes to the worker now."""
        if self.state is BreakerState.CLOSED:
            return
        if self.state is BreakerState.OPEN and not self.bar():
            self._num_on_trial = self._num_passed = 0
            self._become(BreakerState.HALF_OPEN)
        self._num_on_trial += 1

    def end(self) -> None:
        """A request has left the worker, however it ended."""
        # Of one that was there before the trial it frees a place too early: a request
        # more on trial does no harm.
        self._num_on_trial = max(0, self._num_on_trial - 1)

    def succeed(self) -> None:
        if self.state is BreakerState.CLOSED:
            self._note(has_failed=False)
        elif self.state is BreakerState.HALF_OPEN:
            self._num_passed += 1
            if self._num_passed >= NUM_TRIALS:
                self._close()

    def fail(self, cause: Cause, reason: str, *, had_begun: bool = False) -> None:
        """Count a failure; with too many of them the breaker opens.

        A request that `had_begun` its answer was counted as a success, and is no more.
        """
        if self.state is BreakerState.HALF_OPEN:
            self._open(cause, f"on trial: {reason}")
        elif self.state is BreakerState.CLOSED:
            if had_begun:
                self._take_back_success()
            self._note(has_failed=True)
            num_outcomes = len(self._outcomes)
            is_enough = num_outcomes >= self.rules.min_requests
            if is_enough and self._num_failures >= num_outcomes * (
                self.rules.failure_share
            ):
                counted = f"{self._num_failures} of the last {num_outcomes} failed"
                self._open(cause, f"{counted}, then: {reason}")

    def trip(self, cause: Cause, reason: str) -> None:
        """Open at once: one such failure is proof enough."""
        if self.state is not BreakerState.OPEN:
            self._open(cause, reason)

    # -- what others say of the worker -----------------------------------------

    def hear(self) -> None:
        """The worker says that its engine is ready.

        It is believed once: where it is ready for its agent and not for us, as behind
        a firewall, heartbeats would send a request into the wall each time.
        """
        if self.cause is Cause.REFUSING and self._num_openings == 1:
            self._trial_at = self._clock()

    def mark_down(self, reason: str) -> None:
        """Health checks fail: nothing goes there until they succeed."""
        self.is_down = True
        self.trip(Cause.HANGING, reason)

    def mark_up(self) -> None:
        """Health checks succeed; a worker that was out of reach may be tried now."""
        self.is_down = False
        if self.cause in {Cause.REFUSING, Cause.HANGING}:
            self._trial_at = self._clock()

    def reset(self) -> None:
        """The engine is another one, of which nothing is known yet."""
        self.is_down = False
        self._num_openings = 0
        if self.state is not BreakerState.CLOSED:
            self._close()
        self._forget()

    # -- changes ---------------------------------------------------------------

    def _note(self, *, has_failed: bool) -> None:
        at, outcomes = self._clock(), self._outcomes
        outcomes.append((at, has_failed))
        self._num_failures += has_failed
        oldest = at - self.rules.window_seconds
        while outcomes[0][0] < oldest or len(outcomes) > WINDOW_SIZE:
            self._num_failures -= outcomes.popleft()[1]

    def _take_back_success(self) -> None:
        """Forget the latest success: which one it was does not matter."""
        for place in reversed(range(len(self._outcomes))):
            if not self._outcomes[place][1]:
                del self._outcomes[place]
                return

    def _forget(self) -> None:
        self._outcomes.clear()
        self._num_failures = 0

    def _open(self, cause: Cause, reason: str) -> None:
        at = self._clock()
        if (
            self.state is BreakerState.CLOSED
            and at - self._closed_at > self.rules.longest_open_seconds
        ):
            self._num_openings = 0  # it was well for long
        self._num_openings += 1
        self._trial_at = at + self._open_seconds()
        self.cause, self.reason = cause, reason
        self._forget()
        self._become(BreakerState.OPEN)

    def _open_seconds(self) -> float:
        longest = self.rules.longest_open_seconds
        doublings = min(self._num_openings - 1, 30)
        seconds: float = min(longest, self.rules.open_seconds * 2**doublings)
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _close(self) -> None:
        self.cause, self.reason = None, ""
        self._closed_at = self._clock()
        self._become(BreakerState.CLOSED)

    def _become(self, state: BreakerState) -> None:
        self.state, self.since = state, now()
        if self._on_change is not None:
            self._on_change(self)
