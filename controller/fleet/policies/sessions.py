"""Requests of one session stay with one worker, while others are not much freer."""

import random
from collections import OrderedDict
from uuid import UUID

from controller.fleet.policies.backlog import relative_backlog
from controller.fleet.policies.policy import Candidate, Choice
from controller.fleet.policies.pool import Pool
from controller.fleet.policies.prefix_affinity import READING_WEIGHT
from controller.fleet.wishes import Wish

MAX_SESSIONS = 65_536
# A shorter prompt counts as this long: who names a session wants it kept together.
LEAST_TOKENS = 1024


class Sessions:
    """Which worker each session's last request went to; the oldest are forgotten."""

    def __init__(
        self,
        max_sessions: int = MAX_SESSIONS,
        rng: random.Random | None = None,
    ) -> None:
        self._max_sessions = max_sessions
        self._workers: OrderedDict[str, UUID] = OrderedDict()
        self._rng = rng or random.Random()  # noqa: S311  # fairness, not secrecy

    def __len__(self) -> int:
        return len(self._workers)

    def choose(self, pool: Pool, wish: Wish) -> Choice | None:
        """The session's worker; None without one, or where another is so much freer
        that reading the whole prompt there is better than waiting."""
        worker_id = self._workers.get(wish.session) if wish.session else None
        mine = pool.find(worker_id) if worker_id else None
        if mine is None:
            return None
        scores = [(each, relative_backlog(each)) for each in pool.compared(self._rng)]
        freest = min(backlog for _, backlog in scores)
        worth = READING_WEIGHT * max(wish.prompt_tokens, LEAST_TOKENS)
        if relative_backlog(mine) > freest + worth:
            return None
        return Choice(mine, "session", scores=scores)

    def note(self, chosen: Candidate, wish: Wish) -> None:
        if not wish.session:
            return
        self._workers[wish.session] = chosen.worker.id
        self._workers.move_to_end(wish.session)
        if len(self._workers) > self._max_sessions:
            self._workers.popitem(last=False)
