"""What was used, by whom and of what: roll-ups, and rows for what has none yet.

Days are read from the days' roll-ups, the latest day from its hours', and the present
hour (the one before too, for the minute until it is rolled up) from its rows. So an
answer takes a few queries and is right to the row, however long the ledger is. Minutes
are read from the rows of their time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from dataclasses import field as dataclass_field
from datetime import datetime, timedelta
from decimal import Decimal
from operator import add
from typing import Any, Self

from django.db.models import (
    Case,
    Count,
    DateTimeField,
    F,
    Func,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.sql.compiler import SQLCompiler
from django.utils.timezone import now

from controller import prices
from controller.ledger.rollups import SUMS, hours_to_roll_up, sums_of_rows
from controller.models import LedgerEntry, UsageDay, UsageHour, latencies
from controller.models.usage import DAY, HOUR, day_of, hour_of
from controller.prices import NANOS

GROUPS = ("user_id", "key_id", "team_id", "model", "face")


@dataclass(slots=True)
class Tally:
    """Sums over requests; `+=` adds another's."""

    num_requests: int = 0
    num_refused: int = 0
    num_failed: int = 0
    num_first_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int = 0
    ttft_seconds: float = 0.0
    duration_seconds: float = 0.0
    ttft_counts: "Counts" = dataclass_field(default_factory=lambda: Counts())
    """By length, as `latencies` has them; only of readers that ask for them."""
    duration_counts: "Counts" = dataclass_field(default_factory=lambda: Counts())

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """Of a row of sums, of which those of latencies may be missing or null."""
        ttft, duration = (
            Counts(row.pop(name, None) or 0 for name in columns)
            for columns in (latencies.TTFT, latencies.DURATION)
        )
        return cls(**row, ttft_counts=ttft, duration_counts=duration)

    def __iadd__(self, other: Self) -> Self:
        for name in _FIELDS_OF_TALLY:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @classmethod
    def total(cls, tallies: "Iterable[Tally]") -> "Tally":
        total = Tally()
        for tally in tallies:
            total += tally
        return total

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def num_errors(self) -> int:
        return self.num_refused + self.num_failed

    @property
    def num_answered(self) -> int:
        return self.num_requests - self.num_errors

    @property
    def cost(self) -> float:
        """In the site's currency."""
        return self.cost_nanos / NANOS

    @property
    def cost_in_words(self) -> str:
        return prices.in_words(Decimal(self.cost_nanos) / NANOS)

    @property
    def mean_ttft_seconds(self) -> float | None:
        """None where no answer began."""
        if not self.num_first_tokens:
            return None
        return self.ttft_seconds / self.num_first_tokens

    @property
    def ttft_p50(self) -> float | None:
        """Seconds that half of the answers took to begin; None where none began."""
        return latencies.percentile(self.ttft_counts, 50)

    @property
    def ttft_p95(self) -> float | None:
        return latencies.percentile(self.ttft_counts, 95)

    @property
    def duration_p50(self) -> float | None:
        """Seconds that half of the requests took; None without any."""
        return latencies.percentile(self.duration_counts, 50)

    @property
    def duration_p95(self) -> float | None:
        return latencies.percentile(self.duration_counts, 95)


class Counts(tuple[int, ...]):
    """Numbers that are added to others one by one; nothing at all is all zeros."""

    __slots__ = ()

    def __add__(self, other: tuple[int, ...]) -> "Counts":  # type: ignore[override]
        if not (self and other):
            return Counts(self or other)
        return Counts(map(add, self, other))


_FIELDS_OF_TALLY = tuple(each.name for each in fields(Tally))


class MinuteOf(Func):
    """The beginning of a moment's minute, found by the database itself."""

    function = "DATE_TRUNC"
    template = "%(function)s('minute', %(expressions)s, 'UTC')"
    output_field = DateTimeField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: Any, **extra: Any
    ) -> tuple[str, Any]:
        """From the text that SQLite keeps, which is in UTC."""
        template = "SUBSTR(%(expressions)s, 1, 16)"
        return self.as_sql(compiler, connection, template=template, **extra)


Groups = dict[tuple[Any, ...], Tally]


class UsageReader:
    """The usage of a period, which begins and ends with a day (of UTC), or with an hour
    where only hours are asked for. `only` narrows it to a user, keys, models."""

    def __init__(
        self,
        since: datetime,
        until: datetime,
        only: Q | None = None,
        *,
        with_latencies: bool = False,
    ) -> None:
        """Two queries. `with_latencies`: how long answers took is counted too."""
        self.since = since
        self.until = until
        self._with_latencies = with_latencies
        self._only = only or Q()
        self._this_hour = hour_of(now())
        stale = hours_to_roll_up()
        last_hour = self._this_hour - HOUR
        is_waiting = stale.filter(begins_at=last_hour).exists()
        self._rows_from = last_hour if is_waiting else self._this_hour
        self.num_missing_hours = stale.filter(
            begins_at__range=(since, min(last_hour, until) - HOUR)
        ).count()
        """Hours of the period that the task worker has yet to add, of long ago or after
        it stood still."""

    def by(self, *groups: str) -> Groups:
        """Tallies by the values of these of `GROUPS`. Three queries."""
        return self._read(groups, None)

    def by_day(self, *groups: str) -> Groups:
        """The same with the beginning of the day in front. Three queries."""
        return self._read(groups, DAY)

    def by_hour(self, *groups: str) -> Groups:
        """The same with the beginning of the hour in front. Two queries."""
        tallies: Groups = {}
        self._add(tallies, groups, self._hours(self.since), F("begins_at"))
        self._add(tallies, groups, self._rows(), self._bucket("created_at", HOUR))
        return tallies

    def over_hours(self, *groups: str) -> Groups:
        """Tallies by these of `GROUPS`, of a period that begins within a day. Two
        queries."""
        tallies: Groups = {}
        self._add(tallies, groups, self._hours(self.since), None)
        self._add(tallies, groups, self._rows(), None)
        return tallies

    def by_minute(self, *groups: str) -> Groups:
        """The same with the beginning of the minute in front, from the rows of the
        period. One query."""
        tallies: Groups = {}
        rows = LedgerEntry.objects.filter(
            self._only, created_at__gte=self.since, created_at__lt=self.until
        )
        self._add(tallies, groups, rows, MinuteOf("created_at"))
        return tallies

    def _read(self, groups: tuple[str, ...], step: timedelta | None) -> Groups:
        tallies: Groups = {}
        latest_day = max(self.since, day_of(self._rows_from))
        of_day = None if step is None else F("begins_at")
        self._add(tallies, groups, self._days(latest_day), of_day)
        self._add(
            tallies, groups, self._hours(latest_day), self._bucket("begins_at", step)
        )
        self._add(tallies, groups, self._rows(), self._bucket("created_at", step))
        return tallies

    def _days(self, before: datetime) -> "QuerySet[UsageDay]":
        before = min(before, self.until)
        return UsageDay.objects.filter(
            self._only, begins_at__gte=self.since, begins_at__lt=before
        )

    def _hours(self, since: datetime) -> "QuerySet[UsageHour]":
        before = min(self._rows_from, self.until)
        return UsageHour.objects.filter(
            self._only, begins_at__gte=since, begins_at__lt=before
        )

    def _rows(self) -> "QuerySet[LedgerEntry]":
        since = max(self._rows_from, self.since)
        return LedgerEntry.objects.filter(
            self._only, created_at__gte=since, created_at__lt=self.until
        )

    def _bucket(self, field: str, step: timedelta | None) -> Case | None:
        """The beginning of the step that `field` is in, from the latest day on: two or
        three comparisons, where SQLite's own way would call Python for each row."""
        if step is None:
            return None
        floor = day_of if step == DAY else hour_of
        start, starts = floor(self._rows_from), []
        while start <= self._this_hour:
            starts.append(start)
            start += step
        return Case(
            *(
                When(**{f"{field}__gte": start}, then=Value(start))
                for start in reversed(starts)
            ),
            output_field=DateTimeField(),
        )

    def _add(
        self,
        tallies: Groups,
        groups: tuple[str, ...],
        source: "QuerySet[Any]",
        bucket: Combinable | Case | None,
    ) -> None:
        named = groups
        if bucket is not None:
            source, named = source.annotate(bucket=bucket), ("bucket", *groups)
        is_rows = source.model is LedgerEntry
        sums = _tally_of_rows() if is_rows else _tally_of_rollups()
        if self._with_latencies:
            # In front: a sum hides the column of its name.
            counts = latencies.counts_of_rows() if is_rows else _latencies()
            sums = counts | sums
        for row in _summed(source, named, sums):
            kind = tuple(row.pop(name) for name in named)
            tallies.setdefault(kind, Tally())
            if row["num_requests"]:  # one row of nulls, without groups and requests
                tallies[kind] += Tally.of_row(row)


def _summed(
    source: "QuerySet[Any]", named: tuple[str, ...], sums: dict[str, Any]
) -> Iterable[dict[str, Any]]:
    if not named:  # `values()` would mean every column
        return [source.aggregate(**sums)]
    summed: QuerySet[Any, dict[str, Any]]
    summed = source.order_by().values(*named).annotate(**sums)
    return summed


def _tally_of_rollups() -> dict[str, Any]:
    """In this order: an annotation hides the column of its name."""
    return {
        "num_refused": _requests_of_class(4),
        "num_failed": _requests_of_class(5),
        **{name: Sum(name) for name in SUMS},
    }


def _requests_of_class(status_class: int) -> Coalesce:
    is_of_class = Q(status_class=status_class)
    return Coalesce(Sum("num_requests", filter=is_of_class), Value(0))


def _latencies() -> dict[str, Any]:
    return {name: Sum(name) for name in latencies.COLUMNS}


def _tally_of_rows() -> dict[str, Any]:
    return sums_of_rows() | {
        "num_refused": Count("pk", filter=Q(status__range=(400, 499))),
        "num_failed": Count("pk", filter=Q(status__gte=500)),
    }
