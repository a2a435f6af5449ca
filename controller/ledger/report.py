"""What a page of usage shows: totals, tables and the days for its plots."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.timezone import now

from controller.ledger.names import OWNED_KEY, Names
from controller.ledger.usage import Tally, UsageReader
from controller.models import ApiKey, LedgerEntry, Team, User
from controller.models.usage import DAY, day_of

PERIODS = (7, 30, 90, 365)  # days, today among them
DEFAULT_PERIOD = 30
MAX_LINES = 100  # of a table; the rest is one line


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table. `label` is "" for requests that belong to nothing there;
    None for the sum of those below the longest table."""

    label: str | None
    tally: Tally


@dataclass(frozen=True, slots=True)
class Period:
    num_days: int
    since: datetime
    until: datetime

    @classmethod
    def asked(cls, text: str | None) -> "Period":
        """The days that a page's address asks for; thirty for what is not offered."""
        offered = {str(each): each for each in PERIODS}
        num_days = offered.get(text or "", DEFAULT_PERIOD)
        until = day_of(now()) + DAY
        return cls(num_days, until - num_days * DAY, until)

    def entries(self, only: Q) -> QuerySet[LedgerEntry]:
        """The ledger's rows of the period, for a file."""
        return LedgerEntry.objects.filter(
            only, created_at__gte=self.since, created_at__lt=self.until
        )


class Report:
    """The usage of a period, narrowed by `only`.

    Eight queries, and one for the names in a table: requests are read by day, and once
    for all tables by `groups` together.
    """

    def __init__(
        self, period: Period, groups: tuple[str, ...], only: Q | None = None
    ) -> None:
        self.period = period
        reader = UsageReader(period.since, period.until, only, with_latencies=True)
        by_day = {day: tally for (day,), tally in reader.by_day().items()}
        starts = (period.since + number * DAY for number in range(period.num_days))
        self.days = [(start, by_day.get(start, Tally())) for start in starts]
        self.total = Tally.total(by_day.values())
        self.num_missing_hours = reader.num_missing_hours
        self._groups = groups
        self._kinds = reader.by(*groups)

    def by_model(self) -> list[Line]:
        return self._lines("model", Names())

    def by_key(self, *, with_owners: bool = False) -> list[Line]:
        """`with_owners`: with the names of those who hold the keys."""
        column = OWNED_KEY if with_owners else "name"
        return self._lines("key_id", Names(ApiKey, column))

    def by_user(self) -> list[Line]:
        return self._lines("user_id", Names(User, "username"))

    def by_team(self) -> list[Line]:
        return self._lines("team_id", Names(Team, "name"))

    def used_days(self) -> list[tuple[datetime, Tally]]:
        """The days with requests, the latest first."""
        return [each for each in reversed(self.days) if each[1].num_requests]

    def plots(self) -> dict[str, list[Any]]:
        """The days as columns, for the page's script. Times are UNIX seconds."""
        tallies = [tally for _start, tally in self.days]
        return {
            "days": [int(start.timestamp()) for start, _tally in self.days],
            "prompt": [each.prompt_tokens for each in tallies],
            "completion": [each.completion_tokens for each in tallies],
            "answered": [each.num_answered for each in tallies],
            "errors": [each.num_errors for each in tallies],
            "ttft_p50": [each.ttft_p50 for each in tallies],
            "ttft_p95": [each.ttft_p95 for each in tallies],
            "duration_p50": [each.duration_p50 for each in tallies],
            "duration_p95": [each.duration_p95 for each in tallies],
            "cost": [each.cost for each in tallies],
        }

    def _lines(self, group: str, names: Names) -> list[Line]:
        """The most expensive first; then those with most tokens."""
        at = self._groups.index(group)
        tallies: defaultdict[Any, Tally] = defaultdict(Tally)
        for kind, tally in self._kinds.items():
            tallies[kind[at]] += tally
        ordered = sorted(
            tallies.items(),
            key=lambda each: (-each[1].cost_nanos, -each[1].tokens, str(each[0])),
        )
        shown, rest = ordered[:MAX_LINES], ordered[MAX_LINES:]
        labels = names.of([kind for kind, _tally in shown])
        lines = [Line(labels[kind], tally) for kind, tally in shown]
        if rest:
            lines.append(Line(None, Tally.total(tally for _kind, tally in rest)))
        return lines
