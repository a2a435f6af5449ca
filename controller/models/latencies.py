"""How long answers took, as counts by length, which add up over any time.

Each bound is twice the one before: a percentile is right within a factor of the square
root of two at worst, and mostly within a tenth.
"""

from collections.abc import Sequence

from django.db.models import Count, Q

# Seconds. One count for each, of what took no longer, and one of all that took longer.
BOUNDS = tuple(0.01 * 2**power for power in range(17))
NUM_COUNTS = len(BOUNDS) + 1


def columns_of(what: str) -> tuple[str, ...]:
    """Names of the counts' columns, the shortest times first."""
    return tuple(f"{what}_{number}" for number in range(NUM_COUNTS))


TTFT = columns_of("ttft_count")
DURATION = columns_of("duration_count")
COLUMNS = (*TTFT, *DURATION)


def counts_of_rows() -> dict[str, Count]:
    """`COLUMNS` as aggregates over ledger entries."""
    return {
        column: Count("pk", filter=_between(field, number))
        for columns, field in ((TTFT, "ttft_seconds"), (DURATION, "duration_seconds"))
        for number, column in enumerate(columns)
    }


def _between(field: str, number: int) -> Q:
    is_counted = Q()
    if number > 0:
        is_counted &= Q(**{f"{field}__gt": BOUNDS[number - 1]})
    if number < len(BOUNDS):
        is_counted &= Q(**{f"{field}__lte": BOUNDS[number]})
    return is_counted


def percentile(counts: Sequence[int], percent: float) -> float | None:
    """Seconds that so many per cent took no longer than; None of nothing.

    Between two bounds times are taken to be spread evenly by their logarithm. What is
    above the last bound counts as the bound.
    """
    rank = sum(counts) * percent / 100
    if not rank:
        return None
    below = 0
    for bound, count in zip(BOUNDS, counts, strict=False):
        if below + count >= rank:
            return float(bound * 2 ** ((rank - below) / count - 1))
        below += count
    return float(BOUNDS[-1])
