"""A second engine's stream, read so that it is more of the first one's answer.

One id, one role, one count: the client sees nothing of the move but a pause. A stream
that has moved is decoded event by event, which the many that never move are not.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from controller.errors import SwitchyardError, UpstreamFailed
from controller.relay import engine_errors, sse
from controller.relay.answers import Usage
from controller.relay.moving import Continuation, stop_strings
from controller.relay.request import InferenceRequest
from controller.relay.said import Said, StreamEvent
from workers.protocol import Task

Json = dict[str, Any]


class Seam:
    """Looks for stop strings that begin in text of the first engine's, and holds text
    back for as long as there may be one: the second engine knows its own text only."""

    def __init__(self, held: str, stops: Sequence[str], shows_stop: bool) -> None:
        self._text = held
        self._num_held = len(held)
        self._stops = stops if held else []
        self._longest = max(map(len, self._stops), default=0)
        self._shows_stop = shows_stop
        self.is_open = bool(held)
        self.stop: str | None = None
        """The stop string that was met: the answer ends before it."""

    def feed(self, text: str, is_last: bool) -> str:
        """What may go out, now that `text` has come."""
        if not self.is_open:
            return text
        self._text += text
        found = [(self._text.find(stop), stop) for stop in self._stops]
        met = min(
            ((at, s) for at, s in found if 0 <= at < self._num_held), default=None
        )
        if met is not None:
            at, self.stop = met
            self.is_open = False
            return self._text[: at + len(self.stop) if self._shows_stop else at]
        if is_last or len(self._text) - self._num_held >= self._longest - 1:
            self.is_open = False
            return self._text
        return ""


class SplicedReader:
    """An `AnswerReader` for the second engine: what it gives out goes on from `said`,
    and is said then."""

    def __init__(
        self, request: InferenceRequest, said: Said, continuation: Continuation
    ) -> None:
        self.usage: Usage | None = None
        self.finish_reason = ""
        self.saw_done = False
        self.error: SwitchyardError | None = None
        self.num_events = 0
        self.has_all = False
        body = request.body
        self._is_chat = request.task is Task.CHAT
        self._show_usage = request.show_usage
        self._show_running = shows_running_usage(request)
        self._show_ids = bool(body.get("return_token_ids"))
        self._said = said
        self._continuation = continuation
        self._num_chars_before = len(said.text)
        shows_stop = bool(body.get("include_stop_str_in_output"))
        self._seam = Seam(continuation.held, stop_strings(request), shows_stop)

    def read_block(self, block: bytes, engine: str) -> bytes:
        """The block's events as the client may have them, up to a failure."""
        events: list[bytes] = []
        for event in sse.split_events(block):
            payload = sse.event_data(event)
            if payload == b"[DONE]":
                self.saw_done = True
                events.append(event)
            elif payload:
                events += self._read_event(payload, engine)
            if self.error is not None or self.has_all:
                break
        return b"".join(events)

    def _read_event(self, payload: bytes, engine: str) -> list[bytes]:
        try:
            typed = msgspec.json.decode(payload, type=StreamEvent)
            event: Json = msgspec.json.decode(payload)
        except msgspec.DecodeError:
            # Not raised: what came before it is said by now, and must go out.
            self.error = UpstreamFailed(
                "The engine behind this model spoke nonsense in mid-answer. Try again."
            )
            return []
        self.error = failure_of(event, engine)
        if self.error is not None:
            return []
        self.num_events += 1
        usage = self._total(typed.usage)
        self.usage = usage or self.usage
        event |= self._said.head
        _set_usage(event, usage)
        event.pop("prompt_token_ids", None)
        if not event.setdefault("choices", []):
            return [encoded(event)] if self._show_usage and usage else []
        if usage and not self._show_running:
            del event["usage"]
        choices = zip(event["choices"], typed.choices, strict=True)
        event["choices"] = [self._joined(*pair) for pair in choices]
        self._said.take(typed)
        if self._seam.stop is not None:
            return [encoded(event), *self._ended_early()]
        return [encoded(event)] if any(map(_says, event["choices"])) else []

    def _joined(self, choice: Json, typed: Any) -> Json:
        """The choice in the first answer's shape; `typed` becomes what goes out."""
        reason = choice.get("finish_reason")
        given = typed.text or typed.delta.content or ""
        text = self._seam.feed(given, is_last=reason is not None)
        typed.text, typed.delta.content = text, None
        if self._seam.stop is not None:
            reason, choice["stop_reason"] = "stop", self._seam.stop
        self.finish_reason = reason or self.finish_reason
        choice["finish_reason"] = reason
        choice.pop("prompt_token_ids", None)
        if not self._show_ids:
            choice.pop("token_ids", None)
        if not self._is_chat:
            choice["text"] = text
            self._shift_offsets(choice.get("logprobs"))
        elif self._continuation.is_exact:
            choice.pop("text", None)
            choice["delta"] = {"content": text}
        else:
            delta = choice.setdefault("delta", {})
            delta.pop("role", None)
            if text or "content" in delta:
                delta["content"] = text
        return choice

    def _shift_offsets(self, scores: Json | None) -> None:
        """A completion's scores say where in the whole text their tokens begin."""
        if scores and scores.get("text_offset"):
            before = self._num_chars_before
            scores["text_offset"] = [at + before for at in scores["text_offset"]]

    def _total(self, usage: Usage | None) -> Usage | None:
        """The usage of both engines together: the prompt is paid for once."""
        if usage is None:
            return None
        num_done = self._continuation.num_done
        if not self._said.prompt_tokens:
            self._said.prompt_tokens = max(0, usage.prompt_tokens - num_done)
        return Usage(
            prompt_tokens=self._said.prompt_tokens,
            completion_tokens=(usage.completion_tokens or 0) + num_done,
        )

    def _ended_early(self) -> list[bytes]:
        """The end of an answer whose second engine has not noticed that it is one."""
        self.has_all = self.saw_done = True
        ending, self.usage = ending_of(self._said, self._show_usage)
        return ending


def shows_running_usage(request: InferenceRequest) -> bool:
    options = request.body.get("stream_options") or {}
    return bool(options.get("continuous_usage_stats"))


def ending_of(said: Said, show_usage: bool) -> tuple[list[bytes], Usage]:
    """The last events of an answer whose engine did not send them, and its usage."""
    usage = Usage(prompt_tokens=said.prompt_tokens, completion_tokens=said.num_tokens)
    if not show_usage:
        return [sse.DONE_EVENT], usage
    event: Json = {**said.head, "choices": [], "usage": {}}
    _set_usage(event, usage)
    return [encoded(event), sse.DONE_EVENT], usage


def failure_of(event: Json, engine: str) -> SwitchyardError | None:
    """The failure that an event of a stream reports, if it does."""
    if error := event.get("error"):
        reported = error if isinstance(error, dict) else {}
        return engine_errors.translate_event(engine, reported)
    if any(each.get("finish_reason") == "abort" for each in event.get("choices", ())):
        return UpstreamFailed(
            "The engine behind this model was stopped in mid-answer. Try again."
        )
    return None


def _set_usage(event: Json, usage: Usage | None) -> None:
    if usage is not None:
        completion = usage.completion_tokens or 0
        event["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "total_tokens": usage.prompt_tokens + completion,
            "completion_tokens": completion,
        }


def _says(choice: Json) -> bool:
    """Whether there is anything in it for the client."""
    delta = choice.get("delta", choice)
    said = (value for name, value in delta.items() if name in SAYING)
    return bool(any(said) or choice.get("finish_reason") or choice.get("logprobs"))


SAYING = frozenset({"content", "text", "reasoning", "reasoning_content", "tool_calls"})


def encoded(event: Json) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
