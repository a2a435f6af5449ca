"""Workers on their way back: breakers that are not closed, and slow starts.

A worker that came back gets its share of the requests little by little: its caches are
cold and its first answers slow, while its queue is the shortest of all. Without this it
would be given everything at once, and might fall over again.
"""

from collections.abc import Iterator, Mapping
from uuid import UUID

from django.conf import settings

from controller.fleet.breaker import BreakerState
from controller.fleet.clock import LoopClock
from controller.fleet.loads import WorkerLoad

FIRST_SHARE = 0.1  # at none it would never be tried by weight


class Recovery:
    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._watched: dict[UUID, WorkerLoad] = {}

    def begin(self, load: WorkerLoad) -> None:
        """The worker has just come back."""
        load.came_back_at, load.slow_start = self._clock.now(), FIRST_SHARE
        self.watch(load)

    def watch(self, load: WorkerLoad) -> None:
        """Look after the worker until its breaker is closed and its share whole."""
        self._watched[load.worker.id] = load

    def advance(self, loads: Mapping[UUID, WorkerLoad]) -> Iterator[WorkerLoad]:
        """Let the shares grow; yields those that may be tried now, if time allows."""
        for worker_id, load in list(self._watched.items()):
            if loads.get(worker_id) is not load:  # it has left
                del self._watched[worker_id]
                continue
            load.slow_start = share_of_weight(self._clock.now() - load.came_back_at)
            yield load
            if load.slow_start == 1 and load.breaker.state is BreakerState.CLOSED:
                del self._watched[worker_id]


def share_of_weight(seconds_back: float) -> float:
    """From `FIRST_SHARE` straight up to 1 within SLOW_START."""
    share = seconds_back / settings.SLOW_START.total_seconds()
    return min(1.0, max(FIRST_SHARE, share))
