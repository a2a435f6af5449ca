"""Round robin: in turn, the heavier the oftener, the turns spread evenly."""

import random
from collections import Counter

from controller.fleet.policies.policy import Candidate, Choice, Policy
from controller.fleet.policies.pool import Pool
from controller.fleet.wishes import Wish

# Where all are slow to start, somebody must take it.
MAX_PASSED_OVER = 8


class RoundRobin(Policy):
    """Smooth weighted round robin, as nginx has it, over groups of equal weight.

    A group has its turn by the weight of all its workers together, and inside it they
    take turns: so the cost is that of the number of different weights. While nothing
    changes, whole weights w1..wn give each worker exactly its wi of any sum(w) choices
    in a row.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._credits: dict[float, float] = {}
        self._turns: Counter[float] = Counter()

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        chosen = self._next(pool)
        for _ in range(MAX_PASSED_OVER):
            if chosen.slow_start >= 1 or self._rng.random() < chosen.slow_start:
                break
            chosen = self._next(pool)
        return Choice(chosen, "its turn")

    def _next(self, pool: Pool) -> Candidate:
        shares = {weight: weight * len(group) for weight, group in pool.groups.items()}
        # Made anew from the weights that there are: none is remembered for ever.
        self._credits = {
            weight: self._credits.get(weight, 0.0) + share
            for weight, share in shares.items()
        }
        weight = max(self._credits, key=self._credits.__getitem__)
        self._credits[weight] -= sum(shares.values())
        group = pool.groups[weight]
        turn = self._turns[weight] % len(group)
        self._turns = Counter({each: self._turns[each] for each in shares})
        self._turns[weight] = turn + 1
        return group[turn]
