"""Three times more than there is room for, for minutes, in simulated time.

The real `WaitingLine`, with a clock that the simulation moves and workers that take as
long as an answer has tokens. What a line cannot show alone (slots on real workers,
clients that leave) is shown live by `python -m tests.bench --only overload`.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from controller.fleet.line import Bounds, LineIsFull, Ticket, WaitingLine

SLOTS = 8
TOKENS_PER_SECOND = 50.0  # of one slot
CAPACITY = SLOTS * TOKENS_PER_SECOND
SECONDS = 600.0
WARM_UP = 60.0
PATIENCE = 20.0
BOUNDS = Bounds(length=100, caller_length=60, num_bytes=10**6, caller_bytes=10**6)


@dataclass(kw_only=True)
class Caller:
    """Somebody who asks at a steady rate, whatever becomes of it."""

    name: str
    load: float
    """What it asks for, as a share of the capacity."""
    mean_tokens: float = 100.0
    max_tokens: float = 4096.0
    lane: str = "api"
    until: float = SECONDS

    def arrivals(self, rng: random.Random) -> Iterator[float]:
        per_second = self.load * CAPACITY / self.mean_tokens
        now = rng.expovariate(per_second)
        while now < self.until:
            yield now
            now += rng.expovariate(per_second)


@dataclass
class Outcome:
    """What became of a run; tokens and waits are of the time after the warm-up."""

    tokens: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    overdue: int = 0
    longest: int = 0
    waits: dict[str, list[float]] = field(default_factory=dict)
    empty_at: float = 0.0

    @property
    def goodput(self) -> float:
        """As a share of the capacity."""
        return self.tokens.total() / CAPACITY / (SECONDS - WARM_UP)


class Simulation:
    def __init__(self, *callers: Caller, seed: int = 1) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.line: WaitingLine[Ticket] = WaitingLine(lambda: BOUNDS, lambda: self.now)
        self.free = SLOTS
        self.tokens_of: dict[Ticket, float] = {}
        self.outcome = Outcome()
        self.order = itertools.count()
        self.events: list[tuple[float, int, object, object]] = []
        for caller in callers:
            for at in caller.arrivals(self.rng):
                self.at(at, self.come, caller)

    def at(self, moment: float, action: object, subject: object) -> None:
        heapq.heappush(self.events, (moment, next(self.order), action, subject))

    def run(self) -> Outcome:
        while self.events:
            self.now, _, action, subject = heapq.heappop(self.events)
            action(subject)
        return self.outcome

    def come(self, caller: Caller) -> None:
        tokens = min(caller.max_tokens, self.rng.expovariate(1 / caller.mean_tokens))
        ticket = Ticket(
            caller=caller.name,
            lane=caller.lane,
            max_tokens=caller.max_tokens,
            deadline_at=self.now + PATIENCE,
        )
        if self.free:
            self.begin(caller.name, tokens, None)
            return
        try:
            evicted = self.line.enter(ticket)
        except LineIsFull:
            self.outcome.refused[caller.name] += 1
            return
        if evicted is not None:
            self.outcome.refused[evicted.caller] += 1
        self.outcome.longest = max(self.outcome.longest, len(self.line))
        self.tokens_of[ticket] = tokens
        self.at(ticket.deadline_at, self.give_up, ticket)

    def give_up(self, ticket: Ticket) -> None:
        self.outcome.overdue += self.line.leave(ticket)

    def begin(self, caller: str, tokens: float, ticket: Ticket | None) -> None:
        self.free -= 1
        ends_at = self.now + tokens / TOKENS_PER_SECOND
        self.at(ends_at, self.end, (caller, tokens, ticket))

    def end(self, served: tuple[str, float, Ticket | None]) -> None:
        caller, tokens, ticket = served
        self.free += 1
        if WARM_UP < self.now <= SECONDS:
            self.outcome.tokens[caller] += tokens
        if ticket is not None:
            work = round(tokens)
            self.line.settle(ticket, work_tokens=work, completion_tokens=work)
        following = next(self.line.in_order(), None)
        if following is None:
            self.outcome.empty_at = self.now
            return
        self.line.take(following)
        waits = self.outcome.waits.setdefault(following.caller, [])
        waits.append(self.now - following.entered_at)
        self.begin(following.caller, self.tokens_of.pop(following), following)


def test_workers_do_no_less_than_they_can():
    outcome = Simulation(Caller(name="a", load=3.0)).run()

    assert outcome.goodput == pytest.approx(1, abs=0.1)
    assert outcome.refused["a"] > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("flood", "steady"),
    [
        ({}, {}),
        ({"mean_tokens": 400.0}, {"mean_tokens": 20.0}),
        ({"mean_tokens": 20.0}, {"mean_tokens": 400.0}),
        ({"max_tokens": 32_000.0}, {"max_tokens": 300.0}),
    ],
    ids=["alike", "long-against-short", "short-against-long", "max-tokens-differ"],
)
def test_two_callers_of_very_different_demand_have_equal_shares(
    flood: dict[str, float], steady: dict[str, float], seed: int
):
    callers = (
        Caller(name="flood", load=2.4, **flood),
        Caller(name="steady", load=0.6, **steady),
    )

    outcome = Simulation(*callers, seed=seed).run()

    tokens = outcome.tokens
    assert outcome.goodput == pytest.approx(1, abs=0.1)
    assert tokens["flood"] == pytest.approx(tokens["steady"], rel=0.1)


def test_who_asks_for_little_waits_for_little_beside_a_flood():
    callers = Caller(name="flood", load=2.9), Caller(name="light", load=0.1)

    outcome = Simulation(*callers).run()

    waits = sorted(outcome.waits["light"])
    assert outcome.tokens["light"] == pytest.approx(
        0.1 * CAPACITY * (SECONDS - WARM_UP), rel=0.1
    )
    assert waits[len(waits) // 2] < 1
    assert outcome.refused["light"] == 0


def test_a_chat_hardly_waits_behind_a_flood_of_the_api_and_a_batch_is_not_starved():
    outcome = Simulation(
        Caller(name="api", load=2.0),
        Caller(name="batch", load=0.9, lane="batch"),
        Caller(name="chat", load=0.1, lane="chat"),
    ).run()

    waits = sorted(outcome.waits["chat"])
    api, batch = outcome.tokens["api"], outcome.tokens["batch"]
    assert waits[len(waits) // 2] < 0.5
    assert api == pytest.approx(4 * batch, rel=0.15)


def test_the_line_stays_within_its_bounds_and_forgets_who_gave_up():
    simulation = Simulation(
        *(Caller(name=f"caller {number}", load=0.03) for number in range(100))
    )

    outcome = simulation.run()

    assert outcome.longest <= BOUNDS.length
    assert outcome.goodput == pytest.approx(1, abs=0.1)
    assert len(simulation.line) == simulation.line.num_bytes == 0


def test_when_the_flood_ends_the_line_is_gone_as_fast_as_it_can_be_served():
    flood = Caller(name="flood", load=3.0, until=300)
    after = Caller(name="after", load=0.3)

    simulation = Simulation(flood, after)
    lengths: list[int] = []
    simulation.at(300, lambda line: lengths.append(len(line)), simulation.line)
    emptied: list[float] = []
    simulation.at(
        300 + 1.2 * BOUNDS.length * 100 / CAPACITY,
        lambda line: emptied.append(len(line)),
        simulation.line,
    )
    simulation.run()

    assert lengths[0] > 50
    assert emptied[0] == 0
