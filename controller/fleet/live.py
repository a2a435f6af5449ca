"""The fleet in memory: the last snapshot, every worker's load, and the choice.

Choosing makes no query and no network call. One `Fleet` lives in each web process and
is touched from its event loop only.
"""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils.timezone import now

from controller.errors import InvalidRequest, NoWorkerAvailable
from controller.fleet.clock import LoopClock
from controller.fleet.policies import POLICIES, Candidate
from controller.fleet.snapshot import ModelView, Snapshot, WorkerView
from workers.protocol import Heartbeat, Task, WorkerState

logger = logging.getLogger(__name__)

NEVER = -math.inf


@dataclass(slots=True)
class WorkerLoad:
    """What this process knows of a worker between snapshots."""

    heard_at: float
    """By the fleet's clock; `NEVER` for one that was expired when we started."""
    start_id: str
    state: str
    reported: int = 0
    """Requests running and waiting in the engine, by its last heartbeat."""
    in_flight: int = 0
    """Requests that this process sent and that have not ended."""
    in_flight_when_heard: int = 0
    refuses_connections: bool = False
    """Set by a refused connection, cleared by the next heartbeat."""
    heartbeat: Heartbeat | None = None
    """The last one that is not yet written."""
    heartbeat_at: datetime = field(default_factory=now)
    """Of the last one, here or in another web process; at first, when we started."""

    @property
    def queue_length(self) -> int:
        """Requests on the worker now: as reported, corrected by what we sent since."""
        corrected = self.reported + self.in_flight - self.in_flight_when_heard
        return max(corrected, self.in_flight)


class Fleet:
    def __init__(self, clock: LoopClock | None = None) -> None:
        self.clock = clock or LoopClock()
        self.snapshot = Snapshot()
        self.loads: dict[UUID, WorkerLoad] = {}

    # -- What is known ---------------------------------------------------------

    def adopt(self, snapshot: Snapshot) -> None:
        """Take the rows' new state; loads of workers that stay are kept."""
        loads: dict[UUID, WorkerLoad] = {}
        for worker in snapshot.workers.values():
            load = self.loads.get(worker.id) or self._first_load(worker)
            if load.start_id != worker.start_id:  # it joined again: it is up
                load.start_id = worker.start_id
                load.state = worker.state
                load.heard_at = self.clock.now()
                load.refuses_connections = False
            loads[worker.id] = load
        self.loads = loads
        self.snapshot = snapshot

    def _first_load(self, worker: WorkerView) -> WorkerLoad:
        # A worker counts as heard when this process begins to listen: a controller
        # that was restarted must not take its own absence for the workers' silence.
        heard_at = NEVER if worker.expired_at else self.clock.now()
        return WorkerLoad(
            heard_at=heard_at,
            start_id=worker.start_id,
            state=worker.state,
            reported=worker.running + worker.waiting,
        )

    def hear(self, worker_id: UUID, heartbeat: Heartbeat) -> bool:
        """Whether this worker is known; if so it is live from now on. No I/O."""
        load = self.loads.get(worker_id)
        if load is None:
            return False
        load.heard_at = self.clock.now()
        load.state = heartbeat.state
        load.reported = heartbeat.running + heartbeat.waiting
        load.in_flight_when_heard = load.in_flight
        load.refuses_connections = False
        load.heartbeat = heartbeat
        load.heartbeat_at = now()
        return True

    def hear_of(
        self, worker_id: UUID, heard_at: datetime, state: str, queue_length: int
    ) -> None:
        """Take over what another web process heard and wrote down.

        A heartbeat is news once, told by its moment: read again each time, it would
        put a worker that refused us since back into service.
        """
        load = self.loads.get(worker_id)
        if load is None or heard_at <= load.heartbeat_at:
            return
        silence = max(timedelta(0), now() - heard_at)
        load.heard_at = max(load.heard_at, self.clock.now() - silence.total_seconds())
        load.heartbeat_at, load.heartbeat = heard_at, None
        load.state = state
        load.reported = queue_length
        load.in_flight_when_heard = load.in_flight
        load.refuses_connections = False

    def is_silent(self, load: WorkerLoad) -> bool:
        silence = self.clock.now() - load.heard_at
        return silence >= settings.HEARTBEAT_EXPIRY.total_seconds()

    def why_not(self, worker: WorkerView) -> str:
        """Why nothing is dispatched to the worker now, in words; empty if it is."""
        load = self.loads.get(worker.id)
        if load is None:  # a request may hold an older snapshot's view of it
            return "gone"
        if not worker.is_enabled:
            return "disabled"
        if worker.drain_wished or load.state == WorkerState.DRAINING:
            return "draining"
        if self.is_silent(load):
            return "silent"
        if load.state != WorkerState.READY:
            return load.state
        if load.refuses_connections:
            return "refusing connections"
        return ""

    def models(self) -> list[ModelView]:
        """The models that would be dispatched to now, by name."""
        return [
            model
            for model in self.snapshot.listed
            if any(not self.why_not(worker) for worker in model.workers)
        ]

    # -- The choice ------------------------------------------------------------

    def acquire(
        self, model: ModelView, task: Task, excluded: Collection[UUID] = ()
    ) -> WorkerView:
        """The worker to send to; one request more is in flight on it.

        Every `acquire` is answered by one `release`. Raises `InvalidRequest` for a
        task that no worker of the model does, `NoWorkerAvailable` when none is live.
        """
        candidates = [
            Candidate(worker, self.loads[worker.id].queue_length)
            for worker in model.workers
            if task in worker.placements[model.name].tasks
            and worker.id not in excluded
            and not self.why_not(worker)
        ]
        if not candidates:
            raise self._none_for(model, task)
        policy = POLICIES[model.policy or settings.DISPATCH_POLICY]
        chosen = policy.choose(candidates).worker
        self.loads[chosen.id].in_flight += 1
        return chosen

    def release(self, worker: WorkerView) -> None:
        load = self.loads.get(worker.id)
        if load is not None:  # it may have left in between
            load.in_flight = max(0, load.in_flight - 1)

    def refused_connection(self, worker: WorkerView) -> None:
        """Nothing listens there: dispatch no more until the next heartbeat."""
        load = self.loads.get(worker.id)
        if load is not None and not load.refuses_connections:
            load.refuses_connections = True
            logger.warning("worker %s refuses connections: taken out", worker.address)

    def _none_for(self, model: ModelView, task: Task) -> Exception:
        if model.workers and task not in model.tasks:
            return InvalidRequest(
                f"The model `{model.name}` does not do {task}; it does"
                f" {', '.join(sorted(model.tasks))}.",
                param="model",
                code="unsupported_task",
            )
        if not model.workers:
            reason = "no worker that serves it is registered"
        else:
            reasons = [self.why_not(worker) or "failing" for worker in model.workers]
            counted = ", ".join(
                f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons))
            )
            reason = f"of its {len(model.workers)} worker(s): {counted}"
        return NoWorkerAvailable(
            f"The model `{model.name}` has no live worker now: {reason}."
            " Try again shortly.",
            retry_after=math.ceil(settings.HEARTBEAT_INTERVAL.total_seconds()),
        )

    # -- What the flusher writes -----------------------------------------------

    def take_heartbeats(self) -> dict[UUID, tuple[datetime, Heartbeat]]:
        """Heartbeats heard since the last call, the latest of each worker."""
        taken = {}
        for worker_id, load in self.loads.items():
            if load.heartbeat is not None:
                taken[worker_id] = (load.heartbeat_at, load.heartbeat)
                load.heartbeat = None
        return taken

    def give_back(self, heartbeats: dict[UUID, tuple[datetime, Heartbeat]]) -> None:
        """Keep what could not be written, unless a later one was heard meanwhile."""
        for worker_id, (_heard_at, heartbeat) in heartbeats.items():
            load = self.loads.get(worker_id)
            if load is not None and load.heartbeat is None:
                load.heartbeat = heartbeat

    def silent_workers(self) -> list[UUID]:
        """Registered workers that have been silent for longer than the expiry."""
        return [
            worker_id for worker_id, load in self.loads.items() if self.is_silent(load)
        ]
