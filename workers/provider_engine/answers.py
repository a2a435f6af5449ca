"""Answers as OpenAI gives them, of what any-llm made of a provider's."""

from typing import Any

import msgspec
from any_llm.types.completion import (
    ChatCompletion,
    ChatCompletionChunk,
    CompletionUsage,
)

Json = dict[str, Any]


class ChatAnswer:
    """One answer, whole or in chunks, under one id and the name that was asked for."""

    def __init__(self, answer_id: str, model: str, created: int) -> None:
        self.usage: CompletionUsage | None = None
        """As last told: some providers tell it with every chunk."""
        self._envelope = {"id": answer_id, "model": model, "created": created}
        self._has_begun = False
        self._calls: dict[int, int] = {}

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    def whole(self, completion: ChatCompletion) -> Json:
        self.usage = completion.usage
        body = completion.model_dump(exclude_none=True) | self._envelope
        for choice in body["choices"]:
            message = choice["message"]
            message["content"] = message.get("content") or (
                None if message.get("tool_calls") else ""
            )
            choice.setdefault("logprobs", None)
        return body

    def piece(self, chunk: ChatCompletionChunk) -> bytes | None:
        """Return the event for a chunk; None if it says nothing to a client."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        delta = choice.delta.model_dump(exclude_none=True, exclude={"role"})
        for call in delta.get("tool_calls", ()):
            # Anthropic counts its blocks, of which text is one; clients count calls.
            call["index"] = self._calls.setdefault(call["index"], len(self._calls))
        if delta.get("content") == "":
            del delta["content"]
        if not delta and choice.finish_reason is None:
            return None  # until the first text, a failure can still have a status
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", "content": "", **delta}
        return self._event(
            [
                {
                    "index": 0,
                    "delta": delta,
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
            ]
        )

    def last_piece(self) -> bytes | None:
        """Return the event that tells the usage; None if the provider did not."""
        if self.usage is None:
            return None
        return self._event([], usage=self.usage.model_dump(exclude_none=True))

    def _event(self, choices: list[Json], **more: Any) -> bytes:
        return msgspec.json.encode(
            {
                **self._envelope,
                "object": "chat.completion.chunk",
                "choices": choices,
                **more,
            }
        )
