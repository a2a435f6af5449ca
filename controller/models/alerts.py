"""Alerts about budgets: what is to be told, and whether it was."""

import uuid
from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from controller.models.limits import Limit

FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=1)
MAX_ATTEMPTS = 12  # the last is about six hours after the first


class BudgetAlertQuerySet(models.QuerySet["BudgetAlert"]):
    def due(self) -> Self:
        """Alerts to send now: new ones, and those whose last attempt failed."""
        return self.filter(next_attempt_at__lte=now())

    def with_owners(self) -> Self:
        """With what names the budget and its owner, in the same query."""
        return self.select_related("limit__key__user", "limit__user", "limit__team")


class BudgetAlert(models.Model):
    """So much of a budget was used in a period: told once, by mail and webhook."""

    # Also the webhook's id, by which a receiver knows a repetition.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    limit = models.ForeignKey(Limit, models.CASCADE, related_name="alerts")
    period_start = models.DateField()
    threshold = models.PositiveSmallIntegerField()  # per cent
    # As they were when it was reached, in the limit's units.
    total = models.BigIntegerField()
    used = models.BigIntegerField()
    created_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        default=now
    )
    # One of a higher threshold, reached at the same time, tells of it.
    is_covered = models.BooleanField(default=False)
    # Null: nothing is left to send, or to hope for.
    next_attempt_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(null=True)
    )
    num_attempts = models.PositiveSmallIntegerField(default=0)
    mailed_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(null=True)
    )
    num_mailed = models.PositiveIntegerField(default=0)  # 0: nobody has an address
    mail_error = models.CharField(max_length=300, blank=True)
    webhook_delivered_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(null=True)
    )
    webhook_error = models.CharField(max_length=300, blank=True)

    objects = BudgetAlertQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # With the total: a budget that was raised within its period is a new one,
            # which may run out too.
            models.UniqueConstraint(
                fields=["limit", "period_start", "threshold", "total"],
                name="one_alert_a_period_and_threshold",
            )
        ]
        indexes = [
            # each minute's look for what is to be sent; nearly all rows are done
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
                name="alert_by_next_attempt",
            ),
            # each minute's look for those of the present periods
            models.Index(fields=["period_start"], name="alert_by_period"),
            models.Index(fields=["-created_at"], name="alert_by_creation"),
        ]

    def __str__(self) -> str:
        return f"{self.threshold} % of {self.limit_id} from {self.period_start}"

    def claim(self) -> bool:
        """Whether this attempt to send it is ours: of several at once, one's is.

        It is due again after a while, longer each time, should we fail or die.
        """
        is_last = self.num_attempts + 1 >= MAX_ATTEMPTS
        wait = min(FIRST_RETRY * 2**self.num_attempts, LONGEST_RETRY)
        taken = (
            type(self)
            .objects.due()
            .filter(pk=self.pk, num_attempts=self.num_attempts)
            .update(
                num_attempts=self.num_attempts + 1,
                next_attempt_at=None if is_last else now() + wait,
            )
        )
        return bool(taken)

    def finish(self) -> None:
        """Nothing of it is left to send."""
        self.next_attempt_at = None
        self.save(update_fields=["next_attempt_at"])

    def record_mail(self, num_mailed: int) -> None:
        """It was sent to so many people, who may be none."""
        self.mailed_at, self.num_mailed, self.mail_error = now(), num_mailed, ""
        self.save(update_fields=["mailed_at", "num_mailed", "mail_error"])

    def record_mail_error(self, error: str) -> None:
        self.mail_error = error[:300]
        self.save(update_fields=["mail_error"])

    def record_webhook(self) -> None:
        """Its receiver has taken it."""
        self.webhook_delivered_at, self.webhook_error = now(), ""
        self.save(update_fields=["webhook_delivered_at", "webhook_error"])

    def record_webhook_error(self, error: str) -> None:
        self.webhook_error = error[:300]
        self.save(update_fields=["webhook_error"])
