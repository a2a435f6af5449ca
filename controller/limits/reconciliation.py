"""What processes that died had leased of budgets, compared with the ledger."""

from datetime import UTC, datetime, time, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum
from django.utils.timezone import now

from controller.ledger.usage import Tally, UsageReader
from controller.limits.periods import Period
from controller.models import Lease, LedgerEntry, Limit, Spending

# Old periods are of no use: the ledger has what was used in them.
SPENDING_KEPT = timedelta(days=62)


def reconcile_leases() -> int:
    """How many tokens or billionths of money have come back to their budgets.

    Of what a process had leased when it died, the part that the ledger does not have
    was never used. What cannot be told apart stays spent. A few queries for each
    budget with such a lease, however long the ledger is: web processes that need more
    of it wait meanwhile.
    """
    orphans = Lease.objects.orphaned().values_list("spending_id", flat=True)
    return sum(_reconcile(pk) for pk in set(orphans))


def prune_spendings() -> int:
    """Delete what budgets spent in periods long over."""
    before = now().date() - SPENDING_KEPT
    return Spending.objects.filter(period_start__lt=before).delete()[0]


@transaction.atomic
def _reconcile(spending_id: int) -> int:
    rows = Spending.objects.select_for_update().select_related("limit")
    spending = rows.filter(pk=spending_id).first()
    if spending is None:
        return 0  # its limit was deleted meanwhile
    used = used_of(spending)
    if used is None:
        return 0  # the next time
    # The used part of a living process's lease is in the ledger, or soon will be.
    orphaned, living = spending.leases.orphaned(), spending.leases.living()
    unaccounted = spending.spent - used - _unspent(living)
    returned = max(0, min(_unspent(orphaned), unaccounted))
    orphaned.delete()
    Spending.objects.filter(pk=spending.pk).update(spent=F("spent") - returned)
    return returned


def used_of(spending: Spending) -> int | None:
    """What the ledger has of this budget's period; None while some of its hours are not
    added up. Five queries."""
    start = datetime.combine(spending.period_start, time(), tzinfo=UTC)
    end = Period.of(spending.limit.kind, start).ends_at
    reader = UsageReader(start, end, _paid_by(spending.limit))
    if reader.num_missing_hours:
        return None
    tally = Tally.total(reader.by().values())
    return tally.cost_nanos if spending.limit.kind in Limit.IN_MONEY else tally.tokens


def _paid_by(limit: Limit) -> Q:
    """The requests that this budget pays for."""
    return _owned_by(limit) & ~Q(face=LedgerEntry.Face.PROBE)


def _owned_by(limit: Limit) -> Q:
    if limit.key_id is not None:
        return Q(key_id=limit.key_id)
    if limit.user_id is not None:
        return Q(user_id=limit.user_id)
    if limit.team is None:
        return Q()
    members = limit.team.memberships.values("user_id")
    in_chat = Q(face=LedgerEntry.Face.CHAT, user_id__in=members)
    return Q(team_id=limit.team_id) | in_chat


def _unspent(leases: QuerySet[Lease]) -> int:
    return leases.aggregate(total=Sum("unspent"))["total"] or 0
