"""Requests of one session stay with one worker, while it has room."""

from collections import OrderedDict
from uuid import UUID

from controller.fleet.policies.backlog import is_saturated
from controller.fleet.policies.policy import Candidate, Choice
from controller.fleet.policies.pool import Pool
from controller.fleet.wishes import Wish

MAX_SESSIONS = 65_536


class Sessions:
    """Which worker each session's last request went to; the oldest are forgotten."""

    def __init__(self, max_sessions: int = MAX_SESSIONS) -> None:
        self._max_sessions = max_sessions
        self._workers: OrderedDict[str, UUID] = OrderedDict()

    def __len__(self) -> int:
        return len(self._workers)

    def choose(self, pool: Pool, wish: Wish) -> Choice | None:
        """The session's worker; None if it has none, or one that is gone or full."""
        worker_id = self._workers.get(wish.session) if wish.session else None
        candidate = pool.find(worker_id) if worker_id else None
        if candidate is None or is_saturated(candidate):
            return None
        return Choice(candidate, "session")

    def note(self, chosen: Candidate, wish: Wish) -> None:
        if not wish.session:
            return
        self._workers[wish.session] = chosen.worker.id
        self._workers.move_to_end(wish.session)
        if len(self._workers) > self._max_sessions:
            self._workers.popitem(last=False)
