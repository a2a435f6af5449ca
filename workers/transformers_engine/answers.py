"""OpenAI's answers and chunks, as plain dictionaries ready to be encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.transformers_engine.sampling import TokenScore

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
    token_text: Callable[[int], str]

    def _wrapped(self, kind: str, choices: list[Json], usage: Usage | None) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage.as_json() if usage else None,
        }


class ChatAnswers(Envelope):
    """The shapes of `/v1/chat/completions`."""

    def opening(self, index: int) -> Json:
        """Return the first chunk's choice, which names who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json:
        return {
            "index": index,
            "delta": {"content": text} if text else {},
            "logprobs": self._logprobs(scores),
            "finish_reason": reason,
        }

    def whole(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "logprobs": self._logprobs(scores),
            "finish_reason": reason,
        }

    def chunk(self, choices: list[Json], usage: Usage | None) -> Json:
        return self._wrapped("chat.completion.chunk", choices, usage)

    def answer(self, choices: list[Json], usage: Usage) -> Json:
        return self._wrapped("chat.completion", choices, usage)

    def _logprobs(self, scores: Sequence[TokenScore]) -> Json | None:
        if not scores:
            return None
        content = []
        for score in scores:
            entry = self._scored(score.token, score.logprob)
            entry["top_logprobs"] = [self._scored(*each) for each in score.alternatives]
            content.append(entry)
        return {"content": content}

    def _scored(self, token: int, logprob: float) -> Json:
        text = self.token_text(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


class CompletionAnswers(Envelope):
    """The shapes of `/v1/completions`."""

    def opening(self, index: int) -> None:
        """Nobody is named: the first chunk is the first text."""

    def piece(
        self, index: int, text: str, scores: Sequence[TokenScore], reason: str | None
    ) -> Json:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(scores),
            "finish_reason": reason,
        }

    whole = piece

    def chunk(self, choices: list[Json], usage: Usage | None) -> Json:
        return self._wrapped("text_completion", choices, usage)

    answer = chunk

    def _logprobs(self, scores: Sequence[TokenScore]) -> Json | None:
        if not scores:
            return None
        texts = [self.token_text(score.token) for score in scores]
        offsets = [sum(map(len, texts[:position])) for position in range(len(texts))]
        alternatives = [
            {self.token_text(token): logprob for token, logprob in score.alternatives}
            for score in scores
        ]
        return {
            "tokens": texts,
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": alternatives,
            "text_offset": offsets,
        }
