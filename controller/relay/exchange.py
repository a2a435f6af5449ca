"""One request's way to an engine and back: dispatch, relay, settle.

An exchange knows no Django request and no socket. An edge opens one by `Gateway.open`,
reads blocks of bytes, and closes it; closing on every ending frees the worker's slot,
ends the engine's work if it still runs, and records the request once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings

from controller.errors import (
    InvalidRequest,
    SwitchyardError,
    UpstreamFailed,
    UpstreamTimedOut,
    error_event,
)
from controller.fleet.addresses import path_on_engine
from controller.fleet.breaker import BreakerState, Cause
from controller.fleet.line import Place
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.prompts import BYTES_PER_TOKEN
from controller.fleet.snapshot import ModelView, WorkerView
from controller.fleet.turns import Turn, Turns
from controller.fleet.wishes import wish_for
from controller.identity.caller import Caller
from controller.ledger.queue import FinishedRequest
from controller.limits.reservation import UNLIMITED, Reservation
from controller.relay import engine_errors, moving, sse
from controller.relay.answers import AnswerReader, StreamReader, Usage
from controller.relay.client import (
    Connection,
    StreamStalled,
    UpstreamBroken,
    UpstreamClient,
    UpstreamDown,
    UpstreamSilent,
    UpstreamUnreachable,
    request_head,
)
from controller.relay.explanation import Explanation
from controller.relay.mover import Mover
from controller.relay.request import InferenceRequest
from controller.relay.retrying import RetryBudget, pause_seconds
from controller.relay.stopwatch import Stopwatch
from workers.protocol import Task

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's word for a client that closed the connection
MAX_ERROR_BYTES = 64 * 1024
TRY_ELSEWHERE = frozenset({502, 503})
# Workers that took a request and broke off: one that kills engines must not reach all.
MAX_BROKEN = 3

T = TypeVar("T")
Revise = Callable[[bytes], tuple[bytes, str]]


class Screen(Protocol):
    """Lets out of a stream what may be seen of it."""

    async def read(self, next_block: Callable[[], Awaitable[bytes]]) -> bytes:
        """The next whole events, out of those that `next_block` gives; empty: over."""


class WorkerFailed(Exception):
    """This worker cannot answer, for this reason; `error` is said if none can."""

    def __init__(self, error: SwitchyardError, reason: object) -> None:
        super().__init__(str(reason))
        self.error = error


class EngineFailed(UpstreamBroken):
    """The engine said in mid-stream that it failed; `error` is what that means."""

    def __init__(self, error: SwitchyardError) -> None:
        super().__init__(error.message)
        self.error = error


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
        self.model = model
        self.wish = wish_for(caller, request, reads_prompt=fleet.reads_prompts(model))
        self.worker: WorkerView | None = None
        self.error: SwitchyardError | None = None
        self.num_retries = 0
        self.first_position: int | None = None
        """Where in line it stood at first; None if it did not have to wait."""
        self.explanation = Explanation()
        self.reservation: Reservation = UNLIMITED
        self.screen: Screen | None = None
        """What a stream passes on its way out, if it must; set before the start."""
        self.revise: Revise | None = None
        """The same for an answer that does not stream: (what is let out of it, why it
        ended if for another reason)."""
        self._watch = Stopwatch(request.arrived_at)
        self._reader: StreamReader = AnswerReader(request.show_usage)
        self._mover = Mover(request, model, fleet, self._fetch)
        self._break: UpstreamBroken | None = None
        self._events = sse.EventBuffer(settings.MAX_EVENT_BYTES)
        self._fleet = fleet
        self._turns = turns
        self._turn: Turn | None = None
        self._waited_turn: Turn | None = None
        self._is_late = False
        self._client = client
        self._retries = retries
        self._on_close = on_close
        self._connection: Connection | None = None
        self._prompt_bytes = 0
        self._block = b""
        self._starting: asyncio.Task[Any] | None = None
        self._slot: Slot | None = None
        self._is_over = False
        self._is_closed = False

    # -- what came of it -------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """Tokens as the engine counted them; zeros until it has said."""
        return self._reader.usage or Usage()

    @property
    def shows_usage(self) -> bool:
        """The client of a stream asked to see the usage event."""
        return self.request.show_usage

    @property
    def finish_reason(self) -> str:
        return self._reader.finish_reason

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
        return max(self.usage.completion_tokens or 0, self._reader.num_events)

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
        if self.first_position is None:
            return None
        return self._watch.queued_seconds()

    @property
    def place(self) -> Place | None:
        """Where it stands in its model's line; None if it does not wait."""
        return self._turn.place() if self._turn is not None else None

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
        self._ask_for_worker()
        if self._turn is not None:
            patience = settings.QUEUE_NOTICE_AFTER.total_seconds()
            if not await self._await_turn(patience if self.request.stream else None):
                self._is_late = True
                self._block = self._notice()
                return
        await self._begin()

    async def _begin(self) -> None:
        await self._try_workers(set())
        self._watch.first_out_at = time.perf_counter()

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

    def _ask_for_worker(self, excluded: Collection[UUID] = ()) -> None:
        """Hold a slot on a worker, or have a turn to wait for."""
        given = self._turns.ask(
            self.model, self.caller, self.request, self.wish, excluded
        )
        if isinstance(given, Slot):
            self._slot, self.worker = given, given.worker
            return
        self._turn = given
        self._watch.queue()
        if self.first_position is None:
            self.first_position = given.first_position

    async def _await_turn(self, seconds: float | None = None) -> bool:
        """Whether the turn came within so many seconds; then a slot is held."""
        assert self._turn is not None
        slot = await self._turn.within(seconds)
        if slot is None or self._is_closed:  # closing has given the slot back
            return False
        self._slot, self.worker = slot, slot.worker
        self._waited_turn, self._turn = self._waited_turn or self._turn, None
        self._watch.unqueue()
        return True

    async def _try_workers(self, failed: set[UUID]) -> None:
        """Ask workers until one answers; one that is down costs a retry, no more.

        Those in `failed` are not asked.
        """
        num_broken = 0
        failure: SwitchyardError | None = None
        begun_at = time.monotonic()
        self._retries.note_request()
        while True:
            try:
                slot = await self._take_slot(failed)
            except SwitchyardError as exc:
                # A worker that was there and failed says more than "none is left".
                raise failure or exc from exc
            worker = slot.worker
            self.explanation.chose(slot)
            try:
                return await self._ask(worker)
            except WorkerFailed as exc:
                failure = exc.error
                self.explanation.failed(exc)
                logger.warning("worker %s failed: %s", worker.address, exc)
                num_broken += isinstance(exc.__cause__, UpstreamBroken)
            deadline = begun_at + settings.RETRY_DEADLINE.total_seconds()
            if num_broken == MAX_BROKEN or time.monotonic() > deadline:
                raise failure
            self._let_go()
            await self._earn_retry(slot, failure)
            failed.add(worker.id)
            self.num_retries += 1

    async def _earn_retry(self, failed: Slot, failure: SwitchyardError) -> None:
        """Wait for a retry's moment; raises the failure where the budget is spent.

        Who was taken out is asked by nobody any more: what was there goes to others at
        once, and cannot come back. Where only last resorts are left, it would.
        """
        breaker = self._fleet.breaker_of(failed.worker)
        if breaker.state is BreakerState.OPEN and not failed.is_last_resort:
            return
        if not self._retries.take():
            raise failure
        await asyncio.sleep(pause_seconds(self.num_retries + 1))

    async def _take_slot(self, excluded: Collection[UUID]) -> Slot:
        """A slot on a worker, which is held; if need be when the turn has come."""
        if self._slot is None:
            self._ask_for_worker(excluded)
            if self._turn is not None:
                await self._await_turn()
        assert self._slot is not None
        return self._slot

    async def _ask(self, worker: WorkerView) -> None:
        """Have this worker's first bytes. Raises `WorkerFailed` to try another."""
        try:
            await self._have_first_bytes(worker)
        except UpstreamUnreachable as exc:
            self._fleet.refused_connection(worker, str(exc))
            error = UpstreamFailed("The worker behind this model cannot be reached.")
            raise WorkerFailed(error, exc) from exc
        except UpstreamBroken as exc:
            self._fleet.breaker_of(worker).fail(_cause(exc), str(exc))
            raise WorkerFailed(_as_error(exc), exc) from exc
        except (SwitchyardError, WorkerFailed) as exc:
            self._judge_answer(worker, exc)
            raise
        self._fleet.breaker_of(worker).succeed()
        if self._slot is not None:
            self._fleet.prefilled(self._slot)

    async def _have_first_bytes(self, worker: WorkerView) -> None:
        connection = await self._send(worker)
        if connection.status != 200:
            await self._read_refusal(worker, connection)
        elif self.request.stream:
            await self._begin_stream(connection)
        else:
            await self._read_answer(worker, connection)

    def _judge_answer(self, worker: WorkerView, exc: Exception) -> None:
        """Count a refusal that is the worker's own fault, never one of a client's."""
        status = self._connection.status if self._connection else 0
        if status == 200 and isinstance(exc, SwitchyardError):
            status = exc.status  # the engine said so inside its answer
        # 401: our key for the engine, which no client can spoil.
        if status >= 500 or status == 401:
            breaker = self._fleet.breaker_of(worker)
            breaker.fail(Cause.ANSWERING_ERRORS, f"it answered {status}")
        self.explanation.failed(f"it answered {status}")

    async def _send(self, worker: WorkerView) -> Connection:
        """Send the request; when this returns, the answer's headers are known."""
        self._events = sse.EventBuffer(settings.MAX_EVENT_BYTES)
        if self._has_begun:
            question, self._reader = await self._mover.go_on_with(worker)
            body = self._body_for(worker, question.body)
            return await self._post(worker, question.path, body)
        self._reader = self._mover.first_reader(worker)
        body = self._body_for(worker, self.request.body)
        self._prompt_bytes = len(body)
        path = self.request.engine_path or self.request.endpoint
        self._watch.sent_at = time.perf_counter()
        connection = await self._post(worker, path, body)
        self._watch.answered_at = connection.received_at
        return connection

    async def _post(self, worker: WorkerView, path: str, body: bytes) -> Connection:
        headers = {
            **worker.extra_headers,
            "accept": "*/*",
            "content-type": "application/json",
            "x-request-id": self.request.request_id,
        }
        if worker.engine_key:
            headers["authorization"] = f"Bearer {worker.engine_key}"
        path = path_on_engine(worker.base_path, path)
        head = request_head(worker.target, "POST", path, headers, len(body))
        self._connection = await self._client.send(worker.target, head, body)
        return self._connection

    async def _fetch(self, worker: WorkerView, path: str, body: bytes) -> bytes:
        """The whole answer to a call beside the request itself."""
        connection = await self._post(worker, path, body)
        answer = await self._read_whole(connection, settings.MAX_ANSWER_BYTES)
        self._client.give_back(worker.target, connection)
        self._connection = None
        return answer

    def _body_for(self, worker: WorkerView, question: dict[str, Any]) -> bytes:
        """The question, encoded whole, in this engine's names."""
        placement = worker.placements[self.model.name]
        body = {**question, "model": placement.upstream_model}
        if self.request.stream:
            asked = body.get("stream_options") or {}
            body["stream_options"] = {**asked, "include_usage": True}
            moving.ask_to_tell(body, self._mover.told_by(worker))
        try:
            return msgspec.json.encode({**body, **worker.extra_body})
        except RecursionError as exc:  # we stand deeper in the stack than its decoder
            raise InvalidRequest("The JSON body is nested too deeply.") from exc

    async def _read_refusal(self, worker: WorkerView, connection: Connection) -> None:
        """Raise what any status but 200 means; the engine's words stay in the log."""
        body = await self._read_whole(connection, MAX_ERROR_BYTES)
        status = connection.status
        logger.debug("worker %s answered %d: %r", worker.address, status, body[:2000])
        task = self.request.task
        if status >= 500:
            logger.warning("worker %s answered %d", worker.address, status)
        retry_after = connection.headers.get("retry-after")
        error = engine_errors.translate(worker.engine, status, body, task, retry_after)
        if status in TRY_ELSEWHERE:
            raise WorkerFailed(error, f"it answered {status}")
        raise error

    async def _read_answer(self, worker: WorkerView, connection: Connection) -> None:
        body = await self._read_whole(connection, settings.MAX_ANSWER_BYTES)
        self._reader = reader = AnswerReader(self.request.show_usage)
        reader.read_whole(body, worker.engine)
        if self.revise is not None:
            body, ending = self.revise(body)
            reader.finish_reason = ending or reader.finish_reason
        self._block = body
        self._is_over = True
        self._let_go()  # the engine is free, however slowly our client reads

    async def _begin_stream(self, connection: Connection) -> None:
        content_type = connection.headers.get("content-type", "")
        if not content_type.startswith("text/event-stream"):
            raise UpstreamBroken("the engine did not answer with a stream of events")
        try:
            self._block = await self._next_block(connection)
        except EngineFailed as exc:  # still time to answer with its status
            raise exc.error from exc
        if not self._block:
            raise UpstreamBroken("the engine's stream was empty")
        _check_first_event(self._block)

    async def _read_whole(self, connection: Connection, limit: int) -> bytes:
        parts, size = [], 0
        while part := await connection.read(self._idle_seconds):
            size += len(part)
            if size > limit:
                raise UpstreamBroken(f"the engine's answer is over {limit} bytes")
            parts.append(part)
        return b"".join(parts)

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
        if self._is_over:
            return b""
        if self._is_late:
            return await self._read_late()
        if self._break is not None and not self._is_closed:
            return await self._go_on(self._break)
        if self._connection is None:  # closed before its end, by a server that stops
            return self._fail(self.error)
        try:
            if self.reservation.grows:
                await self.reservation.grow(self)
            return await self._next_block(self._connection)
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
        if self._turn is not None:
            interval = settings.QUEUE_NOTICE_INTERVAL.total_seconds()
            await self._await_turn(interval)
            return self._notice()
        await self._begin()
        self._is_late = False
        block, self._block = self._block, b""
        return block

    def _notice(self) -> bytes:
        """The place as an SSE comment, which clients pass over."""
        place = self.place
        if place is None:
            return b": it is your turn\n\n"
        seconds = place.expected_seconds
        about = "" if seconds is None else f", about {seconds:.0f} s"
        return f": waiting {place.position} of {place.length}{about}\n\n".encode()

    async def events(self) -> AsyncIterator[bytes]:
        """The blocks of `read`, as an iterator."""
        while block := await self.read():
            yield block

    def cut(self, finish_reason: str) -> Usage:
        """End a stream here, for this reason, and the engine's work with it; the tokens
        so far."""
        self._is_over, self._block = True, b""
        self._reader.finish_reason = finish_reason
        self._let_go()
        return self._counted()[0]

    def interrupt(self, error: SwitchyardError) -> None:
        """End soon: a stream with this as its last event, what has not begun by
        raising it. What is complete already stays so."""
        if self._is_over or self._reader.saw_done:
            return
        self.error = error
        if self._starting is not None:
            self._starting.cancel()
        elif self._connection is not None:
            self._connection.abort(UpstreamBroken(error.message))

    async def _next_block(self, connection: Connection) -> bytes:
        """Whole events, looked through; empty when the stream has ended well."""
        assert self.worker is not None
        reader = self._reader
        while not reader.has_all:
            if reader.error is not None:
                raise EngineFailed(reader.error)
            chunk = await connection.read(self._idle_seconds)
            if not chunk:
                break
            try:
                block = self._events.feed(chunk)
            except sse.EventTooLong as exc:
                raise UpstreamBroken(str(exc)) from exc
            if block and not block.startswith(sse.BEGINNINGS):
                raise UpstreamBroken("the engine's stream is none of events")
            if block and (block := reader.read_block(block, self.worker.engine)):
                return block
        if not reader.saw_done and not reader.finish_reason:
            raise UpstreamBroken("the engine's stream ended in mid-answer")
        self._is_over = True
        # Some engines leave out the customary last line; clients wait for it.
        return b"" if reader.saw_done else sse.DONE_EVENT

    # -- moving ----------------------------------------------------------------

    def _broken_off(self, exc: UpstreamBroken) -> bytes:
        """What the client is told when its stream's worker has broken off."""
        assert self.worker is not None
        self.model = self._mover.look_around()
        # Of several answers, one that has finished is not all.
        has_finished = self._reader.finish_reason and self._mover.may_move
        is_out = self._reader.saw_done or has_finished
        if is_out and self.error is None:  # only the ending is lost
            return self._end_by_ourselves()
        logger.warning("stream cut: %s", exc)
        is_clients = isinstance(exc, EngineFailed) and exc.error.status < 500
        if self.error is not None or is_clients:
            return self._fail(_as_error(exc))
        breaker = self._fleet.breaker_of(self.worker)
        breaker.fail(_cause(exc), str(exc), had_begun=True)
        self.explanation.failed(f"it broke off in mid-stream: {exc}")
        if not self._mover.has_elsewhere(self.worker):
            return self._fail(_as_error(exc))
        self._let_go()
        self._break = exc
        return moving.MOVING_EVENT

    def _end_by_ourselves(self) -> bytes:
        self._is_over = True
        if self._reader.saw_done:
            return b""
        ending = None if self._reader.usage is not None else self._mover.ending()
        if ending is None:
            return sse.DONE_EVENT
        events, self._reader.usage = ending
        return b"".join(events)

    async def _go_on(self, cut: UpstreamBroken) -> bytes:
        """Have the answer go on with another worker; its first events."""
        assert self.worker is not None
        broken, self._break = self.worker, None
        try:
            if self.error is not None:  # interrupted while nobody read
                raise self.error
            await self._interruptible(self._try_elsewhere(broken, cut))
        except SwitchyardError as exc:
            return self._fail(exc)
        self._mover.num_moves += 1
        logger.warning("stream moved: %s to %s", broken.address, self.worker.address)
        block, self._block = self._block, b""
        return block

    async def _try_elsewhere(self, broken: WorkerView, cut: UpstreamBroken) -> None:
        try:
            await self._try_workers(self._mover.unable(broken))
        except SwitchyardError as exc:
            # What cut the stream says more than why nobody could go on.
            logger.warning("the stream cannot go on elsewhere: %s", exc)
            raise _as_error(cut) from exc

    def leave_if_stalled(self) -> None:
        """Break off a stream that stands still, where another worker can go on; sooner
        if nothing is heard of its worker at all."""
        connection, worker = self._connection, self.worker
        if connection is None or worker is None or self._is_over or not self._has_begun:
            return
        is_lost = self._fleet.is_lost(worker)
        patience = settings.HEARTBEAT_EXPIRY if is_lost else settings.MOVE_AFTER_SILENCE
        seconds = patience.total_seconds()
        if not connection.owes_since(time.monotonic() - seconds):
            return
        self._mover.look_around()
        if self._mover.has_elsewhere(worker):
            connection.abort(StreamStalled(f"nothing came for {seconds:g} s"))

    @property
    def _has_begun(self) -> bool:
        """The client has had something: what comes must go on from there."""
        return bool(self._watch.first_out_at)

    # -- the ending ------------------------------------------------------------

    async def aclose(self) -> None:
        """Free the slot, close the engine's request if it runs, record. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._turn is not None:
            self._watch.unqueue()
            self._turns.leave(self._turn)
            self._turn = None
        self._let_go()
        self._on_close(self)

    def _let_go(self) -> None:
        if self._slot is not None:
            self._fleet.release(self._slot)
            self._slot = None
        if self._connection is not None:
            assert self.worker is not None
            self._client.give_back(self.worker.target, self._connection)
            self._connection = None

    def record(self) -> FinishedRequest:
        """The ledger's row of this exchange, as it stands now."""
        caller, request = self.caller, self.request
        usage, is_estimated = self._counted()
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

    def _counted(self) -> tuple[Usage, bool]:
        """The tokens, and whether that is an estimate."""
        usage = self._reader.usage
        is_counted = self.request.task is not Task.TOKENIZE  # no model reads its tokens
        is_estimated = usage is None and is_counted and bool(self._watch.first_out_at)
        if is_estimated:
            usage = self._mover.usage
            is_estimated = usage is None
        if is_estimated:
            # Cut before the engine gave its count: about a token an event.
            usage = Usage(
                prompt_tokens=self._prompt_bytes // BYTES_PER_TOKEN,
                completion_tokens=self._reader.num_events,
            )
        return usage or Usage(), is_estimated or self._mover.is_estimate

    def settle_turn(self, finished: FinishedRequest) -> None:
        """Charge the caller, if it had to wait for its turn, what it truly took."""
        if self._waited_turn is not None:
            work = finished.prompt_tokens + finished.completion_tokens
            self._waited_turn.settle(
                work_tokens=work - finished.cached_tokens,
                completion_tokens=finished.completion_tokens,
            )

    def _status(self) -> int:
        if self.error is not None:
            return self.error.status
        return 200 if self._is_over or self._reader.saw_done else CLIENT_GONE

    @property
    def _idle_seconds(self) -> float:
        return settings.UPSTREAM_IDLE_TIMEOUT.total_seconds()


def _cause(exc: UpstreamBroken) -> Cause:
    is_silent = isinstance(exc, (UpstreamSilent, UpstreamDown, StreamStalled))
    return Cause.HANGING if is_silent else Cause.BREAKING_OFF


def _check_first_event(block: bytes) -> None:
    """Raise `UpstreamBroken` unless a stream begins as one of JSON events does."""
    payload = sse.event_data(block[: block.index(b"\n\n")])
    try:
        if payload and payload != b"[DONE]":
            msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as exc:
        raise UpstreamBroken("the engine's JSON is not what it should be") from exc


def _as_error(exc: UpstreamBroken) -> SwitchyardError:
    if isinstance(exc, EngineFailed):
        return exc.error
    if isinstance(exc, (UpstreamSilent, UpstreamDown, StreamStalled)):
        return UpstreamTimedOut(
            f"The engine behind this model stood still: {exc}. Try again."
        )
    return UpstreamFailed(
        "The engine behind this model broke off before its answer was complete."
        " Try again."
    )
