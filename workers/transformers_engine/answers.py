"""OpenAI's answers and chunks, as plain dictionaries ready to be encoded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.transformers_engine.sampling import TokenScore
from workers.transformers_engine.tools import ToolCallReader
from workers.transformers_engine.vocabulary import Vocabulary

Json = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int

    def as_json(self) -> Json:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Envelope:
    """What all the chunks of one answer share."""

    id: str
    model: str
    created: int
    vocabulary: Vocabulary

    def _wrapped(self, kind: str, choices: list[Json], usage: Usage | None) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage.as_json() if usage else None,
        }


@dataclass(frozen=True)
class ChatAnswers(Envelope):
    """The shapes of `/v1/chat/completions`."""

    calls_tools: bool = False
    _readers: defaultdict[int, ToolCallReader] = field(
        default_factory=lambda: defaultdict(ToolCallReader)
    )

    def opening(self, index: int) -> Json:
        """Return the first chunk's choice, which names who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json | None:
        """Return a chunk's choice; None while it is open what the text will be."""
        text, calls = self._read(index, text, is_last=reason is not None)
        if not (text or calls or scores or reason):
            return None
        delta: Json = {"content": text} if text else {}
        if calls:
            delta["tool_calls"] = calls
        return {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(scores),
            "finish_reason": self._reason(index, reason),
        }

    def whole(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json:
        text, calls = self._read(index, text, is_last=True)
        message: Json = {"role": "assistant", "content": text}
        if calls:
            for call in calls:
                del call["index"]  # chunks alone have it
            message = {**message, "content": text.strip() or None, "tool_calls": calls}
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(scores),
            "finish_reason": self._reason(index, reason),
        }

    def _read(self, index: int, text: str, is_last: bool) -> tuple[str, list[Json]]:
        if not self.calls_tools:
            return text, []
        read = self._readers[index].feed(text, is_last)
        return read.content, read.calls

    def _reason(self, index: int, reason: str | None) -> str | None:
        has_called = self.calls_tools and self._readers[index].num_calls > 0
        return "tool_calls" if has_called and reason == "stop" else reason

    def chunk(self, choices: list[Json], usage: Usage | None) -> Json:
        return self._wrapped("chat.completion.chunk", choices, usage)

    def answer(self, choices: list[Json], usage: Usage) -> Json:
        return self._wrapped("chat.completion", choices, usage)

    def _logprobs(self, scores: Sequence[TokenScore]) -> Json | None:
        if not scores:
            return None
        content = []
        for score in scores:
            entry = self._scored(score.token, score.logprob or 0.0)
            entry["top_logprobs"] = [self._scored(*each) for each in score.alternatives]
            content.append(entry)
        return {"content": content}

    def _scored(self, token: int, logprob: float) -> Json:
        return {
            "token": self.vocabulary.text_of(token),
            "logprob": logprob,
            "bytes": list(self.vocabulary.bytes_of(token)),
        }


@dataclass(frozen=True)
class CompletionAnswers(Envelope):
    """The shapes of `/v1/completions`."""

    _num_letters: dict[int, int] = field(default_factory=dict)
    """By choice: how many letters its tokens had so far; the next offset."""

    def opening(self, index: int) -> None:
        """Nobody is named: the first chunk is the first text."""

    def piece(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, scores),
            "finish_reason": reason,
        }

    whole = piece

    def chunk(self, choices: list[Json], usage: Usage | None) -> Json:
        return self._wrapped("text_completion", choices, usage)

    answer = chunk

    def _logprobs(self, index: int, scores: Sequence[TokenScore]) -> Json | None:
        if not scores:
            return None
        texts, offsets = [], []
        for score in scores:
            texts.append(self.vocabulary.text_of(score.token))
            offsets.append(self._num_letters.get(index, 0))
            self._num_letters[index] = offsets[-1] + len(texts[-1])
        return {
            "tokens": texts,
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [self._top_logprobs(score) for score in scores],
            "text_offset": offsets,
        }

    def _top_logprobs(self, score: TokenScore) -> dict[str, float] | None:
        """Return the likeliest tokens and the chosen one, as OpenAI does."""
        if score.logprob is None:
            return None
        pairs = (*score.alternatives, (score.token, score.logprob))
        return {self.vocabulary.text_of(token): value for token, value in pairs}
