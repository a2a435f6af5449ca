"""Dispatch policies: which of the workers that could take a request gets it.

A policy is a small pure class over candidates. It sees no database and no network;
adding one is a class here, an entry in `POLICIES` and a choice in the admin.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.fleet.snapshot import WorkerView


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live worker and its queue length: requests running, waiting and under way."""

    worker: WorkerView
    queue_length: int


class Policy(Protocol):
    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """One of the candidates, of which there is at least one."""
        ...


class Lottery:
    """A worker at random, each with a chance proportional to its weight."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311  # fairness, not secrecy

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        weights = [candidate.worker.weight for candidate in candidates]
        return self._rng.choices(candidates, weights)[0]


class ShortestQueue:
    """The worker with the least queue per weight; ties fall by lot.

    Without the lot, equal workers at rest would all be passed over for the first one.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        lengths = [
            candidate.queue_length / candidate.worker.weight for candidate in candidates
        ]
        shortest = min(lengths)
        return self._rng.choice(
            [
                candidate
                for candidate, length in zip(candidates, lengths, strict=True)
                if length == shortest
            ]
        )


POLICIES: dict[str, Policy] = {
    "lottery": Lottery(),
    "shortest_queue": ShortestQueue(),
}
