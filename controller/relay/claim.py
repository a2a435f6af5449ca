"""A request's claim to a worker: the slot that it holds, or the turn it waits for."""

from collections.abc import Collection
from uuid import UUID

from controller.fleet.line import Place
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.snapshot import ModelView, WorkerView
from controller.fleet.turns import Turn, Turns
from controller.fleet.wishes import Wish
from controller.identity.caller import Caller
from controller.ledger.queue import FinishedRequest
from controller.relay.request import InferenceRequest
from controller.relay.stopwatch import Stopwatch


class Claim:
    """At most one slot or turn at a time; after it was released, another one."""

    def __init__(
        self,
        caller: Caller,
        request: InferenceRequest,
        wish: Wish,
        *,
        fleet: Fleet,
        turns: Turns,
        watch: Stopwatch,
    ) -> None:
        self.worker: WorkerView | None = None
        """Of the slot that is held, or was held last."""
        self.slot: Slot | None = None
        self.first_position: int | None = None
        """Where in line it stood at first; None if it did not have to wait."""
        self._caller = caller
        self._request = request
        self._wish = wish
        self._fleet = fleet
        self._turns = turns
        self._watch = watch
        self._turn: Turn | None = None
        self._waited_turn: Turn | None = None
        self._is_given_up = False

    @property
    def is_waiting(self) -> bool:
        return self._turn is not None

    @property
    def place(self) -> Place | None:
        """Where it stands in its model's line; None if it does not wait."""
        return self._turn.place() if self._turn is not None else None

    @property
    def queued_seconds(self) -> float | None:
        """How long it has waited in line so far; None if it did not have to."""
        if self.first_position is None:
            return None
        return self._watch.queued_seconds()

    def ask(self, model: ModelView, excluded: Collection[UUID] = ()) -> None:
        """Hold a slot on a worker, or have a turn to wait for. Raises what `Turns.ask`
        raises."""
        given = self._turns.ask(
            model, self._caller, self._request, self._wish, excluded
        )
        if isinstance(given, Slot):
            self.slot, self.worker = given, given.worker
            return
        self._turn = given
        self._watch.queue()
        if self.first_position is None:
            self.first_position = given.first_position

    async def wait(self, seconds: float | None = None) -> bool:
        """Whether the turn came within so many seconds; then a slot is held."""
        assert self._turn is not None
        slot = await self._turn.within(seconds)
        if slot is None or self._is_given_up:  # giving up has given the slot back
            return False
        self.slot, self.worker = slot, slot.worker
        self._waited_turn, self._turn = self._waited_turn or self._turn, None
        self._watch.unqueue()
        return True

    async def take(self, model: ModelView, excluded: Collection[UUID]) -> Slot:
        """A slot on a worker, which is held; if need be when the turn has come."""
        if self.slot is None:
            self.ask(model, excluded)
            if self._turn is not None:
                await self.wait()
        assert self.slot is not None
        return self.slot

    def prefilled(self) -> None:
        """The first output has come, if a slot is held still."""
        if self.slot is not None:
            self._fleet.prefilled(self.slot)

    def release(self) -> None:
        """Give the slot back, if one is held."""
        if self.slot is not None:
            self._fleet.release(self.slot)
            self.slot = None

    def begin_again(self, wish: Wish) -> None:
        """Let go of all that is held, to ask for something else."""
        self.release()
        self._leave_line()
        self.worker, self._wish = None, wish

    def give_up(self) -> None:
        """Leave the line for good."""
        self._is_given_up = True
        self._leave_line()

    def _leave_line(self) -> None:
        if self._turn is not None:
            self._watch.unqueue()
            self._turns.leave(self._turn)
            self._turn = None

    def notice(self) -> bytes:
        """The place as an SSE comment, which clients pass over."""
        place = self.place
        if place is None:
            return b": it is your turn\n\n"
        seconds = place.expected_seconds
        about = "" if seconds is None else f", about {seconds:.0f} s"
        return f": waiting {place.position} of {place.length}{about}\n\n".encode()

    def settle(self, finished: FinishedRequest) -> None:
        """Charge the caller, if it had to wait for its turn, what it truly took."""
        if self._waited_turn is not None:
            work = finished.prompt_tokens + finished.completion_tokens
            self._waited_turn.settle(
                work_tokens=work - finished.cached_tokens,
                completion_tokens=finished.completion_tokens,
            )
