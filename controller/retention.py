"""What is deleted with age."""

from datetime import datetime

from controller.models import LedgerEntry

# Small enough that a request's own row does not wait long for SQLite's one writer.
BATCH_SIZE = 5_000


def prune_ledger(before: datetime) -> int:
    """How many ledger entries older than `before` were deleted, a batch at a time."""
    old = LedgerEntry.objects.filter(created_at__lt=before).order_by("created_at")
    num_pruned = 0
    while True:
        batch = old.values("pk")[:BATCH_SIZE]
        num_deleted, _ = LedgerEntry.objects.filter(pk__in=batch).delete()
        if not num_deleted:
            return num_pruned
        num_pruned += num_deleted
