"""The limits that hold for a person, and what of them is used."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.utils.timezone import now

from controller.limits.periods import Period
from controller.models import ApiKey, Limit, Membership, Spending, User


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit as it stands now. Of rates it has no use: web processes count them."""

    limit: Limit
    used: int | None = None
    """Of a budget in its period, as web processes last said; in the limit's `units`."""
    resets_at: datetime | None = None

    @property
    def percent(self) -> int:
        """How much of a budget is used, 100 at most."""
        if not self.limit.units:
            return 100
        return min(100, 100 * (self.used or 0) // self.limit.units)

    @property
    def is_in_money(self) -> bool:
        return self.limit.kind in Limit.IN_MONEY

    @property
    def amount_in_words(self) -> str:
        return self.limit.in_words(self.limit.units)

    @property
    def used_in_words(self) -> str:
        return self.limit.in_words(self.used or 0)


def with_current_spendings(limits: QuerySet[Limit]) -> QuerySet[Limit]:
    """These limits with their owners and what `standing` reads. Two queries."""
    starts = [period(now()).starts_on for period in (Period.day, Period.month)]
    current = Spending.objects.with_used().filter(period_start__in=starts)
    return limits.select_related("key__user", "user", "team").prefetch_related(
        Prefetch("spendings", current, to_attr="current_spendings")
    )


def standing(limit: Any) -> Standing:
    """How a limit `with_current_spendings` stands. No query."""
    if limit.kind not in Limit.BUDGETS:
        return Standing(limit)
    period = Period.of(limit.kind, now())
    used = sum(
        row.used
        for row in limit.current_spendings
        if row.period_start == period.starts_on
    )
    return Standing(limit, used, period.ends_at)


def limits_of(user: User) -> QuerySet[Limit]:
    """Those that hold for this person: their own, of the keys they can use, of their
    teams, and everyone's."""
    return Limit.objects.filter(
        Q(user=user)
        | Q(key__in=ApiKey.objects.active().filter(user=user))
        | Q(team__in=Membership.objects.filter(user=user).values("team"))
        | Q(user=None, key=None, team=None)
    )


def standings_of(user: User) -> list[Standing]:
    """All limits that hold for this person, their own first. Three queries."""
    limits = with_current_spendings(limits_of(user))
    keys = ApiKey.objects.active().filter(user=user)
    all_ = [*map(standing, limits), *requests_at_once(keys)]
    return sorted(all_, key=lambda each: _width(each.limit))


def requests_at_once(keys: Iterable[ApiKey]) -> list[Standing]:
    """The keys' own numbers of requests at once: fields of keys, no rows of limits."""
    return [
        Standing(Limit(key=key, kind=Limit.Kind.CONCURRENT, amount=key.max_concurrent))
        for key in keys
        if key.max_concurrent is not None
    ]


def _width(limit: Limit) -> tuple[int, str]:
    """By which a person reads: their own, each key's, each team's, everyone's."""
    if limit.user is not None:
        return 0, ""
    if limit.key is not None:
        return 1, limit.key.name
    return (2, limit.team.name) if limit.team is not None else (3, "")
