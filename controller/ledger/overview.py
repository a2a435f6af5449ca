"""What was asked of the site over time, split by one thing, and by whom most.

From roll-ups, and the present hour's rows: the same few queries for an empty ledger
and for one of ten million rows.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.timezone import now

from controller.ledger.names import OWNED_KEY, Names
from controller.ledger.usage import Groups, Tally, UsageReader
from controller.models import ApiKey, Team, User
from controller.models.usage import DAY, HOUR, day_of, hour_of

# What the plots may be split by: the column, and where its ids have names.
SPLITS: dict[str, tuple[str, Any, str]] = {
    "model": ("model", None, ""),
    "face": ("face", None, ""),
    "team": ("team_id", Team, "name"),
}
MAX_SERIES = 5  # the rest is one more
NUM_TOP = 5


@dataclass(frozen=True, slots=True)
class Span:
    """The last 24 hours by the hour, or some days by the day, to now."""

    num_steps: int
    step: timedelta
    since: datetime
    until: datetime

    @classmethod
    def asked(cls, text: str | None) -> "Span":
        """`1`, `7` or `30` days; one for what is not offered."""
        num_days = {"7": 7, "30": 30}.get(text or "")
        if num_days is None:
            until = hour_of(now()) + HOUR
            return cls(24, HOUR, until - DAY, until)
        until = day_of(now()) + DAY
        return cls(num_days, DAY, until - num_days * DAY, until)

    @property
    def num_days(self) -> int:
        return int((self.until - self.since) / DAY)

    @property
    def starts(self) -> list[datetime]:
        return [self.since + number * self.step for number in range(self.num_steps)]


@dataclass(frozen=True, slots=True)
class Part:
    """One series of the plots: its label, and a tally for each step. A label of ""
    stands for nothing, None for all others together."""

    label: str | None
    tallies: list[Tally]


@dataclass(frozen=True, slots=True)
class Top:
    label: str
    tally: Tally


class Overview:
    """At most nine queries, however much there is."""

    def __init__(self, span: Span, split: str) -> None:
        self.span = span
        self.split = split
        self._reader = UsageReader(span.since, span.until)
        column, table, name = SPLITS[split]
        self.parts = self._parts(self._over_time(column), Names(table, name))
        self.total = Tally.total(each for part in self.parts for each in part.tallies)
        self.num_missing_hours = self._reader.num_missing_hours
        kinds = self._reader.over_hours if span.step == HOUR else self._reader.by
        tallies = kinds("user_id", "key_id")
        self.users = _top(tallies, 0, Names(User, "username"))
        self.keys = _top(tallies, 1, Names(ApiKey, OWNED_KEY))

    def plots(self) -> dict[str, list[Any]]:
        """Columns for the page's script: of each part by its number."""
        steps = "times" if self.span.step == HOUR else "days"
        columns: dict[str, list[Any]] = {
            steps: [int(start.timestamp()) for start in self.span.starts]
        }
        for number, part in enumerate(self.parts):
            columns |= {
                f"requests{number}": [each.num_requests for each in part.tallies],
                f"tokens{number}": [each.tokens for each in part.tallies],
                f"ttft{number}": [each.mean_ttft_seconds for each in part.tallies],
                f"errors{number}": [each.num_errors for each in part.tallies],
            }
        return columns

    def _over_time(self, column: str) -> Groups:
        read = self._reader.by_hour if self.span.step == HOUR else self._reader.by_day
        return read(column)

    def _parts(self, tallies: Groups, names: Names) -> list[Part]:
        """Those with most requests, and the others as one."""
        totals: defaultdict[Any, int] = defaultdict(int)
        for (_at, kind), tally in tallies.items():
            totals[kind] += tally.num_requests
        ordered = sorted(totals, key=lambda kind: (-totals[kind], str(kind)))
        shown, rest = ordered[:MAX_SERIES], set(ordered[MAX_SERIES:])
        labels = names.of(shown)
        parts = [
            Part(labels[kind], [self._at(tallies, at, {kind}) for at in self._starts])
            for kind in shown
        ]
        if rest:
            parts.append(
                Part(None, [self._at(tallies, at, rest) for at in self._starts])
            )
        return parts

    @property
    def _starts(self) -> list[datetime]:
        return self.span.starts

    def _at(self, tallies: Groups, at: datetime, kinds: set[Any]) -> Tally:
        found = (tallies.get((at, kind)) for kind in kinds)
        return Tally.total(each for each in found if each is not None)


def _top(tallies: Groups, at: int, names: Names) -> list[Top]:
    """Those who used most tokens; what belongs to nobody is left out."""
    sums: defaultdict[Any, Tally] = defaultdict(Tally)
    for kind, tally in tallies.items():
        if kind[at] is not None:
            sums[kind[at]] += tally
    most = sorted(sums, key=lambda kind: (-sums[kind].tokens, kind))[:NUM_TOP]
    labels = names.of(most)
    return [Top(labels[kind], sums[kind]) for kind in most]
