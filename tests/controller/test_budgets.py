"""Budgets and their leases, over the real database."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils.timezone import now

from controller.errors import BudgetUnavailable, QuotaSpent
from controller.limits.book import Kind, LimitView
from controller.limits.budgets import BudgetMeter
from controller.limits.leases import DatabaseLeases, Granted
from controller.limits.reconciliation import reconcile_leases
from controller.limits.reservation import BudgetHold
from controller.models import Lease, Limit, Spending
from controller.models.limits import LEASE_HOLDER_EXPIRY
from controller.prices import FREE
from tests.factories import make_ledger_entry

pytestmark = pytest.mark.django_db(transaction=True)

new_limit = sync_to_async(Limit.put)


class Clock:
    """Both clocks of a meter, which only this moves."""

    def __init__(self) -> None:
        self.moment = now().replace(hour=12)
        self.seconds = 1000.0

    def wall(self) -> float:
        return self.moment.timestamp()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


async def make_meter(clock: Clock, amount: int, store=None) -> BudgetMeter:
    """A process's meter of a new budget for everyone, of so many tokens a day."""
    row = await Limit.objects.filter(kind=Kind.TOKENS_PER_DAY).afirst()
    row = row or await new_limit(Kind.TOKENS_PER_DAY, amount)
    view = LimitView(row.pk, row.kind, "everyone", amount)
    store = store or DatabaseLeases(sync_to_async(lambda job, *args: job(*args)))
    return BudgetMeter(view, store, clock.wall, clock.monotonic)


async def spent() -> int:
    return (await Spending.objects.aget()).spent


async def test_a_process_takes_a_hundredth_of_what_is_left(clock):
    meter = await make_meter(clock, 100_000)

    await meter.take(50, 50)

    assert await spent() == 1000
    assert meter.available == 950
    assert (await Lease.objects.aget()).unspent == 1000


async def test_many_that_wait_share_one_lease(clock):
    asked = 0

    class Counting(DatabaseLeases):
        async def take(self, *args, **kwargs) -> Granted:
            nonlocal asked
            asked += 1
            return await super().take(*args, **kwargs)

    store = Counting(sync_to_async(lambda job, *args: job(*args)))
    meter = await make_meter(clock, 10_000, store)

    await asyncio.gather(*(meter.take(40, 40) for _ in range(200)))

    assert asked == 1
    assert await spent() == meter.held == 8000


async def test_what_two_processes_are_granted_is_never_more_than_the_budget(clock):
    meters = [await make_meter(clock, 1000) for _ in range(2)]

    takes = [meter.take(7, 7) for _ in range(100) for meter in meters]
    results = await asyncio.gather(*takes, return_exceptions=True)

    assert results.count(7) == 142
    assert sum(isinstance(each, QuotaSpent) for each in results) == 58
    assert await spent() == 1000


async def test_a_last_request_gets_what_is_left_if_that_is_enough(clock):
    meter = await make_meter(clock, 100)
    await meter.take(70, 70)

    assert await meter.take(10, 50) == 30
    with pytest.raises(QuotaSpent):
        await meter.take(1, 1)


async def test_a_refusal_names_the_limit_its_owner_and_the_reset(clock):
    meter = await make_meter(clock, 100)
    await meter.take(100, 100)
    meter.settle(meter.period, 100, 100)

    with pytest.raises(QuotaSpent) as caught:
        await meter.take(1, 1)

    resets_at = f"{meter.period.ends_at:%Y-%m-%d %H:%M} UTC"
    assert caught.value.message == (
        "The limit of 100 tokens per day of everyone is used up."
        f" It resets at {resets_at}."
    )
    left = (meter.period.ends_at - clock.moment).total_seconds()
    assert caught.value.retry_after == int(left) + 1


async def test_what_only_requests_under_way_hold_may_come_back_in_a_moment(clock):
    meter = await make_meter(clock, 100)
    await meter.take(100, 100)

    with pytest.raises(QuotaSpent, match="hold the rest") as caught:
        await meter.take(1, 1)
    meter.settle(meter.period, 100, 20)

    assert caught.value.retry_after == 1
    assert await meter.take(1, 80) == 80


async def test_an_exhausted_budget_is_asked_for_once_a_second(clock):
    meter = await make_meter(clock, 10)
    await meter.take(10, 10)
    await Spending.objects.aupdate(spent=0)  # as if others had given it back

    with pytest.raises(QuotaSpent):
        await meter.take(5, 5)
    clock.seconds += 1.1

    assert await meter.take(5, 5) == 5


async def test_a_lease_that_nobody_uses_goes_back(clock):
    meter = await make_meter(clock, 100_000)
    await meter.take(50, 50)
    meter.settle(meter.period, 50, 20)

    await meter.report()  # used since the last report: kept
    assert await spent() == 1000
    await meter.report()

    assert await spent() == 20
    assert (await Lease.objects.aget()).unspent == 0


async def test_what_was_used_beyond_the_lease_is_owned_up_to(clock):
    meter = await make_meter(clock, 100)
    await meter.take(100, 100)
    meter.settle(meter.period, 100, 130)

    await meter.report()

    assert await spent() == 130
    assert meter.available == 0


async def test_the_lease_of_a_process_that_died_counts_as_spent(clock):
    dead = await make_meter(clock, 1000)
    await dead.take(600, 600)

    survivor = await make_meter(clock, 1000)

    assert await survivor.take(1, 1000) == 400


async def test_a_new_day_begins_with_the_whole_budget(clock):
    meter = await make_meter(clock, 100)
    await meter.take(100, 100)
    yesterday = meter.period

    clock.moment += timedelta(days=1)
    clock.seconds += 86400

    assert await meter.take(60, 60) == 60
    meter.settle(yesterday, 100, 10)  # of a request that was under way at midnight
    assert meter.held == 60
    assert await meter.take(1, 100) == 40


class Broken(DatabaseLeases):
    async def take(self, *args, **kwargs) -> Granted:
        raise OperationalError("the database is gone")


async def test_without_the_database_only_what_is_leased_is_spent(clock):
    meter = await make_meter(clock, 100_000)
    await meter.take(100, 100)
    meter._store = Broken(None)

    assert await meter.take(900, 900) == 900
    with pytest.raises(BudgetUnavailable) as caught:
        await meter.take(1, 1)

    assert caught.value.status == 503
    assert caught.value.retry_after == 5


async def test_a_request_that_leaves_while_it_waits_loses_no_lease(clock):
    meter = await make_meter(clock, 1000)
    leaving = asyncio.create_task(meter.take(500, 500))
    await asyncio.sleep(0)
    leasing = meter._leasing._fetching

    leaving.cancel()
    await asyncio.gather(leaving, leasing, return_exceptions=True)

    assert meter.available == await spent() > 0


async def test_what_a_stream_held_before_midnight_pays_for_no_new_day(clock):
    meter = await make_meter(clock, 10_000)
    hold = BudgetHold(meter, FREE)
    await hold.take(1000, 1000)
    clock.moment += timedelta(days=1)
    clock.seconds += 86400
    await hold.take(500, 500)  # its next slice

    hold.settle(1200)
    await meter.give_back(meter.available)

    assert meter.held == 0
    today = await Spending.objects.aget(period_start=meter.period.starts_on)
    assert today.spent == 200


async def test_a_hold_gives_back_only_what_it_has_of_the_present_day(clock):
    meter = await make_meter(clock, 10_000)
    hold = BudgetHold(meter, FREE)
    await hold.take(1000, 1000)
    clock.moment += timedelta(days=1)
    await hold.take(500, 500)

    hold.trim(0)

    assert (meter.held, meter.available) == (0, 500)


async def test_a_process_that_was_taken_for_dead_gives_nothing_back_twice(clock):
    meter = await make_meter(clock, 10_000)
    await meter.take(50, 50)
    meter.settle(meter.period, 50, 20)
    await sync_to_async(make_ledger_entry)(prompt_tokens=15, completion_tokens=5)
    await Lease.objects.aupdate(reported_at=now() - 2 * LEASE_HOLDER_EXPIRY)

    assert await sync_to_async(reconcile_leases)() == 80
    assert await meter.take(30, 30) == 30  # of its lease, as if nothing had been
    await meter.report()
    assert await spent() == 100
    meter.settle(meter.period, 30, 0)
    await meter.give_back(meter.available)

    assert await spent() == 20


async def test_what_came_back_unheard_does_not_come_back_twice(clock):
    class Deaf(DatabaseLeases):
        async def report(self, *args) -> None:
            await super().report(*args)
            raise OperationalError("the connection broke off")

    store = Deaf(sync_to_async(lambda job, *args: job(*args)))
    meter = await make_meter(clock, 10_000, store)
    await meter.take(50, 50)
    meter.settle(meter.period, 50, 20)

    for _ in range(2):
        with pytest.raises(OperationalError):
            await meter.give_back(meter.available)

    assert await spent() == 20
