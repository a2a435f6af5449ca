"""A breaker by itself: when it opens, for how long, and what closes it."""

import random

import pytest

from controller.fleet.breaker import (
    NUM_TRIALS,
    WINDOW_SIZE,
    Breaker,
    BreakerRules,
    BreakerState,
    Cause,
)
from tests.clocks import Clock

RULES = BreakerRules(
    window_seconds=30,
    min_requests=5,
    failure_share=0.5,
    open_seconds=5,
    longest_open_seconds=60,
)


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def breaker(time) -> Breaker:
    return Breaker(time, RULES, random.Random(1))


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.fail(Cause.ANSWERING_ERRORS, "it answered 500")


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.succeed()


def on_trial(breaker: Breaker, time: Clock) -> Breaker:
    """The breaker, opened and then half-open with one request on trial."""
    fail(breaker, 5)
    time.seconds += 100
    breaker.begin()
    return breaker


# -- Opening ---------------------------------------------------------------------------


def test_a_few_failures_say_nothing(breaker):
    fail(breaker, 4)

    assert breaker.bar() == ""
    assert breaker.state is BreakerState.CLOSED


def test_half_of_enough_requests_failing_opens_it_and_says_why(breaker):
    succeed(breaker, 4)
    fail(breaker, 3)
    assert breaker.state is BreakerState.CLOSED

    fail(breaker)

    assert breaker.state is BreakerState.OPEN
    assert breaker.bar() == "answering errors"
    assert breaker.reason == "4 of the last 8 failed, then: it answered 500"


def test_many_good_answers_outweigh_some_failures(breaker):
    for _ in range(300):
        succeed(breaker, 3)
        fail(breaker)

    assert breaker.state is BreakerState.CLOSED


def test_failures_of_long_ago_are_forgotten(breaker, time):
    fail(breaker, 4)
    time.seconds += 31

    fail(breaker, 4)

    assert breaker.state is BreakerState.CLOSED


def test_what_is_remembered_is_bounded(breaker):
    succeed(breaker, 10_000)
    assert len(breaker._outcomes) == WINDOW_SIZE

    fail(breaker, WINDOW_SIZE // 2)  # half of what it remembers, little of what was

    assert breaker.state is BreakerState.OPEN


def test_a_refused_connection_opens_it_at_once(breaker):
    breaker.trip(Cause.REFUSING, "refuses connections")

    assert breaker.bar() == "refusing connections"


def test_an_answer_that_breaks_off_is_no_success(breaker):
    """Nine streams of ten cut in the middle are more than half."""
    for number in range(10):
        breaker.succeed()
        if number:
            breaker.fail(Cause.BREAKING_OFF, "connection closed", had_begun=True)

    assert breaker.state is BreakerState.OPEN
    assert breaker.reason.startswith("4 of the last 5 failed")


# -- Trials ----------------------------------------------------------------------------


def test_after_its_time_a_few_requests_go_on_trial_and_no_more(breaker, time):
    fail(breaker, 5)
    time.seconds += 3
    assert breaker.bar()
    time.seconds += 5

    for _ in range(NUM_TRIALS):
        assert breaker.bar() == ""
        breaker.begin()

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.bar() == "on trial"


def test_a_trial_that_says_nothing_leaves_its_place_to_another(breaker, time):
    fail(breaker, 5)
    time.seconds += 100
    for _ in range(NUM_TRIALS):
        breaker.begin()

    breaker.end()  # the client left, or asked for nonsense

    assert breaker.bar() == ""
    assert breaker.state is BreakerState.HALF_OPEN


def test_enough_successes_close_it(breaker, time):
    on_trial(breaker, time)
    succeed(breaker, NUM_TRIALS - 1)
    assert breaker.state is BreakerState.HALF_OPEN

    succeed(breaker)

    assert breaker.state is BreakerState.CLOSED
    assert breaker.reason == ""
    fail(breaker, 4)  # the failures before are not counted again
    assert breaker.state is BreakerState.CLOSED


def test_one_failure_on_trial_opens_it_again(breaker, time):
    on_trial(breaker, time)
    succeed(breaker)

    fail(breaker)

    assert breaker.state is BreakerState.OPEN
    assert breaker.reason == "on trial: it answered 500"


def test_it_stays_open_longer_each_time_up_to_a_bound(breaker, time):
    times = []
    fail(breaker, 5)
    for _ in range(8):
        opened_at = time.seconds
        while breaker.bar():
            time.seconds += 0.1
        times.append(time.seconds - opened_at)
        breaker.begin()
        fail(breaker)

    wanted = [5, 10, 20, 40, 60, 60, 60, 60]
    assert times == pytest.approx(wanted, rel=0.23)
    assert (
        len({round(each / want, 2) for each, want in zip(times, wanted, strict=True)})
        > 4
    )


def test_after_a_long_good_time_it_begins_with_a_short_one_again(breaker, time):
    for _ in range(4):
        on_trial(breaker, time)
        fail(breaker)
    time.seconds += 100
    breaker.begin()
    succeed(breaker, NUM_TRIALS)
    time.seconds += 61

    fail(breaker, 5)
    time.seconds += 6.1

    assert breaker.bar() == ""


def test_what_was_under_way_when_it_opened_changes_nothing(breaker):
    fail(breaker, 5)
    reason = breaker.reason

    fail(breaker, 5)
    succeed(breaker, 5)

    assert breaker.state is BreakerState.OPEN
    assert breaker.reason == reason


# -- What others say -------------------------------------------------------------------


def test_a_heartbeat_puts_a_refusing_worker_on_trial_once(breaker, time):
    breaker.trip(Cause.REFUSING, "refuses connections")
    breaker.hear()
    assert breaker.bar() == ""
    breaker.begin()

    breaker.trip(Cause.REFUSING, "refuses connections")
    breaker.hear()

    assert breaker.bar() == "refusing connections"
    time.seconds += 12.1
    assert breaker.bar() == ""


def test_a_heartbeat_does_not_excuse_failures(breaker):
    fail(breaker, 5)

    breaker.hear()

    assert breaker.bar() == "answering errors"


def test_while_health_checks_fail_no_request_is_risked(breaker, time):
    fail(breaker, 5)
    breaker.mark_down("no answer")
    time.seconds += 1000
    breaker.hear()
    assert breaker.bar()

    breaker.mark_up()

    assert breaker.bar() == ""


def test_a_worker_whose_health_checks_fail_is_out_at_once(breaker, time):
    breaker.mark_down("its health check failed 3 times: no answer within 5 s")
    assert breaker.bar() == "hanging"

    breaker.mark_up()

    assert breaker.bar() == ""  # on trial, however short the time
    assert breaker.state is BreakerState.OPEN


def test_another_start_of_the_engine_begins_with_a_clean_sheet(breaker, time):
    for _ in range(5):
        on_trial(breaker, time)
        fail(breaker)
    breaker.mark_down("no answer")

    breaker.reset()

    assert breaker.bar() == ""
    assert not breaker.is_down
    fail(breaker, 5)
    time.seconds += 6.1
    assert breaker.bar() == ""


@pytest.mark.parametrize(
    ("cause", "is_last_resort"),
    [
        (Cause.ANSWERING_ERRORS, True),
        (Cause.BREAKING_OFF, True),
        (Cause.HANGING, False),
        (Cause.REFUSING, False),
    ],
)
def test_only_who_takes_requests_is_a_last_resort(breaker, cause, is_last_resort):
    assert not breaker.is_last_resort

    breaker.trip(cause, "")

    assert breaker.is_last_resort == is_last_resort
    breaker.mark_down("no answer")
    assert not breaker.is_last_resort


def test_each_change_is_told_once(time):
    states = []
    breaker = Breaker(
        time, RULES, on_change=lambda changed: states.append(changed.state)
    )

    on_trial(breaker, time)
    succeed(breaker, NUM_TRIALS)

    assert states == ["open", "half-open", "closed"]
