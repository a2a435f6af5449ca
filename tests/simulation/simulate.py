"""One run: a policy before so many engines, asked at some rate for some time."""

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.test import override_settings

from controller.fleet.clock import LoopClock
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.wishes import Wish
from tests.fleets import snapshot_of, worker_view
from tests.simulation.costs import Costs
from tests.simulation.engine import Engine, Events, Job
from tests.simulation.traces import Conversation, Turn, Workload, conversations
from workers.protocol import Heartbeat, Task, WorkerState

MODEL = "simulated"
HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Scenario:
    policy: str
    workload: Workload
    num_workers: int
    turns_per_second: float
    """For one worker, on average, if nobody has to wait."""
    seconds: float = 600.0
    warm_up_seconds: float = 180.0
    """What comes before this moment is not counted."""
    has_sessions: bool = False
    seed: int = 1
    costs: Costs = field(default_factory=Costs)


@dataclass
class Outcome:
    """What was seen of the requests that came after the warm-up."""

    scenario: Scenario
    num_runs: int = 1
    ttfts: list[float] = field(default_factory=list)
    """Seconds; of those still waiting at the end, how long they have waited by then."""
    num_ended: int = 0
    written_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def counted_seconds(self) -> float:
        seconds = self.scenario.seconds - self.scenario.warm_up_seconds
        return seconds * self.num_runs

    @property
    def turns_per_second(self) -> float:
        """Of one worker, on average."""
        return self.num_ended / self.counted_seconds / self.scenario.num_workers

    @property
    def tokens_per_second(self) -> float:
        return self.written_tokens / self.counted_seconds

    @property
    def hit_rate(self) -> float:
        return self.cached_tokens / max(1, self.prompt_tokens)

    def ttft(self, percentile: int) -> float:
        return statistics.quantiles(self.ttfts, n=100)[percentile - 1]


def simulate(scenario: Scenario, num_seeds: int = 1) -> Outcome:
    """The outcome of so many runs together. Equal scenarios have equal outcomes."""
    outcome = Outcome(scenario, num_runs=num_seeds)
    with override_settings(HEARTBEAT_EXPIRY=timedelta(seconds=15)):
        for seed in range(scenario.seed, scenario.seed + num_seeds):
            Simulation(replace(scenario, seed=seed), outcome).run()
    return outcome


class SimulatedClock(LoopClock):
    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def now(self) -> float:
        return self._events.now


class Simulation:
    """One run, which adds to an outcome what it sees."""

    def __init__(self, scenario: Scenario, outcome: Outcome) -> None:
        self.scenario = scenario
        self.outcome = outcome
        self._events = Events()
        self._rng = random.Random(scenario.seed)
        workers = [worker_view(MODEL, at) for at in range(scenario.num_workers)]
        self._fleet = Fleet(SimulatedClock(self._events))
        self._fleet.adopt(snapshot_of(MODEL, workers, scenario.policy))
        self._model = self._fleet.snapshot.models[MODEL]
        for dispatcher in self._fleet.dispatchers.values():
            dispatcher.policy._rng = random.Random(scenario.seed)
        self._engines = {
            worker.id: Engine(self._events, scenario.costs) for worker in workers
        }
        self._asked_at: dict[Job, float] = {}

    def run(self) -> None:
        for at, worker in enumerate(self._model.workers):
            self._beat_forever(worker, HEARTBEAT_SECONDS * at / len(self._engines))
        self._arrive_forever()
        self._events.run(self.scenario.seconds)
        for asked_at in self._asked_at.values():  # no output yet
            if asked_at >= self.scenario.warm_up_seconds:
                self.outcome.ttfts.append(self._events.now - asked_at)

    def _beat_forever(self, worker, moment: float) -> None:
        engine = self._engines[worker.id]

        def beat() -> None:
            heartbeat = Heartbeat(
                state=WorkerState.READY,
                start_id=worker.start_id,
                running=engine.running,
                waiting=engine.waiting,
                kv_cache_usage=engine.cache_usage,
            )
            self._fleet.hear(worker.id, heartbeat)
            self._events.after(HEARTBEAT_SECONDS, beat)

        self._events.at(moment, beat)

    def _arrive_forever(self) -> None:
        scenario = self.scenario
        rate = scenario.turns_per_second * scenario.num_workers
        rate /= scenario.workload.num_turns
        coming = conversations(scenario.workload, scenario.num_workers, self._rng)

        def arrive() -> None:
            self._ask(next(coming), 0)
            self._events.after(self._rng.expovariate(rate), arrive)

        arrive()

    def _ask(self, conversation: Conversation, number: int) -> None:
        turn = conversation.turn(number)
        slot = self._fleet.acquire(self._model, self._wish(turn))
        job = Job(turn, self._on_first(slot), self._on_end(slot))
        self._asked_at[job] = self._events.now
        self._engines[slot.worker.id].submit(job)

    def _wish(self, turn: Turn) -> Wish:
        has_sessions = self.scenario.has_sessions
        return Wish(
            task=Task.CHAT,
            prompt_tokens=turn.prompt_tokens,
            chain=turn.prompt_blocks,
            session=str(turn.conversation.number) if has_sessions else "",
        )

    def _on_first(self, slot: Slot) -> Callable[[Job], None]:
        def first(job: Job) -> None:
            self._fleet.prefilled(slot)
            asked_at = self._asked_at.pop(job)
            if asked_at >= self.scenario.warm_up_seconds:
                self.outcome.ttfts.append(self._events.now - asked_at)
            if self._events.now >= self.scenario.warm_up_seconds:
                self.outcome.prompt_tokens += job.turn.prompt_tokens
                self.outcome.cached_tokens += job.cached_tokens

        return first

    def _on_end(self, slot: Slot) -> Callable[[Job], None]:
        def end(job: Job) -> None:
            self._fleet.release(slot)
            if self._events.now >= self.scenario.warm_up_seconds:
                self.outcome.num_ended += 1
                self.outcome.written_tokens += job.turn.answer_tokens
            self._think(job.turn)

        return end

    def _think(self, turn: Turn) -> None:
        conversation, after = turn.conversation, turn.number + 1
        if after < len(conversation.exchanges):
            pause = conversation.think_seconds[turn.number]
            self._events.after(pause, lambda: self._ask(conversation, after))
