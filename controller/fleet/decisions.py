"""What operators decide about workers, and the history that says who did it.

The history is written in English, and translated when it is read.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.utils.timezone import now
from django.utils.translation import gettext_noop as _

from controller.audit.events import record
from controller.models import Worker
from controller.models.fleet import WorkerQuerySet

LOG_WISH_LASTS = timedelta(minutes=2)


@dataclass(frozen=True)
class Decision:
    """What is written into the rows, and what the history says of it."""

    words: str
    fields: dict[str, Any] = field(default_factory=dict)


DECISIONS = {
    "drain": Decision(_("Drained."), {"drain_wished": True}),
    "resume": Decision(_("Resumed."), {"drain_wished": False, "stop_wished": False}),
    "stop": Decision(_("Stopped."), {"drain_wished": True, "stop_wished": True}),
    "rotate_key": Decision(_("Key change wished."), {"rotation_wished": True}),
    "enable": Decision(_("Enabled."), {"is_enabled": True}),
    "disable": Decision(_("Disabled."), {"is_enabled": False}),
    "remove": Decision(_("Removed.")),
}


def decide(name: str, workers: WorkerQuerySet, user_id: int) -> int:
    """How many of these workers a decision of `DECISIONS` was carried out for; every
    web process learns of it, and the workers' history says who decided."""
    decision = DECISIONS[name]
    if name == "remove":
        return _remove(workers.not_removed(), user_id, decision.words)
    if name == "rotate_key":  # keys of hosted upstreams are not ours to change
        workers = workers.filter(shares_address=False, is_keyless=False)
    return change(workers, user_id, decision.words, **decision.fields)


def weigh(workers: WorkerQuerySet, user_id: int, weight: float) -> int:
    """The same for the share of requests that the workers get."""
    return change(workers, user_id, f"Weight set to {weight:g}.", weight=weight)


def change(workers: WorkerQuerySet, user_id: int, words: str, **fields: Any) -> int:
    decided = _chosen(workers)
    num_changed = decided.change(**fields)
    _note(decided, user_id, words)
    return num_changed


def _remove(workers: WorkerQuerySet, user_id: int, words: str) -> int:
    removed = _chosen(workers)
    num_removed = removed.remove()
    _note(removed, user_id, words)
    return num_removed


def _chosen(workers: WorkerQuerySet) -> WorkerQuerySet:
    """These workers, whatever the decision makes of what they were chosen by."""
    return Worker.objects.filter(pk__in=list(workers.values_list("pk", flat=True)))


def _note(decided: WorkerQuerySet, user_id: int, words: str) -> None:
    LogEntry.objects.log_actions(user_id, decided, CHANGE, words)
    record(decided, words)


def wish_log(worker_id: UUID) -> None:
    """Have the worker's agent send the last lines of its log for two minutes."""
    workers = Worker.objects.registered().filter(pk=worker_id)
    workers.change(log_wished_until=now() + LOG_WISH_LASTS)
