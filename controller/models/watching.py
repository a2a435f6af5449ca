"""What operators see of workers beside their present state: samples and logs."""

from django.db import models
from django.utils.timezone import now


class WorkerSample(models.Model):
    """How a worker fared in half a minute, as one web process saw it. Only inserted.

    A process writes what it heard itself, and what came of its own requests: the
    gauges are of the process that was sent the heartbeats, the counts are added.
    """

    worker = models.ForeignKey(
        "controller.Worker", models.CASCADE, db_index=False, related_name="samples"
    )
    taken_at = models.DateTimeField(default=now)
    start_id = models.CharField(max_length=64, blank=True)
    running = models.PositiveIntegerField(null=True)
    waiting = models.PositiveIntegerField(null=True)
    kv_cache_usage = models.FloatField(null=True)
    # Over the life of the engine start.
    generation_tokens_total = models.PositiveBigIntegerField(null=True)
    num_requests = models.PositiveIntegerField(default=0)
    num_errors = models.PositiveIntegerField(default=0)
    num_first_tokens = models.PositiveIntegerField(default=0)
    ttft_seconds = models.FloatField(default=0.0)

    class Meta:
        indexes = [
            # a worker's own page
            models.Index(fields=["worker", "taken_at"], name="sample_by_worker"),
            # the page of the fleet, and pruning
            models.Index(fields=["taken_at"], name="sample_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.worker_id} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


class WorkerLog(models.Model):
    """The last lines of a worker's log, as its agent sent them when it was asked."""

    worker = models.OneToOneField(
        "controller.Worker", models.CASCADE, primary_key=True, related_name="log"
    )
    lines = models.JSONField(default=list)
    heard_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return f"log of {self.worker_id}"
