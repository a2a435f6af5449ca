"""From a row of scores to the next token."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from workers.transformers_engine.grammar import Grammar


@dataclass(frozen=True, kw_only=True)
class SamplingParameters:
    """OpenAI's and vLLM's sampling controls; the defaults change nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    num_logprobs: int | None = None
    """How many alternatives to report beside the chosen token; None: no logprobs."""


NEUTRAL = SamplingParameters()


@dataclass(frozen=True)
class TokenScore:
    """A token's natural log probability, and those of the likeliest alternatives."""

    token: int
    logprob: float | None
    """None for a prompt's first token, which nothing foretells."""
    alternatives: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses one sequence's tokens; with a seed, the same ones each time."""

    def __init__(
        self, parameters: SamplingParameters, prompt: Sequence[int], device: str
    ) -> None:
        self._parameters = parameters
        self._prompt = set(prompt)
        self._completion: Counter[int] = Counter()
        self._generator = torch.Generator(device=device)
        if parameters.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(parameters.seed)

    def choose(
        self,
        scores: torch.Tensor,
        forbidden: Sequence[int] = (),
        grammar: Grammar | None = None,
    ) -> tuple[int, TokenScore | None]:
        """Return the next token and, if asked for, its score under the bare model.

        `scores` is one row over the vocabulary, which is left as it is; `forbidden`
        tokens, and those that break the `grammar`, are not chosen.
        """
        adjusted = self._adjusted(scores.float(), forbidden)
        if grammar is not None:
            grammar.restrict(adjusted)
        if self._parameters.temperature == 0:
            token = int(adjusted.argmax())
        else:
            probabilities = self._probabilities(adjusted)
            drawn = torch.multinomial(probabilities, 1, generator=self._generator)
            token = int(drawn)
        self._completion[token] += 1
        num_alternatives = self._parameters.num_logprobs
        if num_alternatives is None:
            return token, None
        return token, token_scores(scores[None], [token], num_alternatives)[0]

    def _adjusted(self, scores: torch.Tensor, forbidden: Sequence[int]) -> torch.Tensor:
        """Return the scores after penalties and biases."""
        parameters = self._parameters
        scores = scores.clone()
        if parameters.repetition_penalty != 1.0:
            seen = torch.tensor(
                sorted(self._prompt | self._completion.keys()), device=scores.device
            )
            factor = parameters.repetition_penalty
            picked = scores[seen]
            scores[seen] = torch.where(picked > 0, picked / factor, picked * factor)
        if self._completion and (
            parameters.presence_penalty or parameters.frequency_penalty
        ):
            tokens = torch.tensor(list(self._completion), device=scores.device)
            counts = torch.tensor(
                list(self._completion.values()), device=scores.device
            ).float()
            scores[tokens] -= parameters.presence_penalty
            scores[tokens] -= parameters.frequency_penalty * counts
        for token, bias in parameters.logit_bias.items():
            scores[token] += bias
        for token in forbidden:
            scores[token] = -torch.inf
        return scores

    def _probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the distribution to draw from: temperature, top_k, min_p, top_p."""
        parameters = self._parameters
        probabilities = torch.softmax(scores / parameters.temperature, dim=-1)
        if parameters.min_p > 0:
            least = parameters.min_p * probabilities.max()
            probabilities = probabilities.masked_fill(probabilities < least, 0.0)
        if parameters.top_k or parameters.top_p < 1:
            # Sorting all 50,000 to 250,000 costs more than the rest; top_k sorts k.
            num_kept = min(parameters.top_k or len(scores), len(scores))
            kept, tokens = torch.topk(probabilities, num_kept)
            mass_before = kept.cumsum(dim=-1) - kept
            kept = kept.masked_fill(mass_before >= parameters.top_p * kept.sum(), 0.0)
            kept[0] = kept[0].clamp_min(torch.finfo(kept.dtype).tiny)  # top_p of 0
            probabilities = torch.zeros_like(probabilities).scatter_(0, tokens, kept)
        return probabilities


def token_scores(
    scores: torch.Tensor, tokens: Sequence[int], num_alternatives: int
) -> list[TokenScore]:
    """Return how likely each of `tokens` was by its row of `scores`, and what else."""
    logprobs = torch.log_softmax(scores.float(), dim=-1)
    chosen = logprobs[range(len(tokens)), list(tokens)].tolist()
    values, others = torch.topk(logprobs, num_alternatives)
    return [
        TokenScore(token, logprob, tuple(zip(*alternatives, strict=True)))
        for token, logprob, *alternatives in zip(
            tokens, chosen, others.tolist(), values.tolist(), strict=True
        )
    ]
