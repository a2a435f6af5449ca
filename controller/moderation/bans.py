"""Who may not use models now, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.timezone import now

from controller.errors import UserBanned
from controller.identity.caller import Caller
from controller.models import Ban


@dataclass(frozen=True, slots=True)
class BanView:
    reason: str
    ends_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.ends_at is not None and self.ends_at <= now()


@dataclass(frozen=True, slots=True)
class BanBook:
    """The bans by user; made anew with each change."""

    bans: Mapping[int, BanView] = field(default_factory=dict)

    def check(self, caller: Caller) -> None:
        """Raise `UserBanned` for somebody who may not use models now."""
        error = self.refusal(caller)
        if error is not None:
            raise error

    def refusal(self, caller: Caller) -> UserBanned | None:
        """What the caller is refused with; None for who may use models."""
        if not self.bans or caller.user_id is None:
            return None
        ban = self.of(caller.user_id)
        return None if ban is None else UserBanned(ban.reason, ban.ends_at)

    def of(self, user_id: int) -> BanView | None:
        """The user's ban, if one holds now."""
        ban = self.bans.get(user_id)
        return None if ban is None or ban.has_ended else ban


def read_bans() -> BanBook:
    """The bans that hold; of several of one user the one that ends last. One query."""
    bans: dict[int, BanView] = {}
    rows = Ban.objects.in_force().order_by("created_at")
    for user_id, reason, ends_at in rows.values_list("user_id", "reason", "ends_at"):
        known = bans.get(user_id)
        if known is None or _ends_later(ends_at, known.ends_at):
            bans[user_id] = BanView(reason, ends_at)
    return BanBook(bans)


def _ends_later(one: datetime | None, other: datetime | None) -> bool:
    return other is not None and (one is None or one > other)
