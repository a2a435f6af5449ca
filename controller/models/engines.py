"""Starts of engines: their own counts of tokens, and what the ledger has of them."""

from django.db import models
from django.db.models import Q

PARTS_PER_MILLION = 10**6


class EngineStart(models.Model):
    """One life of an engine: its counters when first and last heard, and, beside them,
    what the ledger has of that time. A restarted engine counts from zero, in a new row.
    """

    worker = models.ForeignKey(
        "controller.Worker",
        models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    start_id = models.CharField(max_length=100)
    first_heard_at = models.DateTimeField()
    last_heard_at = models.DateTimeField()
    first_prompt_tokens = models.PositiveBigIntegerField()
    first_completion_tokens = models.PositiveBigIntegerField()
    last_prompt_tokens = models.PositiveBigIntegerField()
    last_completion_tokens = models.PositiveBigIntegerField()
    # Of the ledger: requests whose tokens the engine told us, and those that were cut
    # before it did, whose tokens are estimates.
    counted_prompt_tokens = models.PositiveBigIntegerField(default=0)
    counted_completion_tokens = models.PositiveBigIntegerField(default=0)
    num_cut = models.PositiveBigIntegerField(default=0)
    cut_prompt_tokens = models.PositiveBigIntegerField(default=0)
    cut_completion_tokens = models.PositiveBigIntegerField(default=0)
    reconciled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-last_heard_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "start_id"], name="one_row_for_an_engine_start"
            )
        ]
        indexes = [
            # the nightly comparison: those heard since the one before
            models.Index(fields=["last_heard_at"], name="engine_start_by_heard")
        ]

    def __str__(self) -> str:
        return f"{self.start_id} on {self.worker_id}"

    @property
    def engine_tokens(self) -> int:
        """What the engine counted while we heard it."""
        return (
            self.last_prompt_tokens
            - self.first_prompt_tokens
            + self.last_completion_tokens
            - self.first_completion_tokens
        )

    @property
    def counted_tokens(self) -> int:
        return self.counted_prompt_tokens + self.counted_completion_tokens

    @property
    def cut_tokens(self) -> int:
        return self.cut_prompt_tokens + self.cut_completion_tokens

    @property
    def difference_ppm(self) -> int | None:
        """By how much the engine counted more than the ledger, estimates included, in
        parts per million of its own count; None for an engine that counted nothing."""
        if not self.engine_tokens:
            return None
        missing = self.engine_tokens - self.counted_tokens - self.cut_tokens
        return round(missing * PARTS_PER_MILLION / self.engine_tokens)


NOT_RECONCILED = Q(reconciled_at=None) | Q(reconciled_at__lt=models.F("last_heard_at"))
