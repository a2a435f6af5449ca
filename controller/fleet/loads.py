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
    elsewhere: int = 0
    """Requests that other web processes sent and that have not ended, as they said a
    moment ago; 0 where they cannot be heard."""
    in_flight_when_heard: int = 0
    elsewhere_when_heard: int = 0
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
        """Requests on the worker now: as reported, corrected by what was sent since."""
        known_then = self.in_flight_when_heard + self.elsewhere_when_heard
        return self.in_flight + self.elsewhere + max(0, self.reported - known_then)

    def note_reported(self, queue_length: int) -> None:
        """Take over what the engine itself counts now."""
        self.reported = queue_length
        self.in_flight_when_heard = self.in_flight
        self.elsewhere_when_heard = self.elsewhere

    def note_elsewhere(self, elsewhere: int, *, was_reported: bool) -> None:
        """Take over what other processes say. `was_reported`: it is the first time
        that they are heard, and the engine has counted their requests all along."""
        self.elsewhere = elsewhere
        if was_reported:
            self.elsewhere_when_heard = elsewhere

    def forget_elsewhere(self) -> None:
        """The others are not heard any more: what they had under way is part of what
        the engine reports."""
        self.elsewhere = self.elsewhere_when_heard = 0

    @property
    def has_room(self) -> bool:
        """Whether the worker can begin one request more at once, as far as is known
        here.

        What other web processes sent in the last moment, or without Redis since its
        last heartbeat, is not: together they may fill a worker a little over its
        capacity, and its engine then makes some wait.
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
    is_canary: bool = False
    """It is one of the workers that the model's canary goes to."""
