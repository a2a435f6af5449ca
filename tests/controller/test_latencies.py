"""Percentiles from counts by length, summed over any time in SQL."""

import random
from datetime import timedelta

import pytest
from django.utils.timezone import now

from controller.ledger.queue import write_batch
from controller.ledger.rollups import roll_up
from controller.ledger.usage import UsageReader
from controller.models import LedgerEntry, UsageDay, UsageHour, latencies
from controller.models.latencies import BOUNDS, NUM_COUNTS, percentile
from controller.models.usage import DAY, day_of
from tests.controller.test_ledger_queue import finished


def counts_of(seconds: list[float]) -> list[int]:
    counts = [0] * NUM_COUNTS
    for each in seconds:
        counts[sum(each > bound for bound in BOUNDS)] += 1
    return counts


def write(seconds, *, days_ago=0, **fields) -> None:
    moment = now() - timedelta(days=days_ago)
    write_batch(
        [
            finished(
                created_at=moment, ttft_seconds=each, duration_seconds=each, **fields
            )
            for each in seconds
        ]
    )


def test_nothing_has_no_percentile():
    assert percentile([0] * NUM_COUNTS, 50) is None
    assert percentile((), 50) is None


@pytest.mark.parametrize("percent", [50, 95])
def test_a_percentile_is_near_the_true_one(percent):
    draw = random.Random(1)
    seconds = sorted(draw.lognormvariate(0, 1) for _ in range(10_000))

    estimated = percentile(counts_of(seconds), percent)

    true = seconds[len(seconds) * percent // 100]
    assert estimated == pytest.approx(true, rel=0.1)


def test_equal_times_are_right_within_their_two_bounds():
    estimated = percentile(counts_of([1.0] * 100), 50)

    assert estimated == pytest.approx(1.0, rel=0.42)


def test_what_is_above_the_last_bound_counts_as_the_bound():
    assert percentile(counts_of([5000.0]), 95) == BOUNDS[-1]


@pytest.mark.django_db(transaction=True)
def test_percentiles_are_the_same_from_rows_hours_and_days():
    draw = random.Random(2)
    samples = [[draw.lognormvariate(-1, 1) for _ in range(50)] for _ in range(3)]
    for days_ago, seconds in zip((0, 1, 3), samples, strict=True):
        write(seconds, days_ago=days_ago)
        write([0.001, 9000.0], days_ago=days_ago, model="other")  # the ends
    roll_up()
    today = day_of(now())
    reader = UsageReader(today - 4 * DAY, today + DAY, with_latencies=True)

    tallies = reader.by("model")

    everything = [each for seconds in samples for each in seconds]
    assert list(tallies["llama",].ttft_counts) == counts_of(everything)
    assert list(tallies["other",].duration_counts) == counts_of([0.001, 9000.0] * 3)
    assert tallies["llama",].ttft_p95 == percentile(counts_of(everything), 95)
    by_day = reader.by_day()
    assert list(by_day[today - 3 * DAY,].ttft_counts)[-1] == 1


@pytest.mark.django_db(transaction=True)
def test_requests_without_a_first_token_count_as_durations_only():
    write_batch([finished(ttft_seconds=None, duration_seconds=0.5)])
    today = day_of(now())

    (tally,) = UsageReader(today, today + DAY, with_latencies=True).by().values()

    assert (sum(tally.ttft_counts), sum(tally.duration_counts)) == (0, 1)
    assert tally.ttft_p50 is None


@pytest.mark.django_db(transaction=True)
def test_roll_ups_from_before_count_no_latencies():
    write([0.3], days_ago=2)
    roll_up()
    nothing = dict.fromkeys(latencies.COLUMNS)
    for table in (UsageHour, UsageDay):
        table.objects.update(**nothing)
    today = day_of(now())

    (tally,) = UsageReader(today - 3 * DAY, today, with_latencies=True).by().values()

    assert (tally.num_requests, tally.ttft_p50) == (1, None)
    assert LedgerEntry.objects.count() == 1
