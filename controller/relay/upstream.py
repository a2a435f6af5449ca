"""The engine's side of an exchange: one worker at a time is asked, and its answer read.

Whose fault a failure is, and who is asked next, is decided elsewhere.
"""

import logging
import time
from typing import Any, NoReturn

import msgspec
from django.conf import settings

from controller.errors import InvalidRequest, UpstreamFailed
from controller.fleet.addresses import path_on_engine
from controller.fleet.prompts import BYTES_PER_TOKEN
from controller.fleet.snapshot import WorkerView
from controller.relay import engine_errors, moving, sse
from controller.relay.answers import AnswerReader, StreamReader, Usage
from controller.relay.client import (
    Connection,
    UpstreamBroken,
    UpstreamClient,
    request_head,
)
from controller.relay.failures import EngineFailed, WorkerFailed
from controller.relay.mover import Mover
from controller.relay.request import InferenceRequest
from controller.relay.stopwatch import Stopwatch
from workers.protocol import Task

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES = 64 * 1024
TRY_ELSEWHERE = frozenset({502, 503})


class Upstream:
    """What one request has asked of engines, and what came back."""

    def __init__(
        self,
        request: InferenceRequest,
        model_name: str,
        mover: Mover,
        client: UpstreamClient,
        watch: Stopwatch,
    ) -> None:
        self.connection: Connection | None = None
        """To the worker that is asked now, until it is let go."""
        self.reader: StreamReader = AnswerReader(request.show_usage)
        """What reads the answer of the worker that was asked last."""
        self.is_complete = False
        """The engine's answer is here as a whole."""
        self._request = request
        self._model_name = model_name
        self._mover = mover
        self._client = client
        self._watch = watch
        self._worker: WorkerView | None = None
        self._prompt_bytes = 0
        self._events = sse.EventBuffer(settings.MAX_EVENT_BYTES)

    # -- asking ------------------------------------------------------------------

    async def ask(self, worker: WorkerView) -> bytes:
        """The first bytes of this worker's answer, all of them if not a stream.

        A stream that the client has begun to read is gone on with. Raises
        `WorkerFailed`, `UpstreamUnreachable` and `UpstreamBroken` where another worker
        may do better, `SwitchyardError` for what none would answer.
        """
        self._worker = worker
        connection = await self._send(worker)
        if connection.status != 200:
            await self._read_refusal(worker, connection)
        if self._request.stream:
            return await self._begin_stream(connection)
        return await self._read_answer(worker, connection)

    async def _send(self, worker: WorkerView) -> Connection:
        """Send the request; when this returns, the answer's headers are known."""
        self._events = sse.EventBuffer(settings.MAX_EVENT_BYTES)
        if self._watch.has_begun:
            question, self.reader = await self._mover.go_on_with(worker, self._fetch)
            body = self._body_for(worker, question.body)
            return await self._post(worker, question.path, body)
        self.reader = self._mover.first_reader(worker)
        body = self._body_for(worker, self._request.body)
        self._prompt_bytes = len(body)
        path = self._request.engine_path or self._request.endpoint
        self._watch.sent_at = time.perf_counter()
        connection = await self._post(worker, path, body)
        self._watch.answered_at = connection.received_at
        return connection

    def _body_for(self, worker: WorkerView, question: dict[str, Any]) -> bytes:
        """The question, encoded whole, in this engine's names."""
        placement = worker.placements[self._model_name]
        body = {**question, "model": placement.upstream_model}
        if self._request.stream:
            asked = body.get("stream_options") or {}
            body["stream_options"] = {**asked, "include_usage": True}
            moving.ask_to_tell(body, self._mover.told_by(worker))
        try:
            return msgspec.json.encode({**body, **worker.extra_body})
        except RecursionError as exc:  # we stand deeper in the stack than its decoder
            raise InvalidRequest("The JSON body is nested too deeply.") from exc

    async def _post(self, worker: WorkerView, path: str, body: bytes) -> Connection:
        headers = {
            **worker.extra_headers,
            "accept": "*/*",
            "content-type": "application/json",
            "x-request-id": self._request.request_id,
        }
        if worker.engine_key:
            headers["authorization"] = f"Bearer {worker.engine_key}"
        path = path_on_engine(worker.base_path, path)
        head = request_head(worker.target, "POST", path, headers, len(body))
        self.connection = await self._client.send(worker.target, head, body)
        return self.connection

    async def _fetch(self, worker: WorkerView, path: str, body: bytes) -> bytes:
        """The whole answer to a call beside the request itself."""
        connection = await self._post(worker, path, body)
        answer = await self._read_whole(connection, settings.MAX_ANSWER_BYTES)
        self._client.give_back(worker.target, connection)
        self.connection = None
        return answer

    # -- its answer --------------------------------------------------------------

    async def _read_refusal(
        self, worker: WorkerView, connection: Connection
    ) -> NoReturn:
        """Raise what any status but 200 means; the engine's words stay in the log."""
        body, is_cut = await self._read_some(connection, MAX_ERROR_BYTES)
        status = connection.status
        logger.debug("worker %s answered %d: %r", worker.address, status, body[:2000])
        error = engine_errors.translate(
            worker.engine,
            status,
            body,
            self._request.task,
            retry_after=connection.headers.get("retry-after"),
            is_cut=is_cut,
        )
        if status >= 500 or isinstance(error, UpstreamFailed):
            logger.warning("worker %s answered %d", worker.address, status)
        if status in TRY_ELSEWHERE:
            raise WorkerFailed(error, f"it answered {status}")
        raise error

    async def _read_answer(self, worker: WorkerView, connection: Connection) -> bytes:
        body = await self._read_whole(connection, settings.MAX_ANSWER_BYTES)
        self.reader = reader = AnswerReader(self._request.show_usage)
        reader.read_whole(body, worker.engine)
        self.is_complete = True
        return body

    async def _begin_stream(self, connection: Connection) -> bytes:
        content_type = connection.headers.get("content-type", "")
        if not content_type.startswith("text/event-stream"):
            raise UpstreamBroken("the engine did not answer with a stream of events")
        try:
            block = await self.next_block()
        except EngineFailed as exc:  # still time to answer with its status
            raise exc.error from exc
        if not block:
            raise UpstreamBroken("the engine's stream was empty")
        _check_first_event(block)
        return block

    async def next_block(self) -> bytes:
        """Whole events, looked through; empty when the stream has ended well.

        Raises `UpstreamBroken`.
        """
        connection, worker, reader = self.connection, self._worker, self.reader
        assert connection is not None
        assert worker is not None
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
            if block and (block := reader.read_block(block, worker.engine)):
                return block
        if not reader.saw_done and not reader.finish_reason:
            raise UpstreamBroken("the engine's stream ended in mid-answer")
        self.is_complete = True
        # Some engines leave out the customary last line; clients wait for it.
        return b"" if reader.saw_done else sse.DONE_EVENT

    def ending(self) -> bytes:
        """The last events of a stream of which only they are lost, as far as they are
        known."""
        if self.reader.saw_done:
            return b""
        ending = None if self.reader.usage is not None else self._mover.ending()
        if ending is None:
            return sse.DONE_EVENT
        events, self.reader.usage = ending
        return b"".join(events)

    async def _read_whole(self, connection: Connection, limit: int) -> bytes:
        body, is_cut = await self._read_some(connection, limit)
        if is_cut:
            raise UpstreamBroken(f"the engine's answer is over {limit} bytes")
        return body

    async def _read_some(
        self, connection: Connection, limit: int
    ) -> tuple[bytes, bool]:
        """(the body, or about so many bytes of it; whether there is more)."""
        parts, size = [], 0
        while part := await connection.read(self._idle_seconds):
            parts.append(part)
            size += len(part)
            if size > limit:
                return b"".join(parts), True
        return b"".join(parts), False

    @property
    def _idle_seconds(self) -> float:
        return settings.UPSTREAM_IDLE_TIMEOUT.total_seconds()

    # -- what has come of it -----------------------------------------------------

    @property
    def status(self) -> int:
        """Of the answer under way; 0 while there is none."""
        return self.connection.status if self.connection is not None else 0

    @property
    def has_ended(self) -> bool:
        """The engine has nothing more to say."""
        return self.is_complete or self.reader.saw_done

    def counted(self) -> tuple[Usage, bool]:
        """The tokens, and whether that is an estimate."""
        usage = self.reader.usage
        is_read = self._request.task is not Task.TOKENIZE  # else by no model
        is_estimated = usage is None and is_read and self._watch.has_begun
        if is_estimated:
            usage = self._mover.usage
            is_estimated = usage is None
        if is_estimated:
            # Cut before the engine gave its count: about a token an event.
            usage = Usage(
                prompt_tokens=self._prompt_bytes // BYTES_PER_TOKEN,
                completion_tokens=self.reader.num_events,
            )
        return usage or Usage(), is_estimated or self._mover.is_estimate

    def let_go(self) -> None:
        """End the engine's work if it still runs; else its connection is kept."""
        if self.connection is not None:
            assert self._worker is not None
            self._client.give_back(self._worker.target, self.connection)
            self.connection = None


def _check_first_event(block: bytes) -> None:
    """Raise `UpstreamBroken` unless a stream begins as one of JSON events does."""
    payload = sse.event_data(block[: block.index(b"\n\n")])
    try:
        if payload and payload != b"[DONE]":
            msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as exc:
        raise UpstreamBroken("the engine's JSON is not what it should be") from exc
