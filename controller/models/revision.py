"""The change channel: how web processes learn of others' writes."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models import F
from django.utils.timezone import now


class Counts(NamedTuple):
    """How often each topic has changed."""

    fleet: int = 0
    keys: int = 0
    origins: int = 0
    moderation: int = 0


class Revision(models.Model):
    """One row, counted up in the transaction that changes what web processes cache.

    They read it each REVISION_INTERVAL and load anew what moved, so a change made by
    `manage.py`, the task worker or another web process acts within that time.
    """

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    fleet = models.PositiveBigIntegerField(default=0)
    keys = models.PositiveBigIntegerField(default=0)
    origins = models.PositiveBigIntegerField(default=0, db_default=0)
    moderation = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="revision_is_one_row")
        ]

    def __str__(self) -> str:
        counts = (getattr(self, topic) for topic in Counts._fields)
        return str(Counts(*counts))

    @classmethod
    def bump(cls, *topics: str) -> None:
        """Announce a change of topics of `Counts`; call it inside the transaction."""
        counted = {topic: F(topic) + 1 for topic in topics}
        if not cls.objects.filter(pk=cls.ONLY).update(**counted):
            cls.objects.get_or_create(pk=cls.ONLY)
            cls.objects.filter(pk=cls.ONLY).update(**counted)

    @classmethod
    def current(cls) -> Counts:
        """The counts; zeros before the first change. One query."""
        row = cls.objects.filter(pk=cls.ONLY).values_list(*Counts._fields).first()
        return Counts(*row) if row else Counts()


class ProcessHeard(models.Model):
    """When a kind of process was last heard, for the admin to show (task worker)."""

    TASK_WORKER = "task worker"

    name = models.CharField(max_length=50, primary_key=True)
    heard_at = models.DateTimeField()

    class Meta:
        verbose_name = "process"
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def report(cls, name: str) -> None:
        cls.objects.update_or_create(name=name, defaults={"heard_at": now()})

    @classmethod
    def last_heard_at(cls, name: str) -> datetime | None:
        return cls.objects.filter(name=name).values_list("heard_at", flat=True).first()

    @property
    def is_silent(self) -> bool:
        """Nothing heard for longer than four of its 15-second reports."""
        return now() - self.heard_at > timedelta(minutes=1)
