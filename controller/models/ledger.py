"""The ledger: one row for each request, whatever face it came through."""

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class LedgerEntry(models.Model):
    """What one request was, cost and ended with. Written in batches, never changed.

    Foreign keys carry no database constraint: a row outlives its user, key and worker,
    and is written by a batch that must not fail because one of them went a moment ago.
    """

    class Face(models.TextChoices):
        API = "api", _("Api")
        CHAT = "chat", _("Chat")
        BATCH = "batch", _("Batch")
        PROBE = "probe", _("Probe")

    request_id = models.CharField(max_length=64, unique=True)
    client_request_id = models.CharField(max_length=200, blank=True)
    face = models.CharField(max_length=10, choices=Face)
    endpoint = models.CharField(max_length=100)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    key = models.ForeignKey(
        "controller.ApiKey",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    team = models.ForeignKey(
        "controller.Team",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    model = models.CharField(max_length=200)
    worker = models.ForeignKey(
        "controller.Worker",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )
    stream = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=50, blank=True)
    finish_reason = models.CharField(max_length=30, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    # By the model's prices when it was written: later prices change no history.
    cost_nanos = models.BigIntegerField("cost in billionths", default=0, db_default=0)
    # The engine never said how many tokens (a stream was cut): ours is a count.
    tokens_estimated = models.BooleanField(default=False)
    num_retries = models.PositiveSmallIntegerField(default=0)
    num_moves = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,  # a process of before goes on writing while others are new
        help_text=_(
            "How often the stream went on with another worker. After a move seeds and"
            " penalties begin anew, so that the answer is not exactly what one engine"
            " alone would have said."
        ),
    )
    ttft_seconds = models.FloatField(null=True)
    duration_seconds = models.FloatField()
    overhead_seconds = models.FloatField()
    # In line for a worker, which is not overhead; null for one that had no wait.
    queued_seconds = models.FloatField(null=True)
    # Which workers it was tried on, and why: `controller.relay.explanation`.
    explanation = models.JSONField(null=True, editable=False)
    created_at = models.DateTimeField(default=now)

    class Meta:
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger"
        ordering = ["-id"]
        indexes = [
            # retention deletes by age; the admin filters by day
            models.Index(fields=["created_at"], name="ledger_by_age"),
            # a user's own usage page
            models.Index(fields=["user", "created_at"], name="ledger_by_user"),
            # the admin's search by the id that the client knows
            models.Index(fields=["client_request_id"], name="ledger_by_client_id"),
        ]

    def __str__(self) -> str:
        return self.request_id
