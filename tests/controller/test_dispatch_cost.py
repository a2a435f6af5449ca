"""What a choice costs: no more among a thousand workers than among ten."""

import random
import time

import pytest

from controller.fleet.live import Fleet
from controller.fleet.policies import POLICIES
from controller.fleet.wishes import Wish
from tests.fleets import snapshot_of, worker_view
from workers.protocol import Heartbeat, Task, WorkerState

MODEL = "llama"
CHOICES = 400


def make_fleet(size: int, policy: str) -> Fleet:
    """Workers of two weights, all of them busy, each differently."""
    workers = [
        worker_view(MODEL, number, weight=1.0 + number % 2) for number in range(size)
    ]
    fleet = Fleet()
    fleet.adopt(snapshot_of(MODEL, workers, policy))
    for number, worker in enumerate(workers):
        beat = Heartbeat(
            state=WorkerState.READY, start_id=worker.start_id, running=number % 7
        )
        fleet.hear(worker.id, beat)
    return fleet


def prompts() -> list[Wish]:
    """Conversations that share a system prompt, of 10,000 tokens each."""
    rng = random.Random(1)
    system = tuple(rng.getrandbits(60) for _ in range(40))
    return [
        Wish(
            task=Task.CHAT,
            prompt_tokens=10_000,
            chain=system + tuple(rng.getrandbits(60) for _ in range(40)),
        )
        for _ in range(CHOICES)
    ]


def choose_all(fleet: Fleet, wishes: list[Wish]) -> float:
    """The CPU time of these choices, with what is counted before and after."""
    model = fleet.snapshot.models[MODEL]
    begun = time.process_time()
    for wish in wishes:
        slot = fleet.acquire(model, wish)
        fleet.prefilled(slot)
        fleet.release(slot)
    return time.process_time() - begun


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_choosing_among_a_thousand_costs_as_much_as_among_ten(policy):
    wishes = prompts()
    few, many = make_fleet(10, policy), make_fleet(1000, policy)
    least_few = least_many = float("inf")
    for _ in range(12):  # by turns, so that a busy machine disturbs both
        least_few = min(least_few, choose_all(few, wishes))
        least_many = min(least_many, choose_all(many, wishes))

    assert least_many <= 1.5 * least_few
