"""A budget as one web process spends it: from a lease in memory."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import Error as DatabaseError

from controller.errors import BudgetUnavailable, QuotaSpent
from controller.limits.book import Kind, LimitView
from controller.limits.gathering import Gathering
from controller.limits.leases import BudgetKey, LeaseStore
from controller.limits.periods import Period
from controller.models import Limit

# For so long nobody asks the store again for a budget that had nothing left: others
# may have given some back since.
DRY_SECONDS = 1.0
LEASE_TIMEOUT_SECONDS = 5.0
MAX_RETRY_SECONDS = 24 * 3600
_MONTHLY = frozenset({Kind.TOKENS_PER_MONTH, Kind.MONEY_PER_MONTH})


class BudgetMeter:
    """What of a budget this process may spend now, and what its requests hold."""

    def __init__(
        self,
        limit: LimitView,
        store: LeaseStore,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.is_in_money = limit.is_in_money
        self._store = store
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._leasing = Gathering(self._refill)
        self._begin(self._period_now())

    def _begin(self, period: Period) -> None:
        self.period = period
        self._ends_at = period.ends_at.timestamp()
        self.available = 0
        """Leased and free; negative: more was used than had been reserved."""
        self.held = 0
        """Reserved by requests under way."""
        self._was_used = False
        self._dry_until = 0.0
        self._told = 0  # what the store believes that we hold

    def take_here(self, amount: int) -> bool:
        """Whether so much is leased, which then is held until settled."""
        if self.available < amount or self._wall_clock() >= self._ends_at:
            return False
        self.available -= amount
        self.held += amount
        self._was_used = True
        return True

    async def take(self, least: int, wanted: int) -> int:
        """So much as is there now, from `least` to `wanted`; it is held until settled.

        Raises `QuotaSpent` for less, `BudgetUnavailable` if the store does not answer.
        """
        if self._wall_clock() >= self._ends_at:
            self._begin(self._period_now())
        self._was_used = True
        while self.available < wanted and self._monotonic() >= self._dry_until:
            await self._lease(wanted)
        granted = min(wanted, self.available)
        if granted < least:
            raise self._refusal()
        self.available -= granted
        self.held += granted
        return granted

    def settle(self, period: Period, held: int, used: int) -> None:
        """Free what was held and count what was used. A period that is over keeps what
        was leased in it as spent."""
        if period is self.period:
            self.held -= held
            self.available += held - used

    async def report(self) -> None:
        """Tell the store what is held; give back what nobody has asked for since the
        last report, and own up to what was used beyond the lease."""
        if self._wall_clock() >= self._ends_at:
            self._begin(self._period_now())
        if self._leasing.is_fetching:
            return
        keeps = self._was_used and self.available > 0
        self._was_used = False
        await self.give_back(0 if keeps else self.available)

    async def give_back(self, returned: int) -> None:
        """Put so much back into the store, and say what is kept."""
        unspent = max(0, self.available + self.held - returned)
        if not (returned or unspent or self._told):
            return
        period = self.period
        self.available -= returned
        try:
            await self._store.report(self._key(), returned, unspent)
        except BaseException:
            if period is self.period:
                self.available += returned
            raise
        self._told = unspent

    # -- leasing ---------------------------------------------------------------

    async def _lease(self, wanted: int) -> None:
        """Wait for a lease that counts in what we want."""
        try:
            async with asyncio.timeout(LEASE_TIMEOUT_SECONDS):
                await self._leasing.fetch(wanted)
        except (DatabaseError, TimeoutError) as exc:
            raise BudgetUnavailable(
                f"The server cannot reach the store of its budgets now, and needs more"
                f" of the {self.name}. Try again shortly.",
                retry_after=5,
            ) from exc

    async def _refill(self, wanted: int) -> None:
        period = self.period
        granted = await self._store.take(
            self._key(),
            self.limit.amount,
            needed=wanted - self.available,
            unspent=max(0, self.available + self.held),
        )
        if period is not self.period:
            return
        self.available += granted.amount
        self._told = self.available + self.held
        if not granted.left:
            self._dry_until = self._monotonic() + DRY_SECONDS

    # -- words -----------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{Kind(self.limit.kind).label} of {self.limit.owner}"

    def _refusal(self) -> QuotaSpent:
        resets = f"It resets at {self.period.ends_at:%Y-%m-%d %H:%M} UTC."
        wait = int(self._ends_at - self._wall_clock()) + 1
        if self.held:
            resets = f"Requests under way hold the rest of it. {resets}"
            wait = 1
        total = Limit.units_in_words(self.limit.kind, self.limit.amount)
        return QuotaSpent(
            f"The limit of {total} {self.name} is used up. {resets}",
            retry_after=min(wait, MAX_RETRY_SECONDS),
        )

    def _key(self) -> BudgetKey:
        return BudgetKey(self.limit.id, self.period.starts_on)

    def _period_now(self) -> Period:
        moment = datetime.fromtimestamp(self._wall_clock(), UTC)
        is_monthly = self.limit.kind in _MONTHLY
        return Period.month(moment) if is_monthly else Period.day(moment)
