"""What a stream of chat completions says, line by line.

https://platform.openai.com/docs/api-reference/chat-streaming; reasoning is told as
vLLM and DeepSeek do.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from chat.terminal.errors import AnswerCut, Refused

DONE = "[DONE]"


class Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Delta(Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thought(self) -> str:
        return self.reasoning or self.reasoning_content or ""


class Choice(Struct):
    delta: Delta = field(default_factory=Delta)
    finish_reason: str | None = None


class Chunk(Struct):
    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None

    @property
    def text(self) -> str:
        return "".join(each.delta.content or "" for each in self.choices)

    @property
    def thought(self) -> str:
        return "".join(each.delta.thought for each in self.choices)

    @property
    def finish_reason(self) -> str:
        return next((each.finish_reason or "" for each in self.choices), "")


class ChunkReader:
    """Turns a stream's lines into chunks, and knows whether it has ended well."""

    def __init__(self) -> None:
        self._is_whole = False
        self._decode = msgspec.json.Decoder(Chunk).decode

    def chunk(self, line: str) -> Chunk | None:
        """What the line says; None for empty lines, comments and the end.

        Raises `Refused` with the server's words for an error.
        """
        payload = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not payload:
            return None
        if payload == DONE:
            self._is_whole = True
            return None
        try:
            chunk = self._decode(payload)
        except msgspec.MsgspecError as exc:
            raise Refused(f"The stream holds what is no chunk: {exc}") from exc
        if chunk.error:
            raise Refused(f"The answer broke off: {error_message(chunk.error)}")
        self._is_whole = self._is_whole or bool(chunk.finish_reason)
        return chunk

    def check_end(self) -> None:
        """Raise `AnswerCut` if the stream ended before the answer did."""
        if not self._is_whole:
            raise AnswerCut("The server closed the stream before the answer's end.")


def error_message(error: Any) -> str:
    """The words in OpenAI's error object, or whatever stands in its place."""
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    return str(error)
