"""All limits in memory: which of them bind a caller, without a query."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controller.identity.caller import Caller
from controller.models import LedgerEntry, Limit, Membership

Kind = Limit.Kind

# Of which a caller has some: (what it is, its id).
Owner = tuple[str, int]
EVERYONE: Owner = ("everyone", 0)


@dataclass(frozen=True, slots=True)
class LimitView:
    id: int
    kind: str
    owner: str
    """As refusals name it, such as `team 'Research'`."""
    amount: int
    """Requests, tokens, or billionths of money."""

    @property
    def is_budget(self) -> bool:
        return self.kind in Limit.BUDGETS

    @property
    def is_in_money(self) -> bool:
        return self.kind in Limit.IN_MONEY


@dataclass(frozen=True, slots=True)
class LimitBook:
    limits: Mapping[Owner, tuple[LimitView, ...]] = field(default_factory=dict)
    teams: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Of each user, those that have limits. A chat names no team: it counts for all."""

    def binding(self, caller: Caller) -> list[LimitView]:
        """The limits that bind this caller, the narrowest owner's first.

        The probes of the fleet's health are nobody's use.
        """
        if not self.limits or caller.face == LedgerEntry.Face.PROBE:
            return []
        return [
            limit
            for owner in self._owners_of(caller)
            for limit in self.limits.get(owner, ())
        ]

    def _owners_of(self, caller: Caller) -> Iterator[Owner]:
        if caller.key_id is not None:
            yield "key", caller.key_id
        if caller.user_id is not None:
            yield "user", caller.user_id
        if caller.team_id is not None:
            yield "team", caller.team_id
        elif caller.face == LedgerEntry.Face.CHAT and caller.user_id is not None:
            for team_id in self.teams.get(caller.user_id, ()):
                yield "team", team_id
        yield EVERYONE

    def __iter__(self) -> Iterator[LimitView]:
        for limits in self.limits.values():
            yield from limits


def load_book() -> LimitBook:
    """The limits as they stand in the database. Two queries."""
    limits: dict[Owner, tuple[LimitView, ...]] = {}
    for row in Limit.objects.with_owners():
        owner = _owner_of(row)
        view = LimitView(row.pk, row.kind, row.owner_name, row.units)
        limits[owner] = (*limits.get(owner, ()), view)
    teams: dict[int, tuple[int, ...]] = {}
    members = Membership.objects.filter(team__limits__isnull=False).distinct()
    for user_id, team_id in members.values_list("user_id", "team_id"):
        teams[user_id] = (*teams.get(user_id, ()), team_id)
    return LimitBook(limits, teams)


def _owner_of(row: Limit) -> Owner:
    for what in ("key", "user", "team"):
        pk = getattr(row, f"{what}_id")
        if pk is not None:
            return what, pk
    return EVERYONE
