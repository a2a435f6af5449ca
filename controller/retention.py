"""What is deleted with age."""

from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django.db.models import QuerySet

from controller.models import (
    EngineStart,
    LedgerEntry,
    LedgerHour,
    ModerationFlag,
    UsageDay,
    UsageHour,
)

# Small enough that a request's own row does not wait long for SQLite's one writer.
BATCH_SIZE = 5_000


def prune_ledger(before: datetime) -> int:
    """How many ledger entries older than `before` were deleted, a batch at a time."""
    old = LedgerEntry.objects.filter(created_at__lt=before)
    return _prune(old.order_by("created_at"))


def prune_engine_starts(before: datetime) -> int:
    """How many starts of engines that were last heard before then were deleted."""
    return EngineStart.objects.filter(last_heard_at__lt=before).delete()[0]


def prune_usage(*, hours_before: datetime, days_before: datetime) -> int:
    """How many roll-ups of hours and of days older than that were deleted."""
    LedgerHour.objects.filter(begins_at__lt=hours_before).delete()
    hours = UsageHour.objects.filter(begins_at__lt=hours_before)
    days = UsageDay.objects.filter(begins_at__lt=days_before)
    return _prune(hours) + _prune(days)


def prune_flags(before: datetime) -> int:
    """How many moderation flags older than `before` were deleted."""
    old = ModerationFlag.objects.filter(created_at__lt=before)
    return _prune(old.order_by("created_at"))


def prune_audit_log(before: datetime) -> int:
    """How many entries of the audit log older than `before` were deleted."""
    return _prune(LogEntry.objects.filter(timestamp__lt=before).order_by("timestamp"))


def _prune(old: QuerySet[Any]) -> int:
    num_pruned = 0
    while True:
        batch = old.values("pk")[:BATCH_SIZE]
        num_deleted, _ = old.model._default_manager.filter(pk__in=batch).delete()
        if not num_deleted:
            return num_pruned
        num_pruned += num_deleted
