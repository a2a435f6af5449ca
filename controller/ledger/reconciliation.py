"""The ledger compared with the engines' own lifetime counters, start by start.

Engines count every token, whoever asked; so requests that reach an engine past us, and
tokens of tries that failed and were repeated elsewhere, show here as a difference.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from controller.models import EngineStart, LedgerEntry
from controller.models.engines import NOT_RECONCILED
from workers.protocol import Heartbeat

LAST = ["last_heard_at", "last_prompt_tokens", "last_completion_tokens"]
RECONCILED = [
    "counted_prompt_tokens",
    "counted_completion_tokens",
    "num_cut",
    "cut_prompt_tokens",
    "cut_completion_tokens",
    "reconciled_at",
]


def note_counters(heard: Iterable[tuple[UUID, datetime, Heartbeat]]) -> None:
    """Keep the counters of engines that have some: those first heard of a start stay,
    the last ones follow. One statement at most."""
    rows = [
        EngineStart(
            worker_id=worker_id,
            start_id=heartbeat.start_id,
            first_heard_at=heard_at,
            last_heard_at=heard_at,
            first_prompt_tokens=heartbeat.prompt_tokens_total,
            first_completion_tokens=heartbeat.generation_tokens_total,
            last_prompt_tokens=heartbeat.prompt_tokens_total,
            last_completion_tokens=heartbeat.generation_tokens_total,
        )
        for worker_id, heard_at, heartbeat in heard
        if heartbeat.prompt_tokens_total is not None
        and heartbeat.generation_tokens_total is not None
    ]
    if rows:
        EngineStart.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["worker", "start_id"],
            update_fields=LAST,
        )


def reconcile() -> int:
    """How many engine starts were compared: all that were heard since the last time.

    A start is compared over its whole life, so that rows written late correct what was
    found before. Requests under way at the last heartbeat are a difference: small
    beside a life, and gone when the engine rests. One query for each start.
    """
    starts = EngineStart.objects.filter(NOT_RECONCILED)
    num_compared = 0
    for start in starts.iterator():
        _compare(start)
        num_compared += 1
    return num_compared


def _compare(start: EngineStart) -> None:
    rows = LedgerEntry.objects.filter(
        worker_id=start.worker_id,
        created_at__gt=start.first_heard_at,
        created_at__lte=start.last_heard_at,
    )
    counted, cut = Q(tokens_estimated=False), Q(tokens_estimated=True)
    sums = rows.aggregate(
        counted_prompt_tokens=Coalesce(Sum("prompt_tokens", filter=counted), 0),
        counted_completion_tokens=Coalesce(Sum("completion_tokens", filter=counted), 0),
        num_cut=Count("pk", filter=cut),
        cut_prompt_tokens=Coalesce(Sum("prompt_tokens", filter=cut), 0),
        cut_completion_tokens=Coalesce(Sum("completion_tokens", filter=cut), 0),
    )
    for name, value in sums.items():
        setattr(start, name, value)
    start.reconciled_at = now()
    start.save(update_fields=RECONCILED)
