"""Least load: the least work for what a worker can do."""

from controller.fleet.policies.backlog import relative_backlog
from controller.fleet.policies.policy import Choice, Policy
from controller.fleet.policies.pool import Pool
from controller.fleet.wishes import Wish


class LeastLoad(Policy):
    """The worker with the least backlog per weight; ties fall by lot."""

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        scores = [(each, relative_backlog(each)) for each in pool.compared(self._rng)]
        return Choice(self.best(scores)[0], "least load", scores=scores)
