"""Samples of workers as lines to draw: one point for each step of time."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils.timezone import now

from controller.models import WorkerSample

COLUMNS = (
    "worker_id",
    "taken_at",
    "start_id",
    "running",
    "waiting",
    "kv_cache_usage",
    "generation_tokens_total",
    "num_requests",
    "num_errors",
    "num_first_tokens",
    "ttft_seconds",
)
MAX_POINTS = 240


@dataclass(slots=True)
class Point:
    """What was seen of a worker in one step, by all web processes together."""

    queue: int | None = None
    kv: float | None = None
    start_id: str = ""
    tokens_total: int | None = None
    num_requests: int = 0
    num_errors: int = 0
    num_first_tokens: int = 0
    ttft_seconds: float = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Take in a later sample: of gauges the latest counts, counts are added."""
        if row["running"] is not None:
            self.queue = row["running"] + row["waiting"]
            self.kv = row["kv_cache_usage"]
            self.start_id = row["start_id"]
            self.tokens_total = row["generation_tokens_total"]
        self.num_requests += row["num_requests"]
        self.num_errors += row["num_errors"]
        self.num_first_tokens += row["num_first_tokens"]
        self.ttft_seconds += row["ttft_seconds"]

    @property
    def ttft(self) -> float | None:
        if not self.num_first_tokens:
            return None
        return self.ttft_seconds / self.num_first_tokens


@dataclass(slots=True)
class Series:
    """One worker's columns, as long as `times`; None where nothing is known."""

    times: list[int]
    queue: list[int | None] = field(default_factory=list)
    kv: list[float | None] = field(default_factory=list)
    tokens_per_second: list[float | None] = field(default_factory=list)
    ttft: list[float | None] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)


def series_of(
    period: timedelta, worker_ids: Iterable[UUID] | None = None
) -> dict[UUID, Series]:
    """The lines of these workers, or of all, over the last period. One query."""
    step = max(timedelta(seconds=60), period / MAX_POINTS)
    until = now()
    since = until - period
    rows = WorkerSample.objects.filter(taken_at__gte=since).order_by("taken_at")
    if worker_ids is not None:
        rows = rows.filter(worker__in=list(worker_ids))
    num_points = int(period / step)
    points: defaultdict[UUID, dict[int, Point]] = defaultdict(dict)
    for row in rows.values(*COLUMNS).iterator():
        at = min(num_points - 1, int((row["taken_at"] - since) / step))
        points[row["worker_id"]].setdefault(at, Point()).add(row)
    times = [int((since + step * number).timestamp()) for number in range(num_points)]
    return {each: _series(times, points[each], step) for each in points}


def recent_outcomes(period: timedelta, before: datetime) -> dict[UUID, Point]:
    """What came of each worker's requests in the period. One query."""
    rows = WorkerSample.objects.filter(taken_at__gte=before - period)
    points: defaultdict[UUID, Point] = defaultdict(Point)
    for row in rows.values(*COLUMNS).iterator():
        points[row["worker_id"]].add(row)
    return dict(points)


def _series(times: list[int], points: dict[int, Point], step: timedelta) -> Series:
    series = Series(times)
    before: tuple[int, Point] | None = None
    for at in range(len(times)):
        point = points.get(at)
        series.queue.append(point.queue if point else None)
        series.kv.append(point.kv if point else None)
        series.ttft.append(point.ttft if point else None)
        series.requests.append(point.num_requests if point else 0)
        series.errors.append(point.num_errors if point else 0)
        rate = None
        if point is not None and point.tokens_total is not None:
            rate = _rate(before, at, point, step)
            before = at, point
        series.tokens_per_second.append(rate)
    return series


def _rate(
    before: tuple[int, Point] | None, at: int, point: Point, step: timedelta
) -> float | None:
    """Tokens a second since the point before; None where an engine began anew."""
    if before is None or before[1].start_id != point.start_id:
        return None
    assert point.tokens_total is not None
    assert before[1].tokens_total is not None
    made = point.tokens_total - before[1].tokens_total
    seconds = (at - before[0]) * step.total_seconds()
    return max(0.0, made / seconds)
