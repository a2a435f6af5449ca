"""Whose time as a guest is over, in memory."""

from dataclasses import dataclass

from django.utils.timezone import now

from controller.errors import GuestLinkEnded
from controller.identity.caller import Caller
from controller.models import GuestLink


@dataclass(frozen=True, slots=True)
class GuestBook:
    """The links that were revoked before their end; made anew with each change."""

    revoked: frozenset[int] = frozenset()

    def check(self, caller: Caller) -> None:
        """Raise `GuestLinkEnded` for a guest who may ask nothing more."""
        if self.has_ended(caller):
            raise GuestLinkEnded

    def has_ended(self, caller: Caller) -> bool:
        """Whether a guest's link is over. No I/O; false for all who are no guests."""
        if caller.guest_link_id is None or caller.ends_at is None:
            return False
        return caller.guest_link_id in self.revoked or caller.ends_at <= now()


def read_guest_book() -> GuestBook:
    """One query. Those whose time is over need no word: their guests bear their end."""
    revoked = GuestLink.objects.filter(revoked_at__isnull=False, expires_at__gt=now())
    return GuestBook(frozenset(revoked.values_list("pk", flat=True)))
