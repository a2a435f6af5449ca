"""The days and months that budgets are for, in UTC."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self


@dataclass(frozen=True, slots=True)
class Period:
    starts_on: date
    ends_at: datetime

    @classmethod
    def of(cls, kind: str, moment: datetime) -> Self:
        """The present period, at this moment, of a budget of this kind."""
        is_monthly = kind.endswith("per_month")
        return cls.month(moment) if is_monthly else cls.day(moment)

    @classmethod
    def day(cls, moment: datetime) -> Self:
        """The day of this moment."""
        today = moment.astimezone(UTC).date()
        return cls(today, _midnight(today + timedelta(days=1)))

    @classmethod
    def month(cls, moment: datetime) -> Self:
        """The calendar month of this moment."""
        first = moment.astimezone(UTC).date().replace(day=1)
        in_next = first + timedelta(days=32)
        return cls(first, _midnight(in_next.replace(day=1)))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
