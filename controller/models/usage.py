"""Roll-ups: what the ledger's rows of an hour, or of a day, come to.

Foreign keys carry no database constraint, as in the ledger: history outlives its users.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from controller.models import latencies

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def hour_of(moment: datetime) -> datetime:
    """When its hour began."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """When its day began, in UTC."""
    return hour_of(moment).replace(hour=0)


class LedgerHourQuerySet(models.QuerySet["LedgerHour"]):
    def stale(self) -> Self:
        """Hours with rows that their roll-ups do not have."""
        return self.filter(num_written__gt=F("num_rolled_up"))


class LedgerHour(models.Model):
    """How many rows were written of an hour, and how many when it was rolled up.

    Counted up in the transaction that writes the rows: whoever rolls up misses none,
    however late it was written.
    """

    begins_at = models.DateTimeField(primary_key=True)
    num_written = models.PositiveBigIntegerField(default=0)
    num_rolled_up = models.PositiveBigIntegerField(default=0)

    objects = LedgerHourQuerySet.as_manager()

    class Meta:
        indexes = [
            # the next hour to roll up; of years of hours a handful is in here
            models.Index(
                fields=["begins_at"],
                condition=Q(num_written__gt=F("num_rolled_up")),
                name="ledger_stale_hours",
            )
        ]

    def __str__(self) -> str:
        return f"{self.begins_at:%Y-%m-%d %H}h"


def _reference(to: str) -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(
        to,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,  # roll-ups are found by time, or by user and time
        related_name="+",
    )


class Usage(models.Model):
    """What one kind of requests of a period came to: sums, which add up exactly."""

    begins_at = models.DateTimeField()
    user = _reference(settings.AUTH_USER_MODEL)
    key = _reference("controller.ApiKey")
    team = _reference("controller.Team")
    model = models.CharField(max_length=200)
    face = models.CharField(max_length=10)
    # 2, 4 or 5: the first digit of the status.
    status_class = models.PositiveSmallIntegerField()
    num_requests = models.PositiveBigIntegerField()
    prompt_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField()
    completion_tokens = models.PositiveBigIntegerField()
    cost_nanos = models.BigIntegerField()
    # For means: the first tokens that came, and how long all of them took together.
    num_first_tokens = models.PositiveBigIntegerField()
    ttft_seconds = models.FloatField()
    duration_seconds = models.FloatField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.model} from {self.begins_at:%Y-%m-%d %H:%M}"


# For percentiles. Null in roll-ups from before they were counted.
for column in latencies.COLUMNS:
    Usage.add_to_class(column, models.PositiveIntegerField(null=True))


class UsageHour(Usage):
    class Meta:
        indexes = [
            models.Index(fields=["begins_at"], name="usage_by_hour"),
            # a user's own page and usage API
            models.Index(fields=["user", "begins_at"], name="usage_by_user_hour"),
        ]


class UsageDay(Usage):
    class Meta:
        indexes = [
            models.Index(fields=["begins_at"], name="usage_by_day"),
            models.Index(fields=["user", "begins_at"], name="usage_by_user_day"),
        ]
