"""One model and task: who can take a request now, and who gets it."""

from collections.abc import Collection
from uuid import UUID

from controller.fleet.policies import POLICIES, Candidate, Choice, Pool
from controller.fleet.policies.sessions import Sessions
from controller.fleet.wishes import Wish
from workers.protocol import Task

# The engine's front answers these; they take no place in its batch.
PLACELESS = frozenset({Task.TOKENIZE})


class Dispatcher:
    """A pool, the policy that draws from it, and what both remember."""

    def __init__(self, policy_name: str, task: Task) -> None:
        self.policy_name = policy_name
        self.policy = POLICIES[policy_name]()
        self.pool = Pool()
        self.full: set[UUID] = set()
        """Who would be in the pool if there were room."""
        self.takes_place = task not in PLACELESS
        self._sessions = Sessions()

    def offer(self, candidate: Candidate, *, is_full: bool) -> None:
        """Draw from it from now on; of one that is full, as soon as it is not."""
        worker_id = candidate.worker.id
        self.withdraw(worker_id)
        if is_full and self.takes_place:
            self.full.add(worker_id)
        else:
            self.pool.add(candidate)

    def withdraw(self, worker_id: UUID) -> None:
        self.pool.discard(worker_id)
        self.full.discard(worker_id)

    def choose(
        self, wish: Wish, excluded: Collection[UUID] = (), pool: Pool | None = None
    ) -> Choice | None:
        """Who should get it; None if nobody is left. Nothing is remembered yet.

        `pool` stands for the usual one.
        """
        if pool is None:
            pool = self.pool.without(excluded) if excluded else self.pool
        if not pool:
            return None
        return self._sessions.choose(pool, wish) or self.policy.choose(pool, wish)

    def note(self, chosen: Candidate, wish: Wish) -> None:
        """The request is sent there now."""
        self.policy.note(chosen, wish)
        self._sessions.note(chosen, wish)
