"""Lottery: by chance, by weight, whatever the load."""

from controller.fleet.policies.policy import Choice, Policy
from controller.fleet.policies.pool import Pool
from controller.fleet.wishes import Wish

# Where all are slow to start, somebody must take it.
MAX_DRAWS = 8


class Lottery(Policy):
    """A worker at random, each with a chance proportional to its weight."""

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        drawn = pool.draw(self._rng)
        for _ in range(MAX_DRAWS):
            if drawn.slow_start >= 1 or self._rng.random() < drawn.slow_start:
                break
            drawn = pool.draw(self._rng)
        return Choice(drawn, "drawn")
