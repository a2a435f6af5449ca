"""Roll-ups of the ledger, by hour and by day, made again whenever rows came in.

An hour is always made anew from all its rows, in the transaction that says so: it may
be done twice, in two processes at once, after an outage, or after rows written late.
The day is made anew from its hours with the last of them.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from controller.models import (
    LedgerEntry,
    LedgerHour,
    UsageDay,
    UsageHour,
    latencies,
)
from controller.models.usage import (
    DAY,
    HOUR,
    LedgerHourQuerySet,
    Usage,
    day_of,
    hour_of,
)

KINDS = ("user_id", "key_id", "team_id", "model", "face", "status_class")
ADDED = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_nanos")
TIMES = ("ttft_seconds", "duration_seconds")
SUMS = ("num_requests", "num_first_tokens", *ADDED, *TIMES)


def rows_kept_since() -> datetime:
    """The hour before which rows may have been deleted: its roll-ups are final."""
    return hour_of(now() - timedelta(days=settings.LEDGER_RETENTION_DAYS))


def hours_kept_since() -> datetime:
    """The day before which sums by hour may have been deleted. They are kept as long as
    rows: a row that is written late has its day made anew from them."""
    kept_days = max(
        settings.USAGE_HOURLY_RETENTION_DAYS, settings.LEDGER_RETENTION_DAYS
    )
    return day_of(now() - timedelta(days=kept_days))


def hours_to_roll_up() -> LedgerHourQuerySet:
    """The stale hours that are over; of the present one the rows are read."""
    return LedgerHour.objects.stale().filter(
        begins_at__gte=rows_kept_since(), begins_at__lt=hour_of(now())
    )


def roll_up() -> int:
    """How many hours were rolled up: all that were stale, the oldest first."""
    num_hours = 0
    while _roll_up_next():
        num_hours += 1
    return num_hours


@transaction.atomic
def _roll_up_next() -> bool:
    """Whether there was a stale hour, which is rolled up now.

    Locks the stale hours of its day, so that of two processes one waits, and the day is
    made by whoever comes last. Late rows of these hours wait too, in their queue.
    """
    first = hours_to_roll_up().order_by("begins_at").first()
    if first is None:
        return False
    day = day_of(first.begins_at)
    of_day = hours_to_roll_up().filter(begins_at__gte=day, begins_at__lt=day + DAY)
    hours = list(of_day.select_for_update().order_by("begins_at"))
    if not hours:
        return True  # another process did it while we waited
    _make_hour(hours[0])
    if len(hours) == 1:
        _make_day(day)
    return True


def _make_hour(hour: LedgerHour) -> None:
    rows = LedgerEntry.objects.filter(
        created_at__gte=hour.begins_at, created_at__lt=hour.begins_at + HOUR
    )
    kinds = rows.order_by().annotate(status_class=F("status") / 100)
    # In this order: a sum hides the column of its name.
    sums = latencies.counts_of_rows() | sums_of_rows()
    _replace(UsageHour, hour.begins_at, kinds.values(*KINDS).annotate(**sums))
    hour.num_rolled_up = hour.num_written
    hour.save(update_fields=["num_rolled_up"])


def _make_day(day: datetime) -> None:
    hours = UsageHour.objects.filter(begins_at__gte=day, begins_at__lt=day + DAY)
    sums = {name: Sum(name) for name in (*SUMS, *latencies.COLUMNS)}
    _replace(UsageDay, day, hours.order_by().values(*KINDS).annotate(**sums))


def _replace(
    table: type[Usage], begins_at: datetime, kinds: "QuerySet[Any, dict[str, Any]]"
) -> None:
    """Let the database itself write what it adds up: one statement, however much."""
    table._default_manager.filter(begins_at=begins_at).delete()
    query, parameters = kinds.query.sql_with_params()
    column = table._meta.get_field("begins_at")
    columns = (*KINDS, *SUMS, *latencies.COLUMNS)
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{table._meta.db_table}" ("begins_at", {names})'  # noqa: S608
            f" SELECT %s, {names} FROM ({query}) AS kinds",
            [column.get_db_prep_save(begins_at, connection), *parameters],
        )


def sums_of_rows() -> dict[str, Any]:
    """`SUMS` as aggregates over ledger entries."""
    times = {name: Coalesce(Sum(name), Value(0.0)) for name in TIMES}
    return {
        "num_requests": Count("pk"),
        "num_first_tokens": Count("ttft_seconds"),
        **{name: Sum(name) for name in ADDED},
        **times,
    }
