"""One request's way to an engine and back: dispatch, relay, settle.

An exchange knows no Django request and no socket. An edge opens one by `Gateway.open`,
reads blocks of bytes, and closes it; closing on every ending frees the worker's slot,
ends the engine's work if it still runs, and records the request once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from django.conf import settings

from controller.errors import AnswerUnread, SwitchyardError, error_event
from controller.fleet.line import Place
from controller.fleet.live import Fleet
from controller.fleet.snapshot import ModelView, WorkerView
from controller.fleet.turns import Turns
from controller.fleet.wishes import wish_for
from controller.identity.caller import Caller
from controller.ledger.queue import FinishedRequest
from controller.limits.reservation import UNLIMITED, Reservation
from controller.relay import moving
from controller.relay.answers import Usage
from controller.relay.claim import Claim
from controller.relay.client import StreamStalled, UpstreamBroken, UpstreamClient
from controller.relay.explanation import Explanation
from controller.relay.failures import EngineFailed, as_error
from controller.relay.mover import Mover
from controller.relay.request import InferenceRequest
from controller.relay.retrying import RetryBudget
from controller.relay.stopwatch import Stopwatch
from controller.relay.tries import Tries
from controller.relay.upstream import Upstream

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's word for a client that closed the connection

T = TypeVar("T")
Revise = Callable[[bytes], tuple[bytes, str]]


class Screen(Protocol):
    """Lets out of a stream what may be seen of it."""

    async def read(self, next_block: Callable[[], Awaitable[bytes]]) -> bytes:
        """The next whole events, out of those that `next_block` gives; empty: over."""


class Exchange:
    """A request under way: a source of bytes that must be closed."""

    def __init__(
        self,
        caller: Caller,
        request: InferenceRequest,
        model: ModelView,
        *,
        fleet: Fleet,
        turns: Turns,
        client: UpstreamClient,
        retries: RetryBudget,
        on_close: Callable[["Exchange"], None],
    ) -> None:
        self.caller = caller
        self.request = request
        self.error: SwitchyardError | None = None
        self.reservation: Reservation = UNLIMITED
        self.screen: Screen | None = None
        """What a stream passes on its way out, if it must; set before the start."""
        self.revise: Revise | None = None
        """The same for an answer that does not stream: (what is let out of it, why it
        ended if for another reason)."""
        self._fleet = fleet
        self._client = client
        self._watch = watch = Stopwatch(request.arrived_at)
        self._ask_of(model)
        self._claim = Claim(
            caller, request, self.wish, fleet=fleet, turns=turns, watch=watch
        )
        self._tries = Tries(self._claim, self._upstream, fleet, retries)
        self._on_close = on_close
        self._block = b""
        self._starting: asyncio.Task[Any] | None = None
        self._is_late = False
        self._break: UpstreamBroken | None = None
        self._is_over = False
        self._is_closed = False

    def _ask_of(self, model: ModelView) -> None:
        request, reads_prompt = self.request, self._fleet.reads_prompts(model)
        self.model = model
        self.wish = wish_for(self.caller, request, reads_prompt=reads_prompt)
        self._mover = Mover(request, model, self._fleet)
        self._upstream = Upstream(
            request, model.name, self._mover, self._client, self._watch
        )

    # -- what came of it -------------------------------------------------------

    @property
    def worker(self) -> WorkerView | None:
        """The one that answers, or was asked last."""
        return self._claim.worker

    @property
    def explanation(self) -> Explanation:
        return self._tries.explanation

    @property
    def num_retries(self) -> int:
        return self._tries.num_retries

    @property
    def usage(self) -> Usage:
        """Tokens as the engine counted them; zeros until it has said."""
        return self._upstream.reader.usage or Usage()

    @property
    def shows_usage(self) -> bool:
        """The client of a stream asked to see the usage event."""
        return self.request.show_usage

    @property
    def finish_reason(self) -> str:
        return self._upstream.reader.finish_reason

    @property
    def is_moving(self) -> bool:
        """The stream has been broken off, and the next `read` goes on elsewhere."""
        return self._break is not None

    @property
    def num_moves(self) -> int:
        """How often the stream went on with another worker."""
        return self._mover.num_moves

    @property
    def completion_tokens_so_far(self) -> int:
        """Of an answer under way: what the engine has counted, or about a token an
        event."""
        return max(self.usage.completion_tokens or 0, self._upstream.reader.num_events)

    @property
    def ttft_seconds(self) -> float | None:
        """From the request's arrival to the first bytes for the client."""
        return self._watch.ttft_seconds()

    @property
    def overhead_seconds(self) -> float:
        return self._watch.overhead_seconds()

    @property
    def queued_seconds(self) -> float | None:
        """How long it has waited in line so far; None if it did not have to."""
        return self._claim.queued_seconds

    @property
    def first_position(self) -> int | None:
        """Where in line it stood at first; None if it did not have to wait."""
        return self._claim.first_position

    @property
    def place(self) -> Place | None:
        """Where it stands in its model's line; None if it does not wait."""
        return self._claim.place

    # -- before the first byte -------------------------------------------------

    async def start(self) -> None:
        """Return when the first bytes for the client are there, all if not a stream.

        A stream that waits in line for longer than QUEUE_NOTICE_AFTER does not keep
        its client in the dark: `read` then gives comments that tell its place.

        Raises `SwitchyardError` when the answer will not come; the exchange must be
        closed all the same.
        """
        await self._interruptible(self._start())

    async def _start(self) -> None:
        self._claim.ask(self.model)
        if self._claim.is_waiting:
            patience = settings.QUEUE_NOTICE_AFTER.total_seconds()
            if not await self._claim.wait(patience if self.request.stream else None):
                self._is_late = True
                self._block = self._claim.notice()
                return
        self._block = await self._begin()

    async def _begin(self) -> bytes:
        block = await self._tries.first_bytes(self.model)
        if self.revise is not None and not self.request.stream:
            block, ending = self.revise(block)
            reader = self._upstream.reader
            reader.finish_reason = ending or reader.finish_reason
        self._watch.first_out_at = time.perf_counter()
        return block

    async def _interruptible(self, step: Coroutine[Any, Any, T]) -> T:
        """What the step returns, unless `interrupt` ends it: then its error rises."""
        self._starting = task = asyncio.current_task()
        try:
            return await step
        except SwitchyardError as exc:
            self.error = exc
            raise
        except asyncio.CancelledError:
            # Ours if `interrupt` asked for it and nobody else has meanwhile.
            if self.error is None or task is None or task.uncancel():
                raise
            raise self.error from None
        finally:
            self._starting = None

    def fall_back(self, model: ModelView) -> None:
        """Ask this model from the next start on: no worker of the other has taken the
        request, and nothing of it has gone out."""
        self.explanation.fallback_from = self.model.name
        self._tries.let_go()
        self._ask_of(model)
        self._claim.begin_again(self.wish)
        self._tries.upstream = self._upstream
        self.reservation.reprice(model.prices)
        self.error = self.screen = self.revise = None

    # -- the answer ------------------------------------------------------------

    def body(self) -> bytes:
        """The whole answer of a request that does not stream."""
        return self._block

    def read(self) -> Coroutine[Any, Any, bytes]:
        """The next whole events of a stream, as many as have come; empty at the end.

        A failure comes as one error event, then the end; but where another worker can
        go on, as a comment, and then what that one says.
        """
        return self._read() if self.screen is None else self.screen.read(self._read)

    async def _read(self) -> bytes:
        if self._block:
            block, self._block = self._block, b""
            return block
        if self._is_over or self._upstream.is_complete:
            return b""
        if self._is_late:
            return await self._read_late()
        if self._break is not None and not self._is_closed:
            return await self._go_on(self._break)
        # Closed before its end, by a server that stops.
        if self._upstream.connection is None:
            return self._fail(self.error)
        try:
            if self.reservation.grows:
                await self.reservation.grow(self)
            return await self._upstream.next_block()
        except UpstreamBroken as exc:
            return self._broken_off(exc)

    def _fail(self, error: SwitchyardError | None) -> bytes:
        self._is_over = True
        self.error = self.error or error
        return error_event(self.error) if self.error else b""

    async def _read_late(self) -> bytes:
        """A comment that tells the place, then one that it is this stream's turn; after
        that, its first events."""
        try:
            if self.error is not None:  # interrupted while nobody read
                raise self.error
            if self._is_closed:
                return b""
            return await self._interruptible(self._next_late())
        except SwitchyardError as exc:
            self._is_over = True
            return error_event(exc)

    async def _next_late(self) -> bytes:
        if self._claim.is_waiting:
            await self._claim.wait(settings.QUEUE_NOTICE_INTERVAL.total_seconds())
            return self._claim.notice()
        block = await self._begin()
        self._is_late = False
        return block

    async def events(self) -> AsyncIterator[bytes]:
        """The blocks of `read`, as an iterator."""
        while block := await self.read():
            yield block

    def cut(self, finish_reason: str) -> Usage:
        """End a stream here, for this reason, and the engine's work with it; the tokens
        so far."""
        self._is_over, self._block = True, b""
        self._upstream.reader.finish_reason = finish_reason
        self._tries.let_go()
        return self._upstream.counted()[0]

    def interrupt(self, error: SwitchyardError) -> None:
        """End soon: a stream with this as its last event, what has not begun by
        raising it. What is complete already stays so."""
        if self._is_over or self._upstream.has_ended:
            return
        self.error = error
        if self._starting is not None:
            self._starting.cancel()
        elif self._upstream.connection is not None:
            self._upstream.connection.abort(UpstreamBroken(error.message))

    # -- moving ----------------------------------------------------------------

    def _broken_off(self, exc: UpstreamBroken) -> bytes:
        """What the client is told when its stream's worker has broken off."""
        worker, reader = self.worker, self._upstream.reader
        assert worker is not None
        self.model = self._mover.look_around()
        # Of several answers, one that has finished is not all.
        has_finished = reader.finish_reason and self._mover.may_move
        is_out = reader.saw_done or has_finished
        if is_out and self.error is None:  # only the ending is lost
            self._is_over = True
            return self._upstream.ending()
        logger.warning("stream cut: %s", exc)
        is_clients = isinstance(exc, EngineFailed) and exc.error.status < 500
        if self.error is not None or is_clients:
            return self._fail(as_error(exc))
        self._tries.broke_off(worker, exc)
        if not self._mover.has_elsewhere(worker):
            return self._fail(as_error(exc))
        self._tries.let_go()
        self._break = exc
        return moving.MOVING_EVENT

    async def _go_on(self, cut: UpstreamBroken) -> bytes:
        """Have the answer go on with another worker; its first events."""
        assert self.worker is not None
        broken, self._break = self.worker, None
        try:
            if self.error is not None:  # interrupted while nobody read
                raise self.error
            block = await self._interruptible(self._try_elsewhere(broken, cut))
        except SwitchyardError as exc:
            return self._fail(exc)
        self._mover.num_moves += 1
        logger.warning("stream moved: %s to %s", broken.address, self.worker.address)
        return block

    async def _try_elsewhere(self, broken: WorkerView, cut: UpstreamBroken) -> bytes:
        try:
            unable = self._mover.unable(broken)
            return await self._tries.first_bytes(self.model, unable)
        except SwitchyardError as exc:
            # What cut the stream says more than why nobody could go on.
            logger.warning("the stream cannot go on elsewhere: %s", exc)
            raise as_error(cut) from exc

    def leave_if_stalled(self) -> None:
        """Break off a stream that stands still, where another worker can go on; sooner
        if nothing is heard of its worker at all."""
        connection, worker = self._upstream.connection, self.worker
        if connection is None or worker is None or not self._watch.has_begun:
            return
        if self._is_over or self._upstream.is_complete:
            return
        is_lost = self._fleet.is_lost(worker)
        patience = settings.HEARTBEAT_EXPIRY if is_lost else settings.MOVE_AFTER_SILENCE
        seconds = patience.total_seconds()
        if not connection.owes_since(time.monotonic() - seconds):
            return
        self._mover.look_around()
        if self._mover.has_elsewhere(worker):
            connection.abort(StreamStalled(f"nothing came for {seconds:g} s"))

    async def end_if_unread(self) -> None:
        """Let go of a worker whose answer lies here with nobody taking it: a client
        that has stopped reading, and stays, would hold the place for ever."""
        connection, timeout = self._upstream.connection, settings.UNREAD_TIMEOUT
        seconds = timeout.total_seconds()
        if connection is None or not self._watch.has_begun:
            return
        if connection.is_unread_since(time.monotonic() - seconds):
            logger.warning("a client has read nothing for %g s", seconds)
            self.interrupt(AnswerUnread(seconds))
            await self.aclose()

    # -- the ending ------------------------------------------------------------

    async def aclose(self) -> None:
        """Free the slot, close the engine's request if it runs, record. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._claim.give_up()
        self._tries.let_go()
        self._on_close(self)

    def record(self) -> FinishedRequest:
        """The ledger's row of this exchange, as it stands now."""
        caller, request = self.caller, self.request
        usage, is_estimated = self._upstream.counted()
        return FinishedRequest(
            request_id=request.request_id,
            client_request_id=request.client_request_id,
            face=caller.face,
            endpoint=request.endpoint,
            user_id=caller.user_id,
            key_id=caller.key_id,
            team_id=caller.team_id,
            model=self.model.name,
            worker_id=self.worker.id if self.worker else None,
            stream=request.stream,
            status=self._status(),
            error_code=self.error.code if self.error else "",
            finish_reason=self.finish_reason,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens or 0,
            cost_nanos=self.model.prices.cost_nanos(
                usage.prompt_tokens,
                usage.completion_tokens or 0,
                cached=usage.cached_tokens,
            ),
            tokens_estimated=is_estimated,
            num_retries=self.num_retries,
            num_moves=self.num_moves,
            ttft_seconds=self.ttft_seconds,
            duration_seconds=time.perf_counter() - request.arrived_at,
            queued_seconds=self.queued_seconds,
            overhead_seconds=self.overhead_seconds,
            explanation=self.explanation,
        )

    def settle_turn(self, finished: FinishedRequest) -> None:
        """Charge the caller, if it had to wait for its turn, what it truly took."""
        self._claim.settle(finished)

    def _status(self) -> int:
        if self.error is not None:
            return self.error.status
        return 200 if self._is_over or self._upstream.has_ended else CLIENT_GONE
