"""What is looked at of an engine's answer on its way through: usage and endings."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Protocol

import msgspec

from controller.errors import SwitchyardError, UpstreamFailed
from controller.relay import engine_errors, sse
from controller.relay.client import UpstreamBroken

FINISH_REASON = re.compile(rb'"finish_reason"\s*:\s*"([a-z_]{1,30})"')
USAGE = re.compile(rb'"usage"')
# An engine that is stopped ends what it was writing with this reason.
FAILURE = re.compile(rb'"error"|"finish_reason"\s*:\s*"abort"')
# What we ask of an engine to be able to move its stream, and few clients want to see.
TOKEN_IDS = re.compile(rb',\s*"(?:prompt_)?token_ids":\s*(?:null|\[[\d,\s]*\])')
RUNNING_USAGE = re.compile(rb',\s*"usage":\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')


# What the ledger's columns take; an engine that says more cannot count.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class PromptDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None


class Usage(msgspec.Struct):
    """Tokens as the engine counted them."""

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens | None = 0
    prompt_tokens_details: PromptDetails | None = None

    @property
    def cached_tokens(self) -> int:
        """Of the prompt's. Some providers count them beside those, not among them: more
        than all would cost less than nothing."""
        details = self.prompt_tokens_details
        cached = (details.cached_tokens or 0) if details else 0
        return min(cached, self.prompt_tokens)


class Choice(msgspec.Struct):
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """The parts that matter here of an answer, or of one event of a stream."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: dict[str, Any] | None = None


ANSWER = msgspec.json.Decoder(Answer)


class Memory(Protocol):
    """What keeps a stream as it came, to go on from there elsewhere."""

    def remember(self, block: bytes) -> None: ...


class StreamReader(Protocol):
    """What an exchange asks of whatever reads its engine's stream."""

    usage: Usage | None
    finish_reason: str
    saw_done: bool
    error: SwitchyardError | None
    num_events: int
    has_all: bool

    def read_block(self, block: bytes, engine: str) -> bytes:
        """The whole events of `block` as the client may have them, up to one by which
        the engine says that it failed: then `error` is set."""


class AnswerReader:
    """Notes usage and finish reason, and takes out of a stream what was not asked for.

    `usage` is None until the engine has said it. With `hides_ids` the tokens' ids,
    and with `hides_running` the usage so far, are the gateway's own business.
    """

    has_all = False

    def __init__(
        self,
        show_usage: bool,
        *,
        hides_ids: bool = False,
        hides_running: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self.usage: Usage | None = None
        self.finish_reason = ""
        self.saw_done = False
        self.error: SwitchyardError | None = None
        self.num_events = 0
        self._show_usage = show_usage
        self._hides_ids = hides_ids
        self._hides_running = hides_running
        self._memory = memory

    def read_whole(self, body: bytes, engine: str) -> None:
        """Note what a complete answer says. Raises `UpstreamBroken` if not JSON,
        `SwitchyardError` for an error that came with the status 200."""
        answer = _decode(body)
        if answer.error is not None:
            raise engine_errors.translate_event(engine, answer.error)
        self._take(answer)

    def read_block(self, block: bytes, engine: str) -> bytes:
        """The whole events of `block` as the client may have them, up to a failure.

        Only what a request needs is looked at, by searches in C over the block: a
        `"usage"` inside a text stands there with escaped quotes and is not found.
        """
        if b'"error"' in block or b'"abort"' in block:
            block = self._before_failure(block, engine)
        shown = block
        if self._hides_ids and b'token_ids"' in block:
            shown = TOKEN_IDS.sub(b"", block)
        if b'"usage"' in shown:
            shown = self._without_usage(shown)
        self.num_events += block.count(b"\n\n")
        if b'"finish_reason"' in block and (found := FINISH_REASON.search(block)):
            self.finish_reason = found.group(1).decode()
        # At the beginning of a line: inside a line it is a text that speaks of it.
        if sse.DONE in block and (
            block.startswith(sse.DONE) or b"\n" + sse.DONE in block
        ):
            self.saw_done = True
        if self._memory is not None:
            self._memory.remember(block)
        return shown

    def _before_failure(self, block: bytes, engine: str) -> bytes:
        """The block up to the event by which the engine says that it failed."""
        for begin, end in _events_with(FAILURE, block):
            answer = _decode(sse.event_data(block[begin:end]))
            if answer.error is not None:
                self.error = engine_errors.translate_event(engine, answer.error)
            elif any(choice.finish_reason == "abort" for choice in answer.choices):
                self.error = UpstreamFailed(
                    "The engine behind this model was stopped in mid-answer. Try again."
                )
            if self.error is not None:
                return block[:begin]
        return block

    def _without_usage(self, block: bytes) -> bytes:
        kept: list[bytes] = []
        at = 0
        for begin, end in _events_with(USAGE, block):
            kept += (block[at:begin], self._read_usage(block[begin:end]))
            at = end
        kept.append(block[at:])
        return b"".join(kept)

    def _read_usage(self, event: bytes) -> bytes:
        """One event as the client may have it; empty for none of its business."""
        answer = _decode(sse.event_data(event))
        self._take(answer)
        if answer.usage is None:
            return event
        if not answer.choices:
            return event if self._show_usage else b""
        return RUNNING_USAGE.sub(b"", event, 1) if self._hides_running else event

    def _take(self, answer: Answer) -> None:
        self.usage = answer.usage or self.usage
        for choice in answer.choices:
            self.finish_reason = (choice.finish_reason or self.finish_reason)[:30]


def _events_with(pattern: re.Pattern[bytes], block: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each event of `block` in which the pattern is found."""
    at = 0
    for found in pattern.finditer(block):
        if found.start() < at:
            continue  # in the event that was looked at last
        begin = block.rfind(b"\n\n", at, found.start()) + 2
        begin = at if begin == 1 else begin
        at = block.index(b"\n\n", found.end()) + 2
        yield begin, at


def _decode(body: bytes) -> Answer:
    try:
        return ANSWER.decode(body)
    except msgspec.DecodeError as exc:
        raise UpstreamBroken("the engine's JSON is not what it should be") from exc
