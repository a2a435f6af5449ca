"""A sequence: one answer in the making."""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

import torch

from workers.transformers_engine.detokenizer import Detokenizer, Tokenizer
from workers.transformers_engine.sampling import (
    Sampler,
    SamplingParameters,
    TokenScore,
)
from workers.transformers_engine.stop_strings import StopStrings


@dataclass(frozen=True, kw_only=True)
class StopRules:
    """When an answer ends."""

    max_tokens: int
    min_tokens: int = 0
    strings: SequenceOf[str] = ()
    tokens: frozenset[int] = frozenset()
    """The model's own end tokens among them, unless the client ignores those."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What one decoding step brought: perhaps no text yet, perhaps the end."""

    text: str = ""
    num_tokens: int = 0
    """Tokens of the completion so far."""
    scores: tuple[TokenScore, ...] = ()
    finish_reason: str | None = None
    error: Exception | None = None


@dataclass(eq=False)
class Sequence:
    """One answer, from its prompt on. `deliver` is called in the scheduler's thread."""

    prompt: SequenceOf[int]
    sampling: SamplingParameters
    stop: StopRules
    tokenizer: Tokenizer
    device: str
    deliver: Callable[[Delta], None]
    tokens: list[int] = field(default_factory=list)
    is_finished: bool = False
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        self._sampler = Sampler(self.sampling, self.prompt, self.device)
        self._detokenizer = Detokenizer(self.tokenizer, self.prompt)
        self._stop_strings = StopStrings(self.stop.strings)

    @property
    def most_tokens(self) -> int:
        """How many tokens of KV cache the sequence can come to need."""
        return len(self.prompt) + self.stop.max_tokens

    def accept(self, scores: torch.Tensor) -> None:
        """Choose the next token by its `scores` and deliver what it brings."""
        too_short = len(self.tokens) < self.stop.min_tokens
        forbidden = sorted(self.stop.tokens) if too_short else ()
        token, score = self._sampler.choose(scores, forbidden)
        self.tokens.append(token)
        if token in self.stop.tokens:
            self._finish("stop", self._rest(), score)
            return
        text, met_stop = self._stop_strings.feed(self._detokenizer.feed(token))
        if met_stop:
            self._finish("stop", text, score)
        elif len(self.tokens) == self.stop.max_tokens:
            # The open character at the end may still complete a stop string.
            rest, met_stop = self._stop_strings.feed(self._detokenizer.rest())
            rest += "" if met_stop else self._stop_strings.rest()
            self._finish("stop" if met_stop else "length", text + rest, score)
        else:
            self._deliver(text, score)

    def fail(self, error: Exception) -> None:
        """End the sequence with an error that its client is told of."""
        self.is_finished = True
        self.deliver(Delta(error=error, num_tokens=len(self.tokens)))

    def _rest(self) -> str:
        text, met_stop = self._stop_strings.feed(self._detokenizer.rest())
        return text if met_stop else text + self._stop_strings.rest()

    def _finish(self, reason: str, text: str, score: TokenScore | None) -> None:
        self.is_finished = True
        self._deliver(text, score, reason)

    def _deliver(
        self, text: str, score: TokenScore | None, finish_reason: str | None = None
    ) -> None:
        self.deliver(
            Delta(
                text=text,
                num_tokens=len(self.tokens),
                scores=(score,) if score is not None else (),
                finish_reason=finish_reason,
            )
        )
