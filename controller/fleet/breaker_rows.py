"""Breakers between memory and rows, so that operators see those of every process."""

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from controller.fleet.breaker import BreakerState
from controller.fleet.live import Fleet
from controller.models import WorkerBreaker

REWRITE_INTERVAL = timedelta(seconds=5)
KEPT = timedelta(hours=1)  # a killed process leaves its rows behind


class Held(NamedTuple):
    """One breaker that is not closed, as its row will say."""

    worker_id: UUID
    state: str
    reason: str
    since: datetime


class BreakerRows:
    """What this process has written of its breakers, and when that is due again."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._num_changes = 0
        self._written_at = 0.0
        self.has_rows = False

    def take_due(self) -> list[Held] | None:
        """The breakers to write now, all of them; None if nothing is to be done."""
        at = self._fleet.clock.now()
        is_old = at - self._written_at >= REWRITE_INTERVAL.total_seconds()
        has_changed = self._fleet.num_breaker_changes != self._num_changes
        if not has_changed and not (self.has_rows and is_old):
            return None
        held = held_by(self._fleet)
        self._num_changes = self._fleet.num_breaker_changes
        self._written_at, self.has_rows = at, bool(held)
        return held

    def give_back(self) -> None:
        """They could not be written: they are due again."""
        self._num_changes = -1


def held_by(fleet: Fleet) -> list[Held]:
    return [
        Held(worker_id, load.breaker.state, load.breaker.reason, load.breaker.since)
        for worker_id, load in fleet.loads.items()
        if load.breaker.state is not BreakerState.CLOSED
    ]


def process_name() -> str:
    """Which web process this is, as an operator finds it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def write_breakers(held: Sequence[Held]) -> None:
    """Replace this process's rows by these, and drop those of processes long gone."""
    process = process_name()
    outdated = Q(process=process) | Q(written_at__lt=now() - KEPT)
    with transaction.atomic():
        WorkerBreaker.objects.filter(outdated).delete()
        WorkerBreaker.objects.bulk_create(
            WorkerBreaker(process=process, **each._asdict()) for each in held
        )
