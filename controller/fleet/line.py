"""The waiting line of one served model: who is next, what is one's place, who must go.

Pure: no loop, no network, and a clock that is handed in. `controller.fleet.turns` joins
it to the fleet; the simulation in the tests drives it alone.

Fair by work, in two stages of self-clocked fair queuing (Golestani, INFOCOM 1994). A
*lane* is a priority class, and within it each caller has a share of its own. Being
served adds the request's tokens to what a share has had, over its weight; of those that
wait, the one is next which will have had least. Who comes new starts at what the last
one served has had: nothing is owed for the past, and a flood lengthens the wait of the
flood alone. (By start tags a newcomer would come sooner still, but an endless row of
newcomers would then pass by a caller who was served once, for ever.)

Lanes have weights and not a strict order: with a strict one, a room full of chats would
stop every API caller for as long as it is full. In proportion, the page that rarely
asks comes first all the same, since it has always had least, and a batch goes on.
"""

import heapq
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from controller.fleet.turn_rate import TurnRate

LANE_WEIGHTS = {"chat": 16.0, "api": 4.0, "batch": 1.0}
"""By face, the first one first where they are even; another face is an `api`."""

# Tokens of an answer, before any was seen; then the mean of the last ones. A client's
# max_tokens alone would not do: many ask for thousands and take a few.
FIRST_GUESS_TOKENS = 256.0
GUESS_WEIGHT = 1 / 16
PLACES_SECONDS = 1.0
# So many idle callers are remembered before it is looked for what can go.
IDLE_SHARES = 64


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """A request that waits, or has waited and is not settled yet."""

    caller: str
    """Whose share it takes from."""
    lane: str
    kind: Hashable = None
    """Requests of one kind can be served by the same workers."""
    prompt_tokens: int = 0
    max_tokens: float = math.inf
    """The most that may be generated; 0 for a task that generates nothing."""
    size: int = 0
    """Bytes that it holds in memory while it waits."""
    deadline_at: float = math.inf
    is_returning: bool = False
    """It had its turn, and the worker failed: it goes before all others, uncharged."""
    entered_at: float = 0.0
    first_position: int = 0
    """Where it stood when it came."""
    cost: float = 0.0
    """Tokens, as charged: a guess until it is settled."""
    share: "_Share[Any] | None" = field(default=None, repr=False)


T = TypeVar("T", bound=Ticket)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one stands: 1 is next. The wait is in seconds, None while unknown."""

    position: int
    length: int
    expected_seconds: float | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a line holds at most, in all and of one caller."""

    length: int
    caller_length: int
    num_bytes: int
    caller_bytes: int


class LineIsFull(Exception):
    """There is no room for this ticket; `is_own_share`: its caller has too many."""

    def __init__(self, *, is_own_share: bool) -> None:
        super().__init__("own share" if is_own_share else "whole line")
        self.is_own_share = is_own_share


class _Share(Generic[T]):
    """One caller's tickets of one lane, and what it has had of it, in tokens."""

    def __init__(self, lane: "_Lane[T]") -> None:
        self.lane = lane
        self.had = 0.0
        self.tickets: OrderedDict[T, None] = OrderedDict()
        self.num_bytes = 0
        self.in_flight = 0


class _Lane(Generic[T]):
    """One priority class: its callers, and what it has had of the line."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.had = 0.0
        self.start = 0.0
        """What the caller who was served last has had: new ones start there."""
        self.shares: dict[str, _Share[T]] = {}
        self.num_waiting = 0
        self.num_sharing = 0
        """Callers with something waiting."""
        self._sweep_at = IDLE_SHARES

    def turns(self) -> Iterator[T]:
        waiting = (share for share in self.shares.values() if share.tickets)
        return _by_turns((share.had, 1.0, iter(share.tickets)) for share in waiting)

    def share_of(self, caller: str) -> _Share[T]:
        """The caller's share; a new one may push out those of idle callers."""
        share = self.shares.get(caller)
        if share is None:
            if len(self.shares) >= self._sweep_at:
                self._forget_the_idle()
            share = self.shares[caller] = _Share(self)
        return share

    def _forget_the_idle(self) -> None:
        self.shares = {
            caller: share
            for caller, share in self.shares.items()
            if share.tickets or share.in_flight
        }
        self._sweep_at = IDLE_SHARES + 2 * len(self.shares)


class WaitingLine(Generic[T]):
    """See the module. Times are seconds of `clock`, positions count from 1.

    Entering, leaving and settling take constant time, and so does refusing for a
    caller's own bound. The next turn takes time with the number of callers that wait,
    all places together with that of the tickets.
    """

    def __init__(
        self, bounds: Callable[[], Bounds], clock: Callable[[], float]
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._lanes: dict[str, _Lane[T]] = {
            name: _Lane(weight) for name, weight in LANE_WEIGHTS.items()
        }
        self._returning: OrderedDict[T, None] = OrderedDict()
        self._start = 0.0
        self._guess = FIRST_GUESS_TOKENS
        self._rate = TurnRate()
        self._places: dict[T, int] = {}
        self._places_at = -math.inf
        self.kinds: Counter[Hashable] = Counter()
        """How many wait of each kind."""
        self.num_bytes = 0
        self.last_turn_at = -math.inf

    def __len__(self) -> int:
        return self.kinds.total()

    # -- coming and going ------------------------------------------------------

    def enter(self, ticket: T) -> T | None:
        """Let it wait. Returns the ticket that had to go for it, which the caller of
        this tells; mostly None. Raises `LineIsFull`."""
        evicted = None if ticket.is_returning else self._make_room(ticket)
        ticket.entered_at = self._clock()
        ticket.first_position = self.expected_position(ticket)
        if not self:
            self._rate.resume(ticket.entered_at)
        ticket.cost = ticket.prompt_tokens + min(ticket.max_tokens, self._guess)
        self.kinds[ticket.kind] += 1
        self.num_bytes += ticket.size
        if ticket.is_returning:
            self._returning[ticket] = None
        else:
            self._join_share(ticket)
        return evicted

    def leave(self, ticket: T) -> bool:
        """Whether it waited; from now on it does not."""
        if not self._holds(ticket):
            return False
        if ticket.share is None:
            del self._returning[ticket]
        else:
            self._leave_share(ticket, ticket.share)
        self.num_bytes -= ticket.size
        self.kinds[ticket.kind] -= 1
        if not self.kinds[ticket.kind]:
            del self.kinds[ticket.kind]
        if not self:
            self._places = {}
        return True

    def take(self, ticket: T) -> None:
        """It is this one's turn: it waits no more, and its tokens are charged."""
        self.leave(ticket)
        self.last_turn_at = self._clock()
        self._rate.count(self.last_turn_at)
        if ticket.is_returning:
            return
        share = ticket.share
        assert share is not None
        share.in_flight += 1
        self._charge(share, ticket.cost)
        share.lane.start, self._start = share.had, share.lane.had

    def settle(self, ticket: T, *, work_tokens: int, completion_tokens: int) -> None:
        """Correct what a ticket that had its turn was charged, now that it has ended.

        `work_tokens` are those that an engine had to read and to write for it.
        """
        share = ticket.share
        if share is None or ticket.is_returning:
            return
        if ticket.max_tokens:
            self._guess += GUESS_WEIGHT * (completion_tokens - self._guess)
        share.in_flight -= 1
        self._charge(share, work_tokens - ticket.cost)
        ticket.share = None

    def overdue(self) -> list[T]:
        """Those whose deadline has passed; they still wait."""
        now = self._clock()
        return [ticket for ticket in self._tickets() if ticket.deadline_at <= now]

    # -- who is next -----------------------------------------------------------

    def in_order(self) -> Iterator[T]:
        """All that wait, in the order of their turns, if nobody came or left."""
        yield from self._returning
        lanes = (lane for lane in self._lanes.values() if lane.num_waiting)
        yield from _by_turns((lane.had, lane.weight, lane.turns()) for lane in lanes)

    def place(self, ticket: T) -> Place | None:
        """Where it stands, as of this second; None if it does not wait."""
        if not self._holds(ticket):
            return None
        now = self._clock()
        if now - self._places_at >= PLACES_SECONDS:
            self._places_at = now
            turns = enumerate(self.in_order(), start=1)
            self._places = {each: position for position, each in turns}
        position = min(self._places.get(ticket, ticket.first_position), len(self))
        return Place(position, len(self), self.expected_seconds(position))

    def expected_seconds(self, position: int) -> float | None:
        """How long until the turn at this position, by the turns lately; None if there
        were none yet."""
        rate = self._rate.per_second(self._clock())
        return position / rate if rate else None

    def expected_position(self, ticket: T) -> int:
        """About where this ticket would stand if it came now, in constant time.

        Its caller's tickets take turns with those of the lane's other callers, and its
        lane with the others, as if all tickets were alike.
        """
        if ticket.is_returning:
            return len(self._returning) + 1
        own = self._lane_of(ticket)
        share = own.shares.get(ticket.caller)
        rounds = 1 + (len(share.tickets) if share else 0)
        others = own.num_sharing - bool(share and share.tickets)
        in_lane = min(own.num_waiting + 1, rounds * (others + 1))
        in_others = sum(
            min(lane.num_waiting, round(in_lane * lane.weight / own.weight))
            for lane in self._lanes.values()
            if lane is not own
        )
        return len(self._returning) + in_lane + in_others

    # -- inside ----------------------------------------------------------------

    def _lane_of(self, ticket: T) -> _Lane[T]:
        return self._lanes.get(ticket.lane) or self._lanes["api"]

    def _holds(self, ticket: T) -> bool:
        share = ticket.share
        return ticket in (self._returning if share is None else share.tickets)

    def _join_share(self, ticket: T) -> None:
        lane = self._lane_of(ticket)
        if not lane.num_waiting:
            lane.had = max(lane.had, self._start)
        share = lane.share_of(ticket.caller)
        if not share.tickets:
            share.had = max(share.had, lane.start)
            lane.num_sharing += 1
        share.tickets[ticket] = None
        share.num_bytes += ticket.size
        lane.num_waiting += 1
        ticket.share = share

    def _leave_share(self, ticket: T, share: _Share[T]) -> None:
        lane = share.lane
        del share.tickets[ticket]
        share.num_bytes -= ticket.size
        lane.num_waiting -= 1
        lane.num_sharing -= not share.tickets

    def _charge(self, share: _Share[T], tokens: float) -> None:
        share.had += tokens
        share.lane.had += tokens / share.lane.weight

    def _tickets(self) -> Iterator[T]:
        yield from self._returning
        for share in self._shares():
            yield from share.tickets

    def _shares(self) -> Iterator[_Share[T]]:
        for lane in self._lanes.values():
            yield from lane.shares.values()

    def _make_room(self, ticket: T) -> T | None:
        """Raise `LineIsFull`, or evict one of those who have more than this caller."""
        bounds = self._bounds()
        share = self._lane_of(ticket).shares.get(ticket.caller)
        length, num_bytes = (len(share.tickets), share.num_bytes) if share else (0, 0)
        is_over = num_bytes + ticket.size > bounds.caller_bytes and length > 0
        if length >= bounds.caller_length > 0 or is_over:
            raise LineIsFull(is_own_share=True)
        if self.num_bytes + ticket.size > bounds.num_bytes:
            raise LineIsFull(is_own_share=False)
        if len(self) < bounds.length:
            return None
        greediest = max(self._shares(), key=_greed, default=None)
        own_greed = (length + 1) / self._lane_of(ticket).weight
        if greediest is None or _greed(greediest) <= own_greed:
            raise LineIsFull(is_own_share=length > 0)
        newest = next(reversed(greediest.tickets))
        self.leave(newest)
        return newest


def _greed(share: _Share[T]) -> float:
    """How many it has waiting, for its lane's weight."""
    return len(share.tickets) / share.lane.weight


def _by_turns(waiting: Iterable[tuple[float, float, Iterator[T]]]) -> Iterator[T]:
    """Tickets of several, always that of who will have had least; the first if even.

    Each of `waiting` is what it has had, its weight, and its tickets in order.
    """
    heap: list[tuple[float, int, float, T, Iterator[T]]] = []
    for number, (had, weight, tickets) in enumerate(waiting):
        ticket = next(tickets, None)
        if ticket is not None:
            had += ticket.cost / weight
            heap.append((had, number, weight, ticket, tickets))
    heapq.heapify(heap)
    while heap:
        had, number, weight, ticket, tickets = heap[0]
        yield ticket
        following = next(tickets, None)
        if following is None:
            heapq.heappop(heap)
        else:
            had += following.cost / weight
            heapq.heapreplace(heap, (had, number, weight, following, tickets))
