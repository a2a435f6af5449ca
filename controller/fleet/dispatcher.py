"""One model and task: who can take a request now, and who gets it."""

from collections.abc import Collection
from uuid import UUID

from controller.fleet.policies import POLICIES, Candidate, Choice, Pool
from controller.fleet.policies.sessions import Sessions
from controller.fleet.wishes import Wish


class Dispatcher:
    """A pool, the policy that draws from it, and what both remember."""

    def __init__(self, policy_name: str) -> None:
        self.policy_name = policy_name
        self.policy = POLICIES[policy_name]()
        self.pool = Pool()
        self._sessions = Sessions()

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
