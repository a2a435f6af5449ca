"""Whose turn it is: the waiting lines of all models, joined to the fleet.

A request asks for a worker. Where one has room it gets it at once, and nothing here
costs it anything; else it waits in its model's line, and room that frees (a request
ends, a worker joins, is heard or enabled) goes at that moment to whoever is next: the
worker's slot is taken on behalf of the one that waits, so that nobody can come between.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings

from controller.errors import (
    ModelNotFound,
    NoWorkerAvailable,
    QueueFull,
    QueueShareFull,
    QueueTimedOut,
    SwitchyardError,
    WorkersFull,
)
from controller.fleet.line import Bounds, LineIsFull, Place, Ticket, WaitingLine
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.snapshot import ModelView
from controller.fleet.wishes import Wish
from controller.identity.caller import Caller
from controller.relay.request import InferenceRequest
from workers.protocol import Task

GENERATING = frozenset({Task.CHAT, Task.COMPLETIONS})
# A request is refused for the wait that it must expect only behind so many others:
# the expectation comes from those who wait, and must not rest on nobody.
NEVER_TOO_MANY = 8
RETRY_SECONDS = 5  # where nothing is known of the rate
LONGEST_RETRY_SECONDS = 600


@dataclass(slots=True, eq=False, kw_only=True)
class Turn(Ticket):
    """A ticket whose holder waits for a worker."""

    line: "WaitingLine[Turn]" = field(repr=False)
    model: str
    wish: Wish
    excluded: frozenset[UUID]
    allowed_seconds: float
    """How long it may wait in all."""
    came: asyncio.Future[Slot] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def place(self) -> Place | None:
        """Where it stands; None if it does not wait any more."""
        return self.line.place(self)

    def settle(self, *, work_tokens: int, completion_tokens: int) -> None:
        """Charge the caller what the request truly took, now that it has ended."""
        self.line.settle(
            self, work_tokens=work_tokens, completion_tokens=completion_tokens
        )

    async def within(self, seconds: float | None) -> Slot | None:
        """The slot, if the turn comes within so many seconds; None: at any time.

        Raises `SwitchyardError` if it will not come. Being cancelled changes nothing:
        who gives up says so by `Turns.leave`.
        """
        await asyncio.wait((self.came,), timeout=seconds)
        return self.came.result() if self.came.done() else None


class Turns:
    """The lines of one web process."""

    def __init__(
        self, fleet: Fleet, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self.lines: dict[str, WaitingLine[Turn]] = {}
        """Of each model that somebody has ever waited for."""
        self._busy: dict[str, WaitingLine[Turn]] = {}
        """Those in which somebody waits."""
        fleet.on_room = self.serve

    def ask(
        self,
        model: ModelView,
        caller: Caller,
        request: InferenceRequest,
        wish: Wish,
        excluded: Collection[UUID] = (),
    ) -> Slot | Turn:
        """A slot on the worker to send to, or a turn to wait for one.

        A retry, with those `excluded` that had the request and failed, waits before
        all others: it has had its turn.
        Raises what `Fleet.acquire` raises, `QueueShareFull` where enough of this
        caller waits already, `QueueFull` and `QueueTimedOut` where too much does.
        """
        try:
            return self._fleet.acquire(model, wish, excluded)
        except WorkersFull:
            return self._enter(model, caller, request, wish, excluded)

    def outlook(self, name: str) -> Place | None:
        """About where a request for this model would stand; None where nobody waits.

        As if each caller had one request: who has many waits longer.
        """
        line = self._busy.get(name)
        if line is None:
            return None
        position = len(line) + 1
        return Place(position, position, line.expected_seconds(position))

    def leave(self, turn: Turn) -> None:
        """Give the place up, or the worker if the turn has come but was not taken."""
        if turn.line.leave(turn):
            self._note_end_of(turn.model, turn.line)
        elif turn.came.done() and turn.came.exception() is None:
            turn.settle(work_tokens=0, completion_tokens=0)
            self._fleet.release(turn.came.result())

    def serve(self, worker_id: UUID | None = None) -> None:
        """Give the room that there is, on one worker or on any, to those who are next.

        Lines that share a worker take turns: next is the one served least lately.
        """
        if not self._busy:
            return
        waiting = dict(self._busy)
        if worker_id is not None:
            # The view of now: a request may have been sent by an older one.
            worker = self._fleet.snapshot.workers.get(worker_id)
            served = worker.placements if worker else {}
            waiting = {name: waiting[name] for name in served if name in waiting}
        while waiting:
            name = min(waiting, key=lambda each: waiting[each].last_turn_at)
            if not self._serve_next(name, waiting[name]):
                del waiting[name]

    def tick(self) -> None:
        """Refuse those whose time is over, and serve what no event spoke of."""
        for name, line in list(self._busy.items()):
            model = self._fleet.snapshot.models.get(name)
            if model is None:
                self._refuse_all(line, ModelNotFound(name))
                continue
            self._fleet.look_again(model)
            for turn in line.overdue():
                self._refuse(turn, self._too_late(turn))
        self.serve()

    # -- inside ----------------------------------------------------------------

    def _enter(
        self,
        model: ModelView,
        caller: Caller,
        request: InferenceRequest,
        wish: Wish,
        excluded: Collection[UUID],
    ) -> Turn:
        line = self.lines.get(model.name)
        if line is None:
            line = self.lines[model.name] = WaitingLine(_bounds, self._clock)
        turn = self._turn_of(line, model, caller, request, wish, excluded)
        if not turn.is_returning:
            self._check_wait(line, turn)
        try:
            evicted = line.enter(turn)
        except LineIsFull as exc:
            raise self._no_room(line, turn, exc.is_own_share) from exc
        self._busy[model.name] = line
        if evicted is not None:
            evicted.came.set_exception(self._no_room(line, evicted, True))
        return turn

    def _turn_of(
        self,
        line: WaitingLine[Turn],
        model: ModelView,
        caller: Caller,
        request: InferenceRequest,
        wish: Wish,
        excluded: Collection[UUID],
    ) -> Turn:
        allowed = settings.QUEUE_DEADLINE.total_seconds()
        if request.queue_seconds is not None:
            allowed = min(allowed, request.queue_seconds)
        gone = frozenset(excluded)
        return Turn(
            line=line,
            model=model.name,
            # By person: their keys are theirs to make, as many as they like.
            caller=f"user:{caller.user_id}" if caller.user_id else caller.identity,
            lane=caller.face,
            kind=(wish.task, gone, model.canary and wish.draw < model.canary.share),
            wish=wish,
            excluded=gone,
            is_returning=bool(gone),
            prompt_tokens=wish.prompt_tokens,
            max_tokens=_max_tokens(request),
            size=request.size,
            allowed_seconds=allowed,
            deadline_at=self._clock() + allowed,
        )

    def _serve_next(self, name: str, line: WaitingLine[Turn]) -> bool:
        """Whether somebody's turn came."""
        model = self._fleet.snapshot.models.get(name)
        if model is None:
            return False
        without_room = set()
        for turn in line.in_order():
            if turn.kind in without_room:
                continue
            try:
                slot = self._fleet.acquire(model, turn.wish, turn.excluded)
            except NoWorkerAvailable:  # full, or away: both may change
                without_room.add(turn.kind)
                if len(without_room) == len(line.kinds):
                    break
                continue
            except SwitchyardError as exc:
                self._refuse(turn, exc)
                return bool(line)
            line.take(turn)
            self._note_end_of(name, line)
            turn.came.set_result(slot)
            return bool(line)
        return False

    def _refuse_all(self, line: WaitingLine[Turn], error: SwitchyardError) -> None:
        for turn in list(line.in_order()):
            self._refuse(turn, error)

    def _refuse(self, turn: Turn, error: SwitchyardError) -> None:
        turn.line.leave(turn)
        self._note_end_of(turn.model, turn.line)
        turn.came.set_exception(error)

    def _note_end_of(self, name: str, line: WaitingLine[Turn]) -> None:
        if not line:
            self._busy.pop(name, None)

    def _check_wait(self, line: WaitingLine[Turn], turn: Turn) -> None:
        """Raise `QueueTimedOut` for a wait that would be in vain."""
        allowed = turn.allowed_seconds
        expected = line.expected_seconds(line.expected_position(turn))
        is_vain = expected is not None and expected > allowed
        if allowed > 0 and not (is_vain and len(line) >= NEVER_TOO_MANY):
            return
        coming = "later" if expected is None else f"in about {expected:.0f} s"
        raise QueueTimedOut(
            f"All workers of the model `{turn.model}` are full, and {len(line)}"
            f" requests wait: the turn of this one would come {coming}, and it may wait"
            f" {allowed:g} s. Try again then.",
            retry_after=_whole_seconds(expected and expected - allowed),
        )

    def _no_room(
        self, line: WaitingLine[Turn], turn: Turn, is_own_share: bool
    ) -> SwitchyardError:
        expected = line.expected_seconds(line.expected_position(turn))
        retry_after = _whole_seconds(expected)
        if is_own_share:
            return QueueShareFull(
                f"Your share of the waiting line of the model `{turn.model}` is full."
                f" Let one of your requests end first; in about {retry_after} s there"
                " should be room.",
                retry_after=retry_after,
            )
        return QueueFull(
            f"All workers of the model `{turn.model}` are full, and so is its waiting"
            f" line: {len(line)} requests. Try again in about {retry_after} s.",
            retry_after=retry_after,
        )

    def _too_late(self, turn: Turn) -> QueueTimedOut:
        place = turn.place()
        stood = f"it stood at place {place.position} of {place.length}" if place else ""
        return QueueTimedOut(
            f"All workers of the model `{turn.model}` stayed full: this request's turn"
            f" did not come within the {turn.allowed_seconds:g} s that it may wait;"
            f" {stood}. Try again later.",
            retry_after=_whole_seconds(place.expected_seconds if place else None),
        )


def _bounds() -> Bounds:
    return Bounds(
        length=settings.QUEUE_LENGTH,
        caller_length=settings.QUEUE_CALLER_LENGTH,
        num_bytes=settings.QUEUE_BYTES,
        caller_bytes=settings.QUEUE_CALLER_BYTES,
    )


def _max_tokens(request: InferenceRequest) -> float:
    """The most tokens that the request may have generated."""
    if request.task not in GENERATING:
        return 0
    body = request.body
    each = body.get("max_completion_tokens") or body.get("max_tokens") or math.inf
    return float(each) * (body.get("n") or 1)


def _whole_seconds(expected: float | None) -> int:
    """For `Retry-After`."""
    if expected is None:
        return RETRY_SECONDS
    return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(expected)))
