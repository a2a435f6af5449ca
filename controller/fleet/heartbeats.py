"""Heartbeats between memory and rows: one statement a second, whatever their number."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils.timezone import now

from controller.ledger.reconciliation import note_counters
from controller.models import Worker, WorkerLog
from workers.protocol import Heartbeat

AS_HEARD = [
    "state",
    "running",
    "waiting",
    "kv_cache_usage",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "prompt_tokens_total",
    "generation_tokens_total",
    "loading_progress",
    "num_restarts",
]
WRITTEN = [*AS_HEARD, "last_heartbeat_at", "expired_at", "adapter_states"]


def write_heartbeats(heard: Mapping[UUID, tuple[datetime, Heartbeat]]) -> None:
    """Write the latest heartbeat of each worker. Two statements at most, one of them
    for the engines' counters, which the ledger is compared with; and one for logs,
    where somebody looks at one."""
    rows = []
    for worker_id, (heard_at, heartbeat) in heard.items():
        row = Worker(id=worker_id, last_heartbeat_at=heard_at, expired_at=None)
        for name in AS_HEARD:
            setattr(row, name, getattr(heartbeat, name))
        row.adapter_states = {
            report.name: {"state": report.state, "reason": report.reason}
            for report in heartbeat.adapters
        }
        rows.append(row)
    if rows:
        Worker.objects.bulk_update(rows, WRITTEN)
    _write_logs(heard)
    note_counters((worker_id, *beat) for worker_id, beat in heard.items())


def _write_logs(heard: Mapping[UUID, tuple[datetime, Heartbeat]]) -> None:
    logs = [
        WorkerLog(worker_id=worker_id, lines=heartbeat.log, heard_at=heard_at)
        for worker_id, (heard_at, heartbeat) in heard.items()
        if heartbeat.log is not None
    ]
    if logs:
        WorkerLog.objects.bulk_create(
            logs,
            update_conflicts=True,
            unique_fields=["worker"],
            update_fields=["lines", "heard_at"],
        )


def mark_expired(silent: list[UUID]) -> int:
    """Mark those of the silent workers whose rows say so too; how many were marked.

    Another web process may have heard a worker that this one did not.
    """
    if not silent:
        return 0
    cutoff = now() - settings.HEARTBEAT_EXPIRY
    return (
        Worker.objects.registered()
        .filter(pk__in=silent, last_heartbeat_at__lt=cutoff, expired_at=None)
        .update(expired_at=now())
    )


def read_heartbeats() -> list[tuple[UUID, datetime, str, int]]:
    """(worker, its last heartbeat's moment, its state, requests on it) of all that are
    registered. One query."""
    rows = Worker.objects.registered().values_list(
        "id", "last_heartbeat_at", "state", "running", "waiting"
    )
    return [
        (worker_id, heard_at, state, running + waiting)
        for worker_id, heard_at, state, running, waiting in rows
    ]
