"""Where budgets are kept, and how a web process takes its part of one.

A process takes a lease in one atomic step, spends it in memory and gives the rest
back. What is leased counts as spent until then; so does the lease of a process that
died, until the reconciliation compares it with the ledger.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from controller.models import Lease, Spending

LEASED_PART = 100  # at most a hundredth of what is left, unless a request needs more


@dataclass(frozen=True, slots=True)
class BudgetKey:
    """One budget in one period."""

    limit_id: int
    starts_on: date


@dataclass(frozen=True, slots=True)
class Granted:
    amount: int
    left: int
    """What nobody has leased yet."""


class LeaseStore(Protocol):
    """Each call is one atomic step. `unspent` is what the process holds already."""

    async def take(
        self, key: BudgetKey, total: int, needed: int, unspent: int
    ) -> Granted:
        """A lease of what is needed, or of a hundredth of what is left if that is
        more; whatever is left if neither is there."""

    async def report(self, key: BudgetKey, returned: int, unspent: int) -> None:
        """Give back what is not needed; negative: say what was used beyond the lease.
        `unspent` is what is kept."""


class DatabaseLeases:
    """Budgets in the database, so that they outlive every process and Redis.

    `in_thread` runs a function with the database, off the event loop.
    """

    def __init__(self, in_thread: Callable[..., Awaitable[Granted | None]]) -> None:
        self._in_thread = in_thread
        self.holder = secrets.token_hex(16)

    async def take(
        self, key: BudgetKey, total: int, needed: int, unspent: int
    ) -> Granted:
        granted = await self._in_thread(
            take_lease, self.holder, key, total, needed, unspent
        )
        assert granted is not None
        return granted

    async def report(self, key: BudgetKey, returned: int, unspent: int) -> None:
        await self._in_thread(report_lease, self.holder, key, returned, unspent)


def take_lease(
    holder: str, key: BudgetKey, total: int, needed: int, unspent: int
) -> Granted:
    """As `LeaseStore.take`. Raises `IntegrityError` for a limit that was deleted a
    moment ago. Four statements."""
    with transaction.atomic():
        spending, lease = _locked(holder, key)
        lost = _lost(lease, unspent)
        left = max(0, total - spending.spent - lost)
        amount = min(left, max(needed, left // LEASED_PART))
        _write(spending, lost + amount, lease, unspent + amount)
    return Granted(amount, left - amount)


def report_lease(holder: str, key: BudgetKey, returned: int, unspent: int) -> None:
    """As `LeaseStore.report`."""
    with transaction.atomic():
        spending, lease = _locked(holder, key)
        lost = _lost(lease, returned + unspent)
        _write(spending, lost - returned, lease, unspent)


def _locked(holder: str, key: BudgetKey) -> tuple[Spending, Lease]:
    """The rows, the budget's nobody else's to change until the transaction ends; of
    who holds nothing an empty lease, which is not written yet."""
    rows = Spending.objects.select_for_update()
    row, _is_new = rows.get_or_create(limit_id=key.limit_id, period_start=key.starts_on)
    lease = Lease.objects.filter(spending=row, holder=holder).first()
    return row, lease or Lease(spending=row, holder=holder)


def _lost(lease: Lease, held: int) -> int:
    """How much of what its holder has the store counts as spent no longer.

    The reconciliation took a process for dead that lived, as after a long outage of the
    database, and gave its lease back; or the process never heard that what it gave back
    had come here. Unless it is spent again, it would be there twice.
    """
    return max(0, held - lease.unspent)


def _write(spending: Spending, spent: int, lease: Lease, unspent: int) -> None:
    """Add to what is spent, and note what the holder keeps."""
    if spent:
        Spending.objects.filter(pk=spending.pk).update(spent=F("spent") + spent)
    lease.unspent, lease.reported_at = unspent, now()
    lease.save()
