"""How many second tries there may be, and how long they wait."""

import random

import pytest

from controller.relay.retrying import RetryBudget, pause_seconds
from tests.clocks import Clock


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def budget(settings, time) -> RetryBudget:
    settings.RETRY_FLOOR = 10
    settings.RETRY_PERCENT = 20
    return RetryBudget(time)


def take_all(budget: RetryBudget) -> int:
    taken = 0
    while budget.take():
        taken += 1
    return taken


def test_a_quiet_process_has_its_floor(budget, time):
    assert take_all(budget) == 10
    assert budget.num_refused == 1

    time.seconds += 10

    assert take_all(budget) == 10


def test_a_fifth_of_the_requests_may_be_tried_again(budget, time):
    take_all(budget)
    for _ in range(51):
        budget.note_request()

    assert take_all(budget) == 10


def test_hours_of_peace_buy_no_storm(budget, time):
    for _ in range(100_000):
        budget.note_request()
    time.seconds += 100_000

    assert take_all(budget) == 20


def test_a_failing_fleet_gets_no_more_than_a_fifth_on_top(budget, time):
    taken = 0
    for _ in range(10_000):  # 100 seconds of 100 requests each, all failing
        budget.note_request()
        time.seconds += 0.01
        taken += budget.take()

    assert taken == pytest.approx(10 + 2000 + 100, abs=2)


def test_without_share_and_floor_nothing_is_tried_again(settings):
    settings.RETRY_FLOOR = settings.RETRY_PERCENT = 0
    budget = RetryBudget()
    budget.note_request()

    assert not budget.take()


def test_pauses_grow_to_a_bound_and_differ():
    rng = random.Random(1)
    pauses = [
        [pause_seconds(number, rng) for _ in range(200)] for number in (1, 2, 3, 50)
    ]

    longest = [max(each) for each in pauses]
    assert longest == pytest.approx([0.025, 0.05, 0.1, 1.0], rel=0.05)
    assert all(len(set(each)) > 190 and min(each) >= 0 for each in pauses)
