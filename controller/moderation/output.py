"""Answers on their way to the client: redacted, cut off, or let through.

This stands behind all that the relay does to an engine's stream (it may have moved from
one worker to another), and before whatever keeps or shows it. What does not come out
here is nowhere else: neither text, nor tokens, nor their log probabilities.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from controller.moderation.matching import BLOCK
from controller.moderation.streaming import Range, StreamedText
from controller.moderation.watch import Watch, find_spots, redacted
from controller.relay import sse
from controller.relay.answers import Usage

logger = logging.getLogger(__name__)

CONTENT_FILTER = "content_filter"
# Texts of a chat's message or delta.
SPOKEN = ("reasoning", "reasoning_content", "content", "refusal")
# They would tell, as numbers, what the text does not.
TOKEN_FIELDS = ("token_ids", "prompt_token_ids")


Channel = tuple[str, int]
"""A field of a choice that text comes in, and for tools the call's number."""
CONTENT: Channel = ("content", 0)


class Answer(Protocol):
    """The exchange whose answer this is."""

    @property
    def shows_usage(self) -> bool: ...

    def cut(self, finish_reason: str) -> Usage:
        """End the engine's work here; the tokens so far."""


class Slot(NamedTuple):
    """A place in a choice where text stands."""

    channel: Channel
    holder: dict[str, Any]
    field: str


def slots_of(choice: dict[str, Any]) -> Iterator[Slot]:
    """Where a model's words stand in a choice, streamed or whole."""
    if isinstance(choice.get("text"), str):
        yield Slot(("text", 0), choice, "text")
    said = choice.get("delta") or choice.get("message") or {}
    for field in SPOKEN:
        if isinstance(said.get(field), str):
            yield Slot((field, 0), said, field)
    for at, call in enumerate(said.get("tool_calls") or ()):
        function = call.get("function") or {}
        if isinstance(function.get("arguments"), str):
            yield Slot(("tool_calls", call.get("index", at)), function, "arguments")
    function = said.get("function_call") or {}
    if isinstance(function.get("arguments"), str):
        yield Slot(("function_call", 0), function, "arguments")


def moderate_whole(body: bytes, watch: Watch) -> tuple[bytes, str]:
    """(the answer as the client may have it, `content_filter` if it was blocked or "").

    One in which nothing is found comes back as it is.
    """
    answer = msgspec.json.decode(body)
    ending, is_changed = "", False
    for choice in answer.get("choices") or ():
        is_changed = _moderate_choice(choice, watch) or is_changed
        if choice.get("finish_reason") == CONTENT_FILTER:
            ending = CONTENT_FILTER
    return (msgspec.json.encode(answer) if is_changed else body), ending


def _moderate_choice(choice: dict[str, Any], watch: Watch) -> bool:
    """Whether the choice had to be changed."""
    is_changed = is_blocked = False
    for slot in list(slots_of(choice)):
        text = slot.holder[slot.field]
        kept, blocks = ("", False) if is_blocked else _moderate_text(text, watch)
        slot.holder[slot.field] = kept
        is_blocked = is_blocked or blocks
        is_changed = is_changed or is_blocked or kept != text
    if is_blocked:
        choice["finish_reason"] = CONTENT_FILTER
    if is_changed:
        _hide_tokens(choice)
    return is_changed


def _moderate_text(text: str, watch: Watch) -> tuple[str, bool]:
    """(what may be seen of it, whether a rule blocks the rest)."""
    spots = find_spots(watch.sets, text)
    for spot in spots:
        watch.note(text, spot)
    blocks = [spot.start for spot in spots if spot.rule.action == BLOCK]
    end = min(blocks, default=len(text))
    before = [spot for spot in spots if spot.start < end]
    return redacted(text[:end], before), bool(blocks)


def _hide_tokens(choice: dict[str, Any]) -> None:
    for name in TOKEN_FIELDS:
        choice.pop(name, None)
    if "logprobs" in choice:
        choice["logprobs"] = None


class Scores(NamedTuple):
    """Log probabilities that came with some of the text, as the engine wrote them."""

    range: Range
    logprobs: dict[str, Any]


class StreamedChoice:
    """One answer of a stream: its texts, and the scores that wait for them.

    `begun` is what its content goes on from.
    """

    def __init__(self, watch: Watch, begun: str = "") -> None:
        self._begun = begun
        self.is_over = False
        self.texts: dict[Channel, StreamedText] = {}
        self._watch = watch
        self._scores: deque[Scores] = deque()

    @property
    def is_blocked(self) -> bool:
        return any(text.blocked_by for text in self.texts.values())

    def moderate(self, choice: dict[str, Any]) -> None:
        """Leave in the choice what may go out of it, and of what came before."""
        for name in TOKEN_FIELDS:
            choice.pop(name, None)
        logprobs = choice.pop("logprobs", None)
        before = self._scored_length
        slots = list(slots_of(choice))
        speaking = {slot.channel for slot in slots if _begins(slot)}
        self._end_others(speaking, choice)
        for slot in slots:
            text = self._text(slot.channel)
            slot.holder[slot.field] = text.feed(slot.holder[slot.field])
            if self.is_blocked:
                break
        if logprobs:
            self._scores.append(Scores(Range(before, self._scored_length), logprobs))
        if choice.get("finish_reason") and not self.is_blocked:
            self.finish(choice)
        if self.is_blocked:
            self._silence(choice, slots)
        choice["logprobs"] = self._take_scores()

    def finish(self, choice: dict[str, Any]) -> None:
        """Let out, into this choice, all that is still held."""
        self.is_over = True
        self._end_others(set(), choice)

    def _end_others(self, going_on: set[Channel], choice: dict[str, Any]) -> None:
        """Where a model has gone from thinking to speaking, say, the thoughts are
        complete. Calls of tools may take turns."""
        if going_on and all(name == "tool_calls" for name, _ in going_on):
            going_on = going_on | {c for c in self.texts if c[0] == "tool_calls"}
        elif not going_on and not self.is_over:
            return
        for channel, text in self.texts.items():
            if channel not in going_on and text.holds and not self.is_blocked:
                _add_text(choice, channel, text.pause())

    def _silence(self, choice: dict[str, Any], slots: list[Slot]) -> None:
        """Once it is blocked, nothing more but what was let out before the match."""
        self.is_over = True
        is_behind = False
        for slot in slots:
            if is_behind:
                slot.holder[slot.field] = ""
            is_behind = is_behind or self._text(slot.channel).blocked_by is not None
        choice["finish_reason"] = CONTENT_FILTER

    def _text(self, channel: Channel) -> StreamedText:
        if channel not in self.texts:
            begun = self._begun if channel == CONTENT else ""
            self.texts[channel] = StreamedText(self._watch, begun)
        return self.texts[channel]

    # -- log probabilities -----------------------------------------------------

    @property
    def _scored(self) -> StreamedText | None:
        """The text that engines score: the content, or a completion's text."""
        return self.texts.get(CONTENT) or self.texts.get(("text", 0))

    @property
    def _scored_length(self) -> int:
        return self._scored.length if self._scored else len(self._begun)

    def _take_scores(self) -> dict[str, Any] | None:
        """The scores of what is out by now, together; those of redacted text are
        dropped."""
        text = self._scored
        taken: dict[str, Any] | None = None
        while self._scores and (text is None or self._scores[0].range.end <= text.sent):
            span, logprobs = self._scores.popleft()
            redactions = text.redactions if text else []
            if any(each.meets(span) for each in redactions):
                continue
            taken = _joined(taken, logprobs)
        if text is not None and self._scores:
            oldest = self._scores[0].range.start
            text.redactions = [each for each in text.redactions if each.end > oldest]
        elif text is not None:
            text.redactions = [each for each in text.redactions if each.end > text.sent]
        if text is not None and text.blocked_by:
            self._scores.clear()
        return taken


def _begins(slot: Slot) -> bool:
    """Whether something is said here; a call of a tool begins without arguments."""
    return slot.channel[0] == "tool_calls" or bool(slot.holder[slot.field])


def _joined(
    taken: dict[str, Any] | None, logprobs: dict[str, Any]
) -> dict[str, Any] | None:
    """Lists behind lists: both shapes of log probabilities are lists by name."""
    if taken is None:
        return logprobs
    return {
        name: (taken.get(name) or []) + value if isinstance(value, list) else value
        for name, value in logprobs.items()
    }


def _add_text(choice: dict[str, Any], channel: Channel, text: str) -> None:
    """Put more text of this channel into the choice, behind what is there already."""
    if not text:
        return
    name, index = channel
    if name == "text":
        choice["text"] = (choice.get("text") or "") + text
        return
    delta = choice.setdefault("delta", {})
    if name == "tool_calls":
        calls = delta["tool_calls"] = delta.get("tool_calls") or []
        calls.append({"index": index, "function": {"arguments": text}})
    elif name == "function_call":
        call = delta.setdefault("function_call", {})
        call["arguments"] = (call.get("arguments") or "") + text
    else:
        delta[name] = (delta.get(name) or "") + text


class OutputScreen:
    """One stream's answers, moderated: whole events in, whole events out.

    `begun` is the answer that the model was asked to go on with, if it was.
    """

    def __init__(self, watch: Watch, answer: Answer, begun: str = "") -> None:
        self._watch = watch
        self._begun = begun
        self._answer = answer
        self._choices: dict[int, StreamedChoice] = {}
        self._head: dict[str, Any] = {}
        self._is_over = False

    async def read(self, next_block: Callable[[], Awaitable[bytes]]) -> bytes:
        """The next events that may go out; empty at the end."""
        while not self._is_over:
            block = await next_block()
            self._is_over = self._is_over or not block
            moderated = self._moderate(block) if block else self._rest()
            if moderated:
                return moderated
        return b""

    def _moderate(self, block: bytes) -> bytes:
        out = []
        for event in sse.split_events(block):
            out.append(self._moderate_event(event))
            if self._is_over:
                break
        return b"".join(out)

    def _moderate_event(self, event: bytes) -> bytes:
        payload = sse.event_data(event)
        if not payload:
            return event  # a comment
        if payload == b"[DONE]":
            return self._rest() + event
        try:
            content = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.DecodeError:
            logger.warning("an event of a moderated stream is no JSON and left out")
            return b""
        if content.get("error") is not None:
            return self._rest() + event
        return self._moderate_content(content)

    def _moderate_content(self, content: dict[str, Any]) -> bytes:
        choices = content.get("choices") or []
        if not choices:
            return _event(content)  # usage
        content.pop("prompt_token_ids", None)
        self._head = {
            name: content[name]
            for name in ("id", "object", "created", "model")
            if name in content
        }
        is_blocked = False
        kept = []
        for choice in choices:
            screened = self._choices.setdefault(
                choice.get("index", 0), StreamedChoice(self._watch, self._begun)
            )
            screened.moderate(choice)
            is_blocked = is_blocked or screened.is_blocked
            if _says_something(choice):
                kept.append(choice)
        out = _event({**content, "choices": kept}) if kept else b""
        return out + self._end_all() if is_blocked else out

    def _end_all(self) -> bytes:
        """What ends a stream of which one answer is blocked: no other goes on."""
        self._is_over = True
        usage = self._answer.cut(CONTENT_FILTER)
        is_chat = "chat" in str(self._head.get("object"))
        shape: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
        others = [
            {"index": index, **shape, "logprobs": None, "finish_reason": CONTENT_FILTER}
            for index, choice in self._choices.items()
            if not choice.is_over
        ]
        out = _event({**self._head, "choices": others}) if others else b""
        if self._answer.shows_usage:
            out += _event({**self._head, "choices": [], "usage": _as_openai(usage)})
        return out + sse.DONE_EVENT

    def _rest(self) -> bytes:
        """What is still held of a stream that ends without saying so."""
        choices = []
        for index, screened in self._choices.items():
            if screened.is_over:
                continue
            choice: dict[str, Any] = {"index": index, "finish_reason": None}
            screened.finish(choice)
            if screened.is_blocked:
                choice["finish_reason"] = CONTENT_FILTER
                self._answer.cut(CONTENT_FILTER)
            if _says_something(choice):
                choices.append(choice)
        return _event({**self._head, "choices": choices}) if choices else b""


def _says_something(choice: dict[str, Any]) -> bool:
    """Whether anything is left of a choice once what is held was taken out."""
    if choice.get("finish_reason") or choice.get("logprobs") or choice.get("text"):
        return True
    delta = choice.get("delta") or {}
    return any(delta.values())


def _as_openai(usage: Usage) -> dict[str, int]:
    completion = usage.completion_tokens or 0
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": usage.prompt_tokens + completion,
    }


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"
