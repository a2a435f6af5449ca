"""The teams of people who signed in, in memory: kept as keys are (`keyring.py`).

A user's teams cost one query, the first time; a change of any team empties the memory.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from django.db import Error as DatabaseError

from controller.errors import StoreUnavailable
from controller.models import Membership

MAX_USERS = 100_000


def teams_of(user_id: int) -> frozenset[int]:
    """The ids of the teams that the user is in. One query."""
    memberships = Membership.objects.filter(user_id=user_id)
    return frozenset(memberships.values_list("team_id", flat=True))


class Memberships:
    """`in_thread` runs a sync function with the database, off the event loop."""

    def __init__(self, in_thread: Callable[..., Awaitable[frozenset[int]]]) -> None:
        self._in_thread = in_thread
        self._known: OrderedDict[int, frozenset[int]] = OrderedDict()
        self._generation = 0

    async def teams_of(self, user_id: int) -> frozenset[int]:
        """The user's teams. Raises `StoreUnavailable` where they are neither known nor
        to be read."""
        known = self._known.get(user_id)
        if known is not None:
            self._known.move_to_end(user_id)
            return known
        generation = self._generation
        try:
            found = await self._in_thread(teams_of, user_id)
        except DatabaseError as exc:
            raise StoreUnavailable from exc
        if generation == self._generation:  # else read before a change that we know of
            self._known[user_id] = found
            if len(self._known) > MAX_USERS:
                self._known.popitem(last=False)
        return found

    def forget(self) -> None:
        """Ask the database anew about everybody."""
        self._generation += 1
        self._known.clear()
