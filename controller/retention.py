"""What is deleted with age."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from controller.models import LedgerEntry, ModerationFlag

# Small enough that a request's own row does not wait long for SQLite's one writer.
BATCH_SIZE = 5_000


def prune_ledger(before: datetime) -> int:
    """How many ledger entries older than `before` were deleted, a batch at a time."""
    return _prune(LedgerEntry.objects.filter(created_at__lt=before))


def prune_flags(before: datetime) -> int:
    """How many moderation flags older than `before` were deleted."""
    return _prune(ModerationFlag.objects.filter(created_at__lt=before))


def _prune(rows: QuerySet[Any]) -> int:
    old = rows.order_by("created_at")
    num_pruned = 0
    while True:
        batch = old.values("pk")[:BATCH_SIZE]
        num_deleted, _ = rows.model._default_manager.filter(pk__in=batch).delete()
        if not num_deleted:
            return num_pruned
        num_pruned += num_deleted
