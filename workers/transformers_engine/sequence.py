"""A sequence: one answer in the making."""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

import torch

from workers.transformers_engine.detokenizer import Detokenizer, Tokenizer
from workers.transformers_engine.grammar import Grammar
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
    """One answer, from its prompt on. `deliver` is called in the scheduler's thread.

    `echo` is the prompt's text where it is to open the answer. With it `max_tokens` may
    be 0: then the prompt is scored and nothing is added.
    """

    prompt: SequenceOf[int]
    sampling: SamplingParameters
    stop: StopRules
    tokenizer: Tokenizer
    device: str
    deliver: Callable[[Delta], None]
    grammar: Grammar | None = None
    echo: str | None = None
    tokens: list[int] = field(default_factory=list)
    is_finished: bool = False
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        self._sampler = Sampler(self.sampling, self.prompt, self.device)
        self._detokenizer = Detokenizer(self.tokenizer, self.prompt)
        self._stop_strings = StopStrings(self.stop.strings)
        self._unshown = UnshownScores()

    @property
    def most_tokens(self) -> int:
        """How many tokens of KV cache the sequence can come to need."""
        return len(self.prompt) + self.stop.max_tokens

    @property
    def wants_prompt_scores(self) -> bool:
        return self.echo is not None and self.sampling.num_logprobs is not None

    def begin(self, prompt_scores: SequenceOf[TokenScore]) -> None:
        """Deliver the prompt if it is to be echoed, now that it is taken in."""
        if self.echo is None:
            return
        self.is_finished = self.stop.max_tokens == 0
        self.deliver(
            Delta(
                text=self.echo,
                scores=tuple(prompt_scores),
                finish_reason="length" if self.is_finished else None,
            )
        )

    def accept(self, scores: torch.Tensor) -> None:
        """Choose the next token by its `scores` and deliver what it brings."""
        too_short = len(self.tokens) < self.stop.min_tokens
        forbidden = sorted(self.stop.tokens) if too_short else ()
        token, score = self._sampler.choose(scores, forbidden, self.grammar)
        self.tokens.append(token)
        if token in self.stop.tokens:
            # The end says nothing, so it has no score either.
            self._finish("stop", self._rest())
            return
        if self.grammar is not None:
            self.grammar.accept(token)
        piece = self._detokenizer.feed(token)
        self._unshown.add(score, piece)
        text, met_stop = self._stop_strings.feed(piece)
        if met_stop:
            self._finish("stop", text, is_cut=True)
        elif self.grammar is not None and self.grammar.is_complete:
            self._finish("stop", text + self._rest())
        elif len(self.tokens) == self.stop.max_tokens:
            # The open character at the end may still complete a stop string.
            rest, met_stop = self._stop_strings.feed(self._detokenizer.rest())
            rest += "" if met_stop else self._stop_strings.rest()
            self._finish("stop" if met_stop else "length", text + rest, met_stop)
        else:
            self._deliver(text, self._unshown.take(len(text)))

    def fail(self, error: Exception) -> None:
        """End the sequence with an error that its client is told of."""
        self.is_finished = True
        self.deliver(Delta(error=error, num_tokens=len(self.tokens)))

    def _rest(self) -> str:
        text, met_stop = self._stop_strings.feed(self._detokenizer.rest())
        return text if met_stop else text + self._stop_strings.rest()

    def _finish(self, reason: str, text: str, is_cut: bool = False) -> None:
        self.is_finished = True
        # Of a text cut before a stop string, the scores would tell what it hides.
        scores = self._unshown.take(len(text)) if is_cut else self._unshown.take_all()
        self._deliver(text, scores, reason)

    def _deliver(
        self,
        text: str,
        scores: tuple[TokenScore, ...],
        finish_reason: str | None = None,
    ) -> None:
        self.deliver(
            Delta(
                text=text,
                num_tokens=len(self.tokens),
                scores=scores,
                finish_reason=finish_reason,
            )
        )


class UnshownScores:
    """The scores of tokens whose text is still held back."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, TokenScore]] = deque()
        self._num_fed = 0
        self._num_shown = 0

    def add(self, score: TokenScore | None, piece: str) -> None:
        """Keep a token's score beside where the text that it completes begins."""
        if score is not None:
            self._held.append((self._num_fed, score))
        self._num_fed += len(piece)

    def take(self, num_letters: int) -> tuple[TokenScore, ...]:
        """Return the scores of the tokens that the next `num_letters` come from."""
        self._num_shown += num_letters
        taken = []
        while self._held and self._held[0][0] < self._num_shown:
            taken.append(self._held.popleft()[1])
        return tuple(taken)

    def take_all(self) -> tuple[TokenScore, ...]:
        taken = tuple(score for _, score in self._held)
        self._held.clear()
        return taken
