"""An engine in simulated time: continuous batching, chunked prefill, prefix caching."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.costs import BLOCK_TOKENS, Costs
from tests.simulation.kv_cache import Hold, KVCache
from tests.simulation.traces import Turn


class Events:
    """The simulated clock: things to do, each at its moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (moment, next(self._order), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = until


@dataclass(eq=False)
class Job:
    """A turn in an engine."""

    turn: Turn
    on_first: Callable[["Job"], None]
    on_end: Callable[["Job"], None]
    to_read: int = 0
    to_write: int = 0
    cached_tokens: int = 0
    hold: Hold = field(default_factory=lambda: Hold(0, 0))


class Engine:
    """Steps as vLLM's: each writes one token of every sequence that is read, and
    reads of the others as much as the step's budget has room for."""

    def __init__(self, events: Events, costs: Costs) -> None:
        self._events = events
        self._costs = costs
        self._cache = KVCache(costs.cache_blocks)
        self._waiting: deque[Job] = deque()
        self._reading: deque[Job] = deque()
        self._writing: list[Job] = []
        self._round = 0  # the present round's number; what was planned before is void
        self._num_steps = 0
        self._begun_at = 0.0
        self._seconds_per_step = 0.0

    @property
    def running(self) -> int:
        return len(self._reading) + len(self._writing)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def cache_usage(self) -> float:
        return min(1.0, self._cache.usage)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        if not self._num_steps:
            self._begin()
        elif self._num_steps > 1:
            self._cut_short()

    def _begin(self) -> None:
        """Plan the next round: one step, or as many as end before anything changes."""
        self._admit()
        costs = self._costs
        budget = costs.tokens_per_step - len(self._writing)
        chunks = 0
        for job in self._reading:
            chunks += min(job.to_read, budget - chunks)
        self._num_steps = 0
        if not self._reading and not self._writing:
            return
        is_changing = bool(self._reading)
        self._num_steps = 1 if is_changing else min(j.to_write for j in self._writing)
        self._seconds_per_step = (
            costs.seconds_per_step
            + costs.seconds_per_sequence * len(self._writing)
            + costs.seconds_per_prompt_token * chunks
        )
        self._begun_at = self._events.now
        self._plan_end()

    def _plan_end(self) -> None:
        self._round += 1
        this_round = self._round
        moment = self._begun_at + self._num_steps * self._seconds_per_step

        def end() -> None:
            if this_round == self._round:
                self._end()

        self._events.at(moment, end)

    def _cut_short(self) -> None:
        """Somebody came: end with the step that is under way."""
        passed = self._events.now - self._begun_at
        self._num_steps = min(self._num_steps, int(passed / self._seconds_per_step) + 1)
        self._plan_end()

    def _end(self) -> None:
        num_steps, self._num_steps = self._num_steps, 0
        budget = self._costs.tokens_per_step - len(self._writing)
        writing = []
        for job in self._writing:
            job.to_write -= num_steps
            if job.to_write > 0:
                writing.append(job)
            else:
                self._finish(job)
        self._writing = writing
        while self._reading and budget > 0:
            job = self._reading[0]
            chunk = min(job.to_read, budget)
            budget -= chunk
            job.to_read -= chunk
            if job.to_read:
                break
            self._reading.popleft()
            self._first_token(job)
        self._begin()

    def _admit(self) -> None:
        while self._waiting and self.running < self._costs.max_sequences:
            job = self._waiting[0]
            turn = job.turn
            hold = self._cache.take(turn.prompt_blocks, turn.num_blocks)
            if hold is None:
                return
            self._waiting.popleft()
            # The last token is always read: it is what the first output follows.
            cached = min(hold.num_hits * BLOCK_TOKENS, turn.prompt_tokens - 1)
            job.hold, job.cached_tokens = hold, cached
            job.to_read = turn.prompt_tokens - cached
            job.to_write = turn.answer_tokens
            self._reading.append(job)

    def _first_token(self, job: Job) -> None:
        self._cache.publish(job.hold, job.turn.prompt_blocks)
        job.to_write -= 1
        job.on_first(job)
        if job.to_write > 0:
            self._writing.append(job)
        else:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        self._cache.publish(job.hold, job.turn.all_blocks)
        self._cache.give_back(job.hold)
        job.on_end(job)
