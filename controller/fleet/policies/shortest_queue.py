"""Shortest queue: the fewest requests for what a worker can do."""

from controller.fleet.policies.policy import Choice, Policy, capacity
from controller.fleet.policies.pool import Pool
from controller.fleet.wishes import Wish


class ShortestQueue(Policy):
    """The worker with the least queue per weight; ties fall by lot."""

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        scores = [
            (each, each.queue_length / capacity(each))
            for each in pool.compared(self._rng)
        ]
        return Choice(self.best(scores)[0], "shortest queue", scores=scores)
