"""Who people are on the chat page, in memory: kept as keys are (`keyring.py`).

A user costs one query, the first time, and a guest two; a change of any team or guest
link empties the memory.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from django.db import Error as DatabaseError

from controller.errors import StoreUnavailable
from controller.identity.caller import Caller, chat_caller
from controller.models import GuestLink, LedgerEntry, Membership, User

MAX_USERS = 100_000


def read_caller(user_id: int) -> Caller:
    """Who this user is, with all their teams; a guest speaks for the link's team
    alone. One query, for a guest one more."""
    rows = User.objects.filter(pk=user_id).values_list(
        "guest_link_id", "memberships__team_id"
    )
    found = list(rows)
    for guest_link_id, _team_id in found:
        if guest_link_id is not None:
            return guest_of(GuestLink.objects.get(pk=guest_link_id), user_id)
    teams = (team_id for _link_id, team_id in found)
    return chat_caller(user_id, frozenset(each for each in teams if each is not None))


def caller_of(user: User) -> Caller:
    """The same without the teams, whose models know their people: for lists of models.
    No query, but for a guest whose link is not loaded."""
    link = user.guest_link
    return chat_caller(user.pk) if link is None else guest_of(link, user.pk)


def guest_of(link: GuestLink, user_id: int) -> Caller:
    """The caller that a guest of this link is."""
    models = link.allowed_models
    return Caller(
        face=LedgerEntry.Face.CHAT.value,
        identity=f"user:{user_id}",
        user_id=user_id,
        team_id=link.team_id,
        teams=frozenset({link.team_id}),
        allowed_models=None if models is None else frozenset(models),
        guest_link_id=link.pk,
        ends_at=link.expires_at,
    )


def speakers_of(teams: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(user, team) for all who speak for one of these teams on the chat page: its
    members, and the guests of its link. Two queries; none for no teams."""
    wanted = set(teams)
    members = Membership.objects.filter(team__in=wanted, user__guest_link=None)
    yield from members.values_list("user_id", "team_id")
    guests = User.objects.filter(guest_link__team__in=wanted)
    yield from guests.values_list("pk", "guest_link__team_id")


class Memberships:
    """`in_thread` runs a sync function with the database, off the event loop."""

    def __init__(self, in_thread: Callable[..., Awaitable[Caller]]) -> None:
        self._in_thread = in_thread
        self._known: OrderedDict[int, Caller] = OrderedDict()
        self._generation = 0

    async def caller_of(self, user_id: int) -> Caller:
        """Who this user is. Raises `StoreUnavailable` where that is neither known nor
        to be read."""
        known = self._known.get(user_id)
        if known is not None:
            self._known.move_to_end(user_id)
            return known
        generation = self._generation
        try:
            found = await self._in_thread(read_caller, user_id)
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
