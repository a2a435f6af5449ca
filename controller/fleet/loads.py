"""What is known of a worker between snapshots, and a request's place on it."""

import math
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.utils.timezone import now

from controller.fleet.breaker import Breaker
from controller.fleet.policies import Choice
from controller.fleet.snapshot import WorkerView
from workers.protocol import Heartbeat

NEVER = -math.inf


@dataclass(slots=True, eq=False)
class WorkerLoad:
    """What this process knows of a worker between snapshots: a policy's candidate."""

    worker: WorkerView
    heard_at: float
    """By the fleet's clock; `NEVER` for one that was expired when we started."""
    start_id: str
    state: str
    breaker: Breaker
    reported: int = 0
    """Requests running and waiting in the engine, by its last heartbeat."""
    in_flight: int = 0
    """Requests that this process sent and that have not ended."""
    in_flight_when_heard: int = 0
    prefill_tokens: int = 0
    """Uncached prompt tokens of those in flight of which no output has come yet."""
    kv_cache_usage: float = 0.0
    slow_start: float = 1.0
    """The part of its weight that counts now; grows to 1 after `came_back_at`."""
    came_back_at: float = NEVER
    is_full: bool = False
    """It was out of room when that was looked at last: who needs a place waits."""
    is_offered: bool = False
    """It is in the pools of what it serves. One that should not be any more may be
    there still: it is looked at again when it is chosen."""
    heartbeat: Heartbeat | None = None
    """The last one that is not yet written."""
    heartbeat_at: datetime = field(default_factory=now)
    """Of the last one, here or in another web process; at first, when we started."""

    @property
    def queue_length(self) -> int:
        """Requests on the worker now: as reported, corrected by what we sent since."""
        corrected = self.reported + self.in_flight - self.in_flight_when_heard
        return max(corrected, self.in_flight)

    @property
    def has_room(self) -> bool:
        """Whether the worker can begin one request more at once, as far as is known
        here.

        What other web processes sent since its last heartbeat is not: together they may
        fill a worker a little over its capacity, and its engine then makes some wait.
        """
        capacity = self.worker.max_concurrency + settings.QUEUE_OVERCOMMIT
        return self.queue_length < capacity


@dataclass(slots=True, eq=False)
class Slot:
    """A request's place on a worker, from `Fleet.acquire` to `Fleet.release`."""

    worker: WorkerView
    choice: Choice
    prefill_tokens: int
    """What of the prompt its engine has to read still; 0 once output comes."""
    policy_name: str
    num_candidates: int
    is_last_resort: bool = False
    """Its breaker is open, and there was nobody else."""
