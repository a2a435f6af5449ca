"""Answers in progress: tasks of the process, which sockets follow and leave.

A generation belongs to its owner, not to a socket: a reload, a second tab or a phone
follows the same one. It ends by itself, by its owner's stop, or when its owner has had
no page open for CHAT_UNATTENDED.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from chat import answers, titles
from chat.answers import Draft, Ending, Wishes
from chat.conversations import Turn
from chat.database import writing
from chat.growing import GrowingText, TextReader
from chat.models import Message
from chat.news import Delta, News, Pause, Thought, ThoughtFor, Waiting
from chat.prompting import Reader, request_body, size_of
from controller.errors import ShuttingDown, SwitchyardError
from controller.fleet.line import Place
from controller.gateway import gateway
from controller.relay.exchange import Exchange
from controller.relay.request import InferenceRequest
from controller.relay.sse import decode_events
from workers.protocol import IMAGE, Task

logger = logging.getLogger(__name__)
State = Message.State

# An answer that says nothing yet is still written this often: its heartbeat.
HEARTBEAT_SECONDS = 1.0
SETTLE_ATTEMPTS = 5


class Generation:
    """One answer: its text as it grows, and the task that makes it grow."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.answer = GrowingText(turn.begun)
        self.thoughts = GrowingText()
        self.reasoning_seconds: float | None = None
        self._thinks_since: float | None = None
        self.is_over = False
        self.is_complete = False
        self.waiting = Waiting(None)
        self._num_turns = 0  # a pause's beginning is one, its end another
        self._followers: set[asyncio.Event] = set()
        self.unattended_since: float | None = None
        self._drafted_at = 0.0
        self._drafted_length = 0
        self._exchange: Exchange | None = None
        self._cancelled = Ending(State.INTERRUPTED)
        self._relaying = asyncio.create_task(self._relay())

    @property
    def text(self) -> str:
        return str(self.answer)

    @property
    def reasoning(self) -> str:
        return str(self.thoughts)

    @property
    def length(self) -> int:
        """In characters, of all that the model has said."""
        return self.answer.length + self.thoughts.length

    @property
    def is_followed(self) -> bool:
        return bool(self._followers)

    async def news(self, at: int, reasoning_at: int = 0) -> AsyncGenerator[News, None]:
        """The text from character `at` on, until the answer is settled and its row too,
        and the reasoning before it from `reasoning_at` on; before both, its place in
        line if it must wait; and the last pause there was, when it begins and ends.

        While this runs the generation is followed. What a slow taker has not taken is
        joined into one delta, and of the places it gets the last: no queue grows.
        """
        woken = asyncio.Event()
        woken.set()
        self._followers.add(woken)
        answer = TextReader(self.answer, at)
        thoughts = TextReader(self.thoughts, reasoning_at)
        num_turns, told, told_seconds = 0, Waiting(None), None
        try:
            is_over = False
            while not is_over:
                await woken.wait()
                woken.clear()
                is_over = self.is_over
                if self.waiting != told:
                    told = self.waiting
                    yield told
                at = thoughts.at
                if text := thoughts.take():
                    yield Thought(at, text)
                if self.reasoning_seconds != told_seconds:
                    told_seconds = self.reasoning_seconds
                    yield ThoughtFor(told_seconds or 0)
                at = answer.at
                if text := answer.take():
                    yield Delta(at, text)
                if num_turns != self._num_turns:
                    num_turns = self._num_turns
                    yield Pause(is_over=num_turns % 2 == 0)
        finally:
            self._followers.discard(woken)

    def stop(self, finish_reason: str = "stopped") -> None:
        """End it now, at its owner's wish or for want of one: the row says stopped."""
        self._cancelled = Ending(State.STOPPED, finish_reason=finish_reason)
        self._relaying.cancel()

    def interrupt(self) -> None:
        """End it now for the process's own reasons."""
        self._relaying.cancel()

    def is_draft_due(self) -> bool:
        """There is new text, or a heartbeat must be written."""
        is_silent = monotonic() - self._drafted_at >= HEARTBEAT_SECONDS
        return is_silent or self.length > self._drafted_length

    def take_draft(self) -> Draft:
        self._drafted_at = monotonic()
        self._drafted_length = self.length
        return self.draft

    @property
    def draft(self) -> Draft:
        """What there is of the answer now."""
        return Draft(self.text, self.reasoning)

    async def run(self) -> None:
        """Wait for the end, whatever it is, settle the row, and tell the followers."""
        began = monotonic()
        try:
            ending = await self._relaying
        except asyncio.CancelledError:  # stopped; or the process is ending
            ending = self._cancelled
        except SwitchyardError as exc:
            is_ours = exc.code == ShuttingDown.code and self.length > 0
            state = State.INTERRUPTED if is_ours else State.FAILED
            ending = Ending(state, error=exc.message, error_code=exc.code)
        except Exception:
            logger.exception("the answer %s failed", self.turn.message_id)
            ending = Ending(
                State.FAILED,
                error="The server failed. Its log has the reason.",
                error_code="internal_error",
            )
        ending = replace(ending, duration_seconds=monotonic() - began)
        await self._settle(self._measured(ending))
        self.is_over = True
        self.is_complete = ending.state == State.COMPLETE
        self._wake_followers()

    async def _relay(self) -> Ending:
        turn = self.turn
        caller = await gateway().chat_caller(turn.user_id)
        model = gateway().find_model(caller, turn.model)
        reader = Reader(model.context_length, sees=IMAGE in model.modalities)
        body = request_body(turn.model, turn.history, turn.setup, reader)
        body |= turn.parameters
        if turn.begun:
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        request = InferenceRequest(
            endpoint="/v1/chat/completions",
            task=Task.CHAT,
            model=turn.model,
            body=body,
            stream=True,
            request_id=turn.request_id,
            size=size_of(body),
            session=str(turn.conversation_id),
        )
        exchange = await gateway().open(caller, request)
        self._exchange = exchange
        async with contextlib.aclosing(exchange):
            self._note_place(exchange.place)
            async for block in exchange.events():
                self._note_place(exchange.place)
                for event in decode_events(block):
                    self._take(event)
                self._note_pause(exchange)
                if self.length >= settings.CHAT_MAX_ANSWER_CHARS:
                    return Ending(State.COMPLETE, finish_reason="length")
        return Ending(State.COMPLETE, finish_reason=exchange.finish_reason)

    def _note_place(self, place: Place | None) -> None:
        if place != self.waiting.place:
            self.waiting = Waiting(place)
            self._wake_followers()

    def _take(self, event: dict[str, Any]) -> None:
        """Append an event's new text to the log; raise the error that it reports."""
        if error := event.get("error"):
            raise SwitchyardError(error["message"], code=error.get("code"))
        for choice in event.get("choices", ()):
            delta = choice["delta"]
            # Engines have not agreed on a name for it.
            thought = delta.get("reasoning") or delta.get("reasoning_content")
            self._grow(self.thoughts, thought)
            self._grow(self.answer, delta.get("content"))

    def _grow(self, text: GrowingText, delta: str | None) -> None:
        # PostgreSQL stores no NUL, and a page shows none.
        delta = (delta or "").replace("\x00", "")
        if not delta:
            return
        if text is self.thoughts and self._thinks_since is None:
            self._thinks_since = monotonic()
        elif text is self.answer:
            self._end_thinking()
        text.append(delta)
        self._wake_followers()

    def _end_thinking(self) -> None:
        if self._thinks_since is not None and self.reasoning_seconds is None:
            self.reasoning_seconds = monotonic() - self._thinks_since

    def _note_pause(self, exchange: Exchange) -> None:
        num_turns = 2 * exchange.num_moves + exchange.is_moving
        if num_turns != self._num_turns:
            self._num_turns = num_turns
            self._wake_followers()

    def _wake_followers(self) -> None:
        for woken in self._followers:
            woken.set()

    def _measured(self, ending: Ending) -> Ending:
        """The ending with what the ledger's row of this answer says."""
        self._end_thinking()
        ending = replace(ending, reasoning_seconds=self.reasoning_seconds)
        if (exchange := self._exchange) is not None:
            record = exchange.record()
            ending = replace(
                ending,
                prompt_tokens=record.prompt_tokens or None,
                completion_tokens=record.completion_tokens or None,
                cost_nanos=record.cost_nanos,
                ttft_seconds=record.ttft_seconds,
            )
        before = self.turn.before
        return ending if before is None else ending.behind(before)

    async def _settle(self, ending: Ending) -> None:
        """Write the end; a database that is away a moment is asked again."""
        message_id = self.turn.message_id
        for attempt in range(SETTLE_ATTEMPTS):
            try:
                await writing(answers.settle, message_id, self.draft, ending)
            except DatabaseError:
                logger.exception("the end of answer %s is not written", message_id)
                await asyncio.sleep(0.2 * 2**attempt)
            else:
                return


class Generations:
    """The answers that this process is writing, and which users have a page open."""

    def __init__(self) -> None:
        self._running: dict[uuid.UUID, Generation] = {}
        self._present: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._titlings: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None

    def start(self, turn: Turn) -> Generation:
        """Generate the answer to a turn in the background."""
        generation = Generation(turn)
        self._running[turn.message_id] = generation
        self._keep(self._run(generation))
        if self._writer is None or self._writer.done():
            self._writer = self._keep(self._write_regularly())
        return generation

    def find(self, message_id: uuid.UUID) -> Generation | None:
        """The generation, if this process runs it. The caller checks its owner."""
        return self._running.get(message_id)

    @contextlib.contextmanager
    def presence(self, user_id: int) -> Iterator[None]:
        """While a page of this user is open here, their answers go on unfollowed."""
        self._present[user_id] += 1
        try:
            yield
        finally:
            self._present[user_id] -= 1
            if not self._present[user_id]:
                del self._present[user_id]

    async def close(self) -> None:
        """Interrupt what still runs and write it down: the process is ending."""
        for generation in self._running.values():
            generation.interrupt()
        await asyncio.gather(*(self._tasks - self._titlings))
        for titling in self._titlings:
            titling.cancel()
        await asyncio.gather(*self._titlings, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)  # the loop itself keeps only weak references
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
        finally:
            del self._running[generation.turn.message_id]
        if generation.is_complete and titles.is_due(generation.turn, generation.text):
            titling = self._keep(titles.give_title(generation.turn, generation.text))
            self._titlings.add(titling)
            titling.add_done_callback(self._titlings.discard)

    async def _write_regularly(self) -> None:
        """The one writer of this process: drafts, heartbeats, and others' wishes."""
        while self._running:
            try:
                await self._write_drafts()
            except Exception:
                logger.exception("answers in progress are not written")
            await asyncio.sleep(settings.CHAT_WRITE_INTERVAL.total_seconds())

    async def _write_drafts(self) -> None:
        due = [each for each in self._running.values() if each.is_draft_due()]
        if not due:
            return
        drafts = {each.turn.message_id: each.take_draft() for each in due}
        wishes = await writing(answers.write_drafts, drafts)
        for generation in due:
            self._heed(generation, wishes[generation.turn.message_id])

    def _heed(self, generation: Generation, wishes: Wishes) -> None:
        """Stop what was asked to stop, and what nobody has attended for too long."""
        is_attended = (
            generation.is_followed
            or wishes.is_attended
            or self._present[generation.turn.user_id] > 0
        )
        if wishes.is_stop_requested:
            generation.stop()
        elif is_attended:
            generation.unattended_since = None
        elif generation.unattended_since is None:
            generation.unattended_since = monotonic()
        else:
            unattended = monotonic() - generation.unattended_since
            if unattended >= settings.CHAT_UNATTENDED.total_seconds():
                generation.stop("unattended")


generations = Generations()


@contextlib.asynccontextmanager
async def running_generations() -> AsyncIterator[Generations]:
    """A phase of a web process: settle what a dead one left, close what runs."""
    await writing(Message.objects.all().settle_interrupted)
    try:
        yield generations
    finally:
        await generations.close()
