"""Which budgets have reached a threshold, each told of once in a period."""

from collections.abc import Iterable, Iterator
from datetime import date
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils.timezone import now

from controller.limits.periods import Period
from controller.limits.reconciliation import SPENDING_KEPT
from controller.models import BudgetAlert, Limit, Spending

# Of a nearly empty budget nobody uses the rest: it is less than a request needs.
NEVER_USED_PART = 200

_Known = set[tuple[int, date, int, int]]  # limit, period, threshold, total


def raise_alerts() -> None:
    """Write down which thresholds were newly reached in the present periods.

    Three queries, however many budgets there are. Two task workers at once write one
    row for each: the database refuses the second.
    """
    spendings = list(_present_spendings())
    known = _known_alerts({each.period_start for each in spendings})
    BudgetAlert.objects.bulk_create(
        [alert for each in spendings for alert in _new_alerts(each, known)],
        ignore_conflicts=True,
    )


def due_alerts() -> list[UUID]:
    """The ids of alerts to send now, the oldest first. One query."""
    rows = BudgetAlert.objects.due().order_by("created_at")
    return list(rows.values_list("pk", flat=True))


def prune_alerts() -> int:
    """Delete the alerts of periods long over."""
    before = now().date() - SPENDING_KEPT
    return BudgetAlert.objects.filter(period_start__lt=before).delete()[0]


def percent_used(used: int, total: int) -> int:
    """In whole per cent, rounded down; what is as good as used up is 100."""
    left = total - used
    return 100 if left * NEVER_USED_PART < total else used * 100 // total


def _present_spendings() -> Iterable[Spending]:
    """This day's and this month's, each with `used`. One query."""
    moment = now()
    present = Q()
    for kind in Limit.BUDGETS:
        present |= Q(limit__kind=kind, period_start=Period.of(kind, moment).starts_on)
    rows = Spending.objects.with_used().filter(present, limit__amount__gt=0)
    return rows.select_related("limit")


def _known_alerts(period_starts: Iterable[date]) -> _Known:
    rows = BudgetAlert.objects.filter(period_start__in=period_starts)
    return set(rows.values_list("limit_id", "period_start", "threshold", "total"))


def _new_alerts(spending: Spending, known: _Known) -> Iterator[BudgetAlert]:
    """Only the highest of several is to be sent: it says all that the others would."""
    total, used = spending.limit.units, spending.used  # type: ignore[attr-defined]
    percent = percent_used(used, total)
    reached = [
        threshold
        for threshold in settings.BUDGET_ALERT_THRESHOLDS
        if threshold <= percent
        and (spending.limit_id, spending.period_start, threshold, total) not in known
    ]
    moment = now()
    for threshold in reached:
        is_covered = threshold != max(reached)
        yield BudgetAlert(
            limit_id=spending.limit_id,
            period_start=spending.period_start,
            threshold=threshold,
            total=total,
            used=used,
            created_at=moment,
            is_covered=is_covered,
            next_attempt_at=None if is_covered else moment,
        )
