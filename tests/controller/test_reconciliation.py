"""Leases of processes that died."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.utils.timezone import now

from controller.ledger.queue import write_batch
from controller.ledger.rollups import roll_up
from controller.limits.periods import Period
from controller.limits.reconciliation import (
    prune_spendings,
    reconcile_leases,
)
from controller.models import Lease, LedgerEntry, Limit, Spending
from controller.models.limits import LEASE_HOLDER_EXPIRY
from tests.controller.test_ledger_queue import finished
from tests.factories import (
    make_key,
    make_ledger_entry,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db


def make_spending(limit: Limit, spent: int, **leases: int) -> Spending:
    """Today's spending, with what each holder has unspent; `dead` is not heard of."""
    spending = Spending.objects.create(
        limit=limit, period_start=Period.day(now()).starts_on, spent=spent
    )
    for holder, unspent in leases.items():
        silence = (
            LEASE_HOLDER_EXPIRY * 2 if holder == "dead" else LEASE_HOLDER_EXPIRY / 2
        )
        Lease.objects.create(
            spending=spending,
            holder=holder,
            unspent=unspent,
            reported_at=now() - silence,
        )
    return spending


def spent_of(spending: Spending) -> int:
    spending.refresh_from_db()
    return spending.spent


def test_what_a_dead_process_had_not_used_comes_back():
    key, _secret = make_key()
    make_ledger_entry(key=key, prompt_tokens=100, completion_tokens=200)
    make_ledger_entry(prompt_tokens=7000)  # another's
    limit = Limit.put("tokens_per_day", 10_000, key_id=key.pk)
    spending = make_spending(limit, 1000, dead=700)

    assert reconcile_leases() == 700
    assert spent_of(spending) == 300
    assert not Lease.objects.exists()
    assert reconcile_leases() == 0


def test_what_a_dead_process_used_after_its_last_report_stays_spent():
    key, _secret = make_key()
    make_ledger_entry(key=key, prompt_tokens=400, completion_tokens=500)
    limit = Limit.put("tokens_per_day", 10_000, key_id=key.pk)
    spending = make_spending(limit, 1000, dead=700)

    assert reconcile_leases() == 100
    assert spent_of(spending) == 900


def test_a_living_process_keeps_its_lease():
    limit = Limit.put("tokens_per_day", 10_000)
    # The dead one had used 300 of its lease since it last said what it holds.
    spending = make_spending(limit, 1000, alive=600, dead=700)

    assert reconcile_leases() == 400
    assert spent_of(spending) == 600
    assert Lease.objects.get().holder == "alive"


def test_chats_of_its_members_count_for_a_team():
    user = make_user()
    team = make_team(user)
    make_ledger_entry(user=user, face="chat", prompt_tokens=10, completion_tokens=0)
    make_ledger_entry(team=team, prompt_tokens=20, completion_tokens=0)
    make_ledger_entry(user=user, face="api", prompt_tokens=40, completion_tokens=0)
    limit = Limit.put("tokens_per_day", 10_000, team_id=team.pk)
    spending = make_spending(limit, 1000, dead=1000)

    reconcile_leases()

    assert spent_of(spending) == 30


def test_money_is_what_each_request_cost_at_its_time():
    make_ledger_entry(prompt_tokens=100, completion_tokens=200, cost_nanos=500_000)
    limit = Limit.put("money_per_day", 5)
    spending = make_spending(limit, 10**9, dead=10**9)

    reconcile_leases()

    assert spent_of(spending) == 500_000


def test_spendings_of_long_ago_are_deleted():
    limit = Limit.put("tokens_per_day", 5)
    today = make_spending(limit, 1)
    Spending.objects.create(limit=limit, period_start="2020-01-01", spent=3)

    prune_spendings()

    assert Spending.objects.get() == today


def test_of_a_long_period_the_sums_are_read_once_they_are_there():
    first = Period.month(now() - timedelta(days=32)).starts_on
    moment = datetime.combine(first, time(), tzinfo=UTC) + timedelta(days=3)
    write_batch([finished(created_at=moment, user_id=7) for _ in range(3)])
    limit = Limit.put("tokens_per_month", 10_000, user_id=make_user(pk=7).pk)
    spending = Spending.objects.create(limit=limit, period_start=first, spent=1000)
    silence = LEASE_HOLDER_EXPIRY * 2
    Lease.objects.create(
        spending=spending, holder="dead", unspent=990, reported_at=now() - silence
    )

    assert reconcile_leases() == 0  # they are not, so that nobody knows what was used
    assert spent_of(spending) == 1000
    roll_up()
    LedgerEntry.objects.all().delete()

    assert reconcile_leases() == 955
    assert spent_of(spending) == 45
