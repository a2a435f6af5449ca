"""What a policy is given and what it gives back."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from controller.fleet.snapshot import WorkerView
from controller.fleet.wishes import Wish

if TYPE_CHECKING:  # a pool is made of candidates
    from controller.fleet.policies.pool import Pool


class Candidate(Protocol):
    """A worker that can take a request, and what this process knows of its load."""

    @property
    def worker(self) -> WorkerView: ...

    @property
    def start_id(self) -> str:
        """The engine's present start, with which its cache began empty."""
        ...

    @property
    def queue_length(self) -> int:
        """Requests running, waiting and under way."""
        ...

    @property
    def prefill_tokens(self) -> int:
        """Uncached prompt tokens that this process sent and no output has followed."""
        ...

    @property
    def kv_cache_usage(self) -> float:
        """The part of the KV cache that running requests hold, 0 to 1."""
        ...

    @property
    def slow_start(self) -> float:
        """The part of its weight that counts now; less than 1 after a return."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate that gets the request, and why."""

    candidate: Candidate
    reason: str
    """In a word or two: `drawn`, `shortest queue`, `warm`."""
    cached_tokens: int = 0
    """Of the prompt, how much its cache is believed to hold."""
    scores: Sequence[tuple[Candidate, float]] = ()
    """Those that were compared, the least score being the best."""


class Policy(ABC):
    """One served model's way to choose; it may remember what it chose before."""

    reads_prompts: ClassVar[bool] = False
    """Its choice depends on `Wish.chain`, which is then computed."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311  # fairness, not secrecy

    @abstractmethod
    def choose(self, pool: "Pool", wish: Wish) -> Choice:
        """One of the pool, which is not empty. The cost may not grow with its size."""

    def note(self, chosen: Candidate, wish: Wish) -> None:  # noqa: B027  # may do nothing
        """The request is sent there now."""

    @property
    def num_remembered(self) -> int:
        """Entries of whatever memory it has, which is bounded."""
        return 0

    def best(
        self, scores: Sequence[tuple[Candidate, float]]
    ) -> tuple[Candidate, float]:
        """The least score; equal ones are drawn by lot.

        Without the lot, equal workers at rest would be passed over for the first one.
        """
        least = min([score for _, score in scores])
        ties = [scored for scored in scores if scored[1] == least]
        return ties[0] if len(ties) == 1 else self._rng.choice(ties)


def capacity(candidate: Candidate) -> float:
    """What its load is measured by: its weight, as far as it counts now."""
    return candidate.worker.weight * candidate.slow_start
