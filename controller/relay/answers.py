"""What is looked at of an engine's answer on its way through: usage and endings."""

import re
from typing import Annotated, Any

import msgspec

from controller.errors import SwitchyardError, error_event
from controller.relay import engine_errors, sse
from controller.relay.client import UpstreamBroken

FINISH_REASON = re.compile(rb'"finish_reason"\s*:\s*"([a-z_]{1,30})"')


LOOKED_AT = re.compile(rb'"(?:usage|error)"')


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
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details else 0


class Choice(msgspec.Struct):
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """The parts that matter here of an answer, or of one event of a stream."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: dict[str, Any] | None = None


ANSWER = msgspec.json.Decoder(Answer)


class AnswerReader:
    """Notes usage and finish reason, and takes out of a stream what was not asked for.

    `usage` is None until the engine has said it.
    """

    def __init__(self, show_usage: bool) -> None:
        self.usage: Usage | None = None
        self.finish_reason = ""
        self.saw_done = False
        self.error: SwitchyardError | None = None
        self.num_events = 0
        self._show_usage = show_usage

    def read_whole(self, body: bytes, engine: str) -> None:
        """Note what a complete answer says. Raises `UpstreamBroken` if not JSON,
        `SwitchyardError` for an error that came with the status 200."""
        answer = _decode(body)
        if answer.error is not None:
            raise engine_errors.translate_event(engine, answer.error)
        self._take(answer)

    def read_block(self, block: bytes, engine: str) -> bytes:
        """The whole events of `block` as the client may have them.

        Only what a request needs is looked at, by searches in C over the block: a
        `"usage"` inside a text stands there with escaped quotes and is not found.
        """
        self.num_events += block.count(b"\n\n")
        if b'"finish_reason"' in block and (found := FINISH_REASON.search(block)):
            self.finish_reason = found.group(1).decode()
        # At the beginning of a line: inside a line it is a text that speaks of it.
        if sse.DONE in block and (
            block.startswith(sse.DONE) or b"\n" + sse.DONE in block
        ):
            self.saw_done = True
        if b'"usage"' not in block and b'"error"' not in block:
            return block
        kept: list[bytes] = []
        at = 0
        for found in LOOKED_AT.finditer(block):
            if found.start() < at:
                continue  # in the event that was read last
            begin = block.rfind(b"\n\n", at, found.start()) + 2
            begin = at if begin == 1 else begin
            end = block.index(b"\n\n", found.end()) + 2
            kept += (block[at:begin], self._read_event(block[begin:end], engine))
            at = end
        kept.append(block[at:])
        return b"".join(kept)

    def _read_event(self, event: bytes, engine: str) -> bytes:
        """One event as the client may have it; empty for none of its business."""
        answer = _decode(sse.event_data(event))
        if answer.error is not None:
            self.error = engine_errors.translate_event(engine, answer.error)
            return error_event(self.error)
        self._take(answer)
        is_usage_event = answer.usage is not None and not answer.choices
        return b"" if is_usage_event and not self._show_usage else event

    def _take(self, answer: Answer) -> None:
        self.usage = answer.usage or self.usage
        for choice in answer.choices:
            self.finish_reason = (choice.finish_reason or self.finish_reason)[:30]


def _decode(body: bytes) -> Answer:
    try:
        return ANSWER.decode(body)
    except msgspec.DecodeError as exc:
        raise UpstreamBroken("the engine's JSON is not what it should be") from exc
