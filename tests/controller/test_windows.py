import math

import pytest

from controller.limits.periods import Period
from controller.limits.rates import seconds
from controller.limits.windows import Bucket
from tests.clocks import Clock


@pytest.fixture
def clock():
    return Clock(0.0)


def test_a_minutes_allowance_may_be_used_at_once_and_no_more(clock):
    bucket = Bucket(60, clock)

    assert all(bucket.take_here(1) for _ in range(60))
    assert not bucket.take_here(1)


def test_an_allowance_comes_back_with_time_and_never_grows_beyond_a_minutes(clock):
    bucket = Bucket(60, clock)
    bucket.take_here(60)

    clock.seconds += 1
    assert bucket.remaining == 1
    clock.seconds += 600
    assert bucket.remaining == 60


def test_nobody_gets_two_allowances_around_the_turn_of_a_minute(clock):
    bucket = Bucket(60, clock)
    clock.seconds = 59.9
    bucket.take_here(60)

    clock.seconds = 60.1

    assert not bucket.take_here(1)


def test_what_was_used_beyond_what_was_foreseen_must_come_back_first(clock):
    bucket = Bucket(60, clock)
    bucket.take_here(60)
    bucket.give(-30)

    assert bucket.remaining == 0
    assert bucket.seconds_until(1) == pytest.approx(31)


def test_more_than_a_minutes_allowance_never_comes(clock):
    assert Bucket(60, clock).seconds_until(61) == math.inf
    assert Bucket(0, clock).seconds_until(1) == math.inf


def test_a_smaller_allowance_counts_what_is_used_already(clock):
    bucket = Bucket(60, clock)
    bucket.take_here(50)

    bucket.resize(40)

    assert bucket.remaining == 0
    assert bucket.standing() == (0, pytest.approx(75))


@pytest.mark.parametrize(
    ("wait", "written"), [(0, "0ms"), (0.12, "120ms"), (1.5, "1.5s"), (360, "6m0s")]
)
def test_a_wait_is_written_as_openai_writes_it(wait, written):
    assert seconds(wait) == written


def test_a_day_and_a_month_end_at_midnight_in_utc():
    from datetime import UTC, datetime

    moment = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    assert Period.day(moment).ends_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert Period.month(moment).ends_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert Period.month(moment).starts_on.isoformat() == "2026-12-01"
