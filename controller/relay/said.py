"""What a stream has said so far, for another worker to go on from.

It is kept as it came, which costs next to nothing, and read only when the stream must
move, or has become long.
"""

from array import array
from typing import Any

import msgspec

from controller.relay import sse
from controller.relay.answers import Usage

# Blocks are kept as they came up to so many bytes, then read into text and ids.
RAW_BYTES = 64 * 1024


class StreamDelta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class StreamChoice(msgspec.Struct):
    delta: StreamDelta = msgspec.field(default_factory=StreamDelta)
    text: str = ""
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    """Here in completions, beside the choices in chats."""


class StreamEvent(msgspec.Struct):
    id: str = ""
    object: str = ""
    created: int | float = 0
    model: str = ""
    choices: list[StreamChoice] = []
    prompt_token_ids: list[int] | None = None
    usage: Usage | None = None


_decode = msgspec.json.Decoder(StreamEvent).decode


class Said:
    """What a stream has said so far. Holds at most `limit` bytes, or gives up.

    `why_not` says in words why the stream can no longer move; it is empty if it can.
    """

    def __init__(self, limit: int) -> None:
        self.why_not = ""
        self.head: dict[str, Any] = {}
        """Id, object, time and model, as the client knows them."""
        self.prompt_ids = array("q")
        self.ids = array("q")
        self.num_shown = 0
        """So many of the ids have their text out; behind them may be half a letter."""
        self.tells_ids = True
        """All of the text came with its ids."""
        self.has_reasoned = False
        self.is_reasoning = False
        self.prompt_tokens = 0
        """0: nobody has said."""
        self.counts_events = False
        """The number of tokens is that of events: the engine told no other."""
        self._limit = limit
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._parts: list[str] = []
        self._num_chars = 0
        self._num_before = 0
        self._num_here = 0

    def remember(self, block: bytes) -> None:
        """Keep whole events, as the engine wrote them."""
        if self.why_not:
            return
        self._raw.append(block)
        self._raw_bytes += len(block)
        if self._raw_bytes > RAW_BYTES:
            self.read()

    def read(self) -> None:
        """Read what was kept: from here on a token takes a few bytes."""
        raw, self._raw, self._raw_bytes = b"".join(self._raw), [], 0
        for event in sse.split_events(raw):
            payload = sse.event_data(event)
            if payload and payload != b"[DONE]":
                self._read_event(payload)

    @property
    def text(self) -> str:
        """Of the answer, as the client has it."""
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    @property
    def num_tokens(self) -> int:
        """Of the answer, done so far."""
        return self._num_before + self._num_here

    @property
    def usage(self) -> Usage | None:
        """The tokens so far; None where an engine did not tell them."""
        self.read()
        if self.why_not or self.counts_events or not self.prompt_tokens:
            return None
        return Usage(self.prompt_tokens, self.num_tokens)

    @property
    def is_nothing(self) -> bool:
        """Nothing of the answer is out yet: it may as well begin again."""
        return not (self._num_chars or self.has_reasoned)

    def goes_on(self, num_tokens: int) -> None:
        """Another engine goes on behind the first `num_tokens`; more are forgotten."""
        self._num_before, self._num_here = num_tokens, 0
        if self.tells_ids:
            del self.ids[num_tokens:]
            self.num_shown = min(self.num_shown, num_tokens)

    def _read_event(self, payload: bytes) -> None:
        try:
            self.take(_decode(payload))
        except (msgspec.DecodeError, OverflowError):
            self._give_up("an event of it is not understood")

    def take(self, event: StreamEvent) -> None:
        """Note what an event says."""
        if self.why_not:
            return
        if not self.head:
            self.head = {
                "id": event.id,
                "object": event.object,
                "created": event.created,
                "model": event.model,
            }
        for choice in event.choices:
            prompt = event.prompt_token_ids or choice.prompt_token_ids
            if prompt and not self.prompt_ids:
                self.prompt_ids.extend(prompt)
                self.prompt_tokens = len(prompt)
            self._take_choice(choice, event.usage)
        num_ids = len(self.ids) + len(self.prompt_ids)
        if self._num_chars + num_ids * self.ids.itemsize > self._limit:
            self._give_up("it is too long to be remembered")

    def _take_choice(self, choice: StreamChoice, usage: Usage | None) -> None:
        delta = choice.delta
        text = choice.text or delta.content or ""
        if choice.token_ids is not None:
            self.ids.extend(choice.token_ids)
            self._num_here += len(choice.token_ids)
        elif usage is not None:
            self._num_here = usage.completion_tokens or 0
            self.prompt_tokens = self.prompt_tokens or usage.prompt_tokens
        elif text:
            self.counts_events = True
            self._num_here += 1
        if delta.reasoning or delta.reasoning_content:
            self.has_reasoned = self.is_reasoning = True
        if delta.tool_calls:
            self._give_up("a tool call has begun")
        if text:
            self.tells_ids = self.tells_ids and choice.token_ids is not None
            self.is_reasoning = False
            self._parts.append(text)
            self._num_chars += len(text)
            self.num_shown = len(self.ids)

    def _give_up(self, why: str) -> None:
        self.why_not = why
        self._parts, self._raw, self._raw_bytes = [], [], 0
        self.ids, self.prompt_ids = array("q"), array("q")
