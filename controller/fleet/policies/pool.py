"""The workers that can take a request for one model and task, to be drawn from."""

import random
from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

from controller.fleet.policies.policy import Candidate

# A fleet of this size is compared whole. In a larger one the best of NUM_DRAWN is
# within a hair of the best of all (the power of d choices), and costs the same
# however large the fleet is.
COMPARED_WHOLE = 16
NUM_DRAWN = 6


class Pool:
    """Candidates by weight: adding, removing and drawing cost the same at any size.

    They grow only with the number of different weights, which is small: workers of
    one kind have one weight.
    """

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._groups: dict[float, list[Candidate]] = {}
        self._places: dict[UUID, tuple[float, int]] = {}
        self._by_start: dict[str, Candidate] = {}
        for candidate in candidates:
            self.add(candidate)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Candidate]:
        for group in self._groups.values():
            yield from group

    def __contains__(self, worker_id: UUID) -> bool:
        return worker_id in self._places

    @property
    def groups(self) -> dict[float, list[Candidate]]:
        """The candidates of each weight, to be read only. No group is empty."""
        return self._groups

    def add(self, candidate: Candidate) -> None:
        """Take it in; one that is in already stays."""
        worker = candidate.worker
        if worker.id in self._places:
            return
        group = self._groups.setdefault(worker.weight, [])
        self._places[worker.id] = (worker.weight, len(group))
        self._by_start[candidate.start_id] = candidate
        group.append(candidate)

    def discard(self, worker_id: UUID) -> None:
        """Take it out, if it is in."""
        if worker_id not in self._places:
            return
        weight, place = self._places.pop(worker_id)
        group = self._groups[weight]
        removed, last = group[place], group.pop()
        if last is not removed:  # the last one takes the place that became free
            group[place] = last
            self._places[last.worker.id] = (weight, place)
        if not group:
            del self._groups[weight]
        self._by_start.pop(removed.start_id, None)

    def find(self, worker_id: UUID) -> Candidate | None:
        if worker_id not in self._places:
            return None
        weight, place = self._places[worker_id]
        return self._groups[weight][place]

    def find_start(self, start_id: str) -> Candidate | None:
        """The candidate whose engine is in this start."""
        return self._by_start.get(start_id)

    def without(self, excluded: Collection[UUID]) -> "Pool":
        """The others. Costs as much as the pool is large: for a retry, not a try."""
        return Pool(each for each in self if each.worker.id not in excluded)

    def draw(self, rng: random.Random) -> Candidate:
        """One at random, each with a chance proportional to its weight."""
        [group] = self._draw_groups(rng, 1)
        return group[int(rng.random() * len(group))]

    def compared(self, rng: random.Random) -> list[Candidate]:
        """Those among which to look for the best: all of a small pool, some drawn of
        a large one (the same one perhaps twice)."""
        if len(self._places) <= COMPARED_WHOLE:
            return [each for group in self._groups.values() for each in group]
        drawn = self._draw_groups(rng, NUM_DRAWN)
        return [group[int(rng.random() * len(group))] for group in drawn]

    def _draw_groups(self, rng: random.Random, times: int) -> list[list[Candidate]]:
        groups = [*self._groups.values()]
        if len(groups) == 1:
            return groups * times
        totals = [weight * len(group) for weight, group in self._groups.items()]
        return rng.choices(groups, totals, k=times)
