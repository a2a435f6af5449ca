"""Roll-ups hold every row once: late ones, after an outage, and made twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from controller import tasks
from controller.ledger import rollups
from controller.ledger.queue import write_batch
from controller.ledger.rollups import roll_up
from controller.ledger.usage import UsageReader
from controller.models import LedgerEntry, LedgerHour, UsageDay, UsageHour
from controller.models.usage import DAY, HOUR, day_of, hour_of
from tests.controller.test_ledger_queue import finished

pytestmark = pytest.mark.django_db(transaction=True)


def write(number=1, *, ago=timedelta(0), **fields):
    moment = now() - ago
    write_batch([finished(created_at=moment, **fields) for _ in range(number)])


def last_days(number=30):
    today = day_of(now())
    return UsageReader(today - (number - 1) * DAY, today + DAY)


def requests_in(table):
    return table.objects.aggregate(number=Sum("num_requests"))["number"] or 0


def test_hours_and_days_add_up_to_the_rows():
    for ago in (2 * HOUR, 3 * HOUR, 26 * HOUR, 27 * HOUR, 27 * HOUR):
        write(3, ago=ago, prompt_tokens=10, completion_tokens=5, cost_nanos=7)

    roll_up()

    for table in (UsageHour, UsageDay):
        sums = table.objects.aggregate(
            *map(Sum, ("num_requests", "prompt_tokens", "completion_tokens")),
            Sum("cost_nanos"),
        )
        assert list(sums.values()) == [15, 150, 75, 105]
    assert UsageHour.objects.count() == 4


@pytest.mark.parametrize("kind", ["user_id", "key_id", "team_id", "model", "face"])
def test_each_kind_has_a_roll_up_of_its_own(kind):
    values = ("api", "chat") if kind in ("model", "face") else (1, None)
    for value in values:
        write(ago=2 * HOUR, **{kind: value})

    roll_up()

    assert set(UsageHour.objects.values_list(kind, flat=True)) == set(values)


def test_failures_and_refusals_are_told_apart():
    for status in (200, 200, 429, 499, 502):
        write(ago=2 * HOUR, status=status)
        write(status=status)  # the present hour, of which the rows are read
    roll_up()

    (tally,) = last_days().by().values()

    assert (tally.num_requests, tally.num_refused, tally.num_failed) == (10, 4, 2)


def test_rows_written_late_are_added_to_their_hour_and_day():
    write(2, ago=26 * HOUR)
    roll_up()

    write(3, ago=26 * HOUR)
    roll_up()

    assert requests_in(UsageHour) == requests_in(UsageDay) == 5


def test_rolling_up_again_changes_nothing_and_reads_no_rows():
    write(2, ago=26 * HOUR)
    roll_up()

    with CaptureQueriesContext(connection) as queries:
        assert roll_up() == 0

    assert requests_in(UsageHour) == requests_in(UsageDay) == 2
    assert not any("controller_ledgerentry" in each["sql"] for each in queries)


def test_after_an_outage_all_hours_are_caught_up():
    for number in range(1, 60):
        write(ago=number * HOUR)

    assert roll_up() == 59

    assert requests_in(UsageHour) == requests_in(UsageDay) == 59


def test_a_roll_up_that_is_killed_half_way_leaves_its_day_to_the_next(monkeypatch):
    for number in range(3):
        write(ago=(48 + number) * HOUR)
    make_day = rollups._make_day

    def die(day):
        raise KeyboardInterrupt

    monkeypatch.setattr(rollups, "_make_day", die)
    with pytest.raises(KeyboardInterrupt):
        roll_up()
    monkeypatch.setattr(rollups, "_make_day", make_day)
    roll_up()

    assert requests_in(UsageHour) == requests_in(UsageDay) == 3


def test_two_that_roll_up_at_once_count_nothing_twice():
    for number in range(1, 30):
        write(2, ago=number * HOUR)

    def in_thread(_number):
        try:
            return roll_up()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(in_thread, range(2)))

    assert requests_in(UsageHour) == requests_in(UsageDay) == 58


def test_usage_is_exact_before_during_and_after_the_roll_up():
    write(1)
    write(2, ago=HOUR)
    roll_up()
    write(4, ago=HOUR)  # after its roll-up: the hour's rows are read
    write(8, ago=24 * HOUR)
    roll_up()

    write(16, ago=HOUR)

    (tally,) = last_days().by().values()
    assert tally.num_requests == 31
    by_day = last_days().by_day()
    assert sum(each.num_requests for each in by_day.values()) == 31
    assert {day for (day,) in by_day} <= {day_of(now()) - n * DAY for n in range(3)}
    hours = UsageReader(hour_of(now()) - 30 * HOUR, hour_of(now()) + HOUR).by_hour()
    expected = {0: 1, 1: 22, 24: 8}
    assert {
        hour_of(now()) - number * HOUR: count for number, count in expected.items()
    } == {hour: each.num_requests for (hour,), each in hours.items()}


def test_hours_that_wait_for_their_roll_up_are_told():
    write(ago=5 * HOUR)
    write(ago=6 * HOUR)

    assert last_days().num_missing_hours == 2
    roll_up()
    assert last_days().num_missing_hours == 0


def test_queries_are_constant_and_rows_are_read_of_the_last_hours_only():
    for number in range(40):
        write(ago=number * 12 * HOUR, model=f"model {number}", user_id=number)
    roll_up()

    with CaptureQueriesContext(connection) as queries:
        reader = last_days()
        reader.by("user_id")
        reader.by_day("model")

    assert len(queries) == 8
    of_rows = [q["sql"] for q in queries if 'FROM "controller_ledgerentry"' in q["sql"]]
    assert len(of_rows) == 2
    hour = f"{hour_of(now()):%Y-%m-%d %H:%M:%S}"
    assert all(f'"created_at" >= \'{hour}' in sql for sql in of_rows)


def test_roll_ups_outlive_the_rows(settings):
    settings.LEDGER_RETENTION_DAYS = 30
    write(3, ago=31 * DAY)
    write(1, ago=29 * DAY)
    settings.LEDGER_RETENTION_DAYS = 400
    roll_up()
    settings.LEDGER_RETENTION_DAYS = 30

    tasks.purge_kind("ledger entries")

    assert LedgerEntry.objects.count() == 1
    assert requests_in(UsageHour) == requests_in(UsageDay) == 4


def test_a_row_of_an_hour_whose_rows_were_deleted_does_not_replace_its_roll_up(
    settings,
):
    write(3, ago=31 * DAY)
    roll_up()
    settings.LEDGER_RETENTION_DAYS = 30
    tasks.purge_kind("ledger entries")

    write(1, ago=31 * DAY)
    roll_up()

    assert requests_in(UsageHour) == requests_in(UsageDay) == 3


def test_roll_ups_are_deleted_with_age_too(settings):
    write(ago=20 * DAY)
    write(ago=2 * DAY)
    roll_up()
    settings.LEDGER_RETENTION_DAYS = 10
    settings.USAGE_HOURLY_RETENTION_DAYS = 10
    settings.USAGE_DAILY_RETENTION_DAYS = 30

    for name in ("usage by hour", "hours of the ledger", "usage by day"):
        tasks.purge_kind(name)

    assert (UsageHour.objects.count(), UsageDay.objects.count()) == (1, 2)
    assert LedgerHour.objects.count() == 1
