"""Sequences decoded together: one pass through the model gives each its next scores."""

from collections.abc import Sequence as SequenceOf
from typing import Any

import torch

from workers.transformers_engine.cache import RoomyCache
from workers.transformers_engine.sampling import TokenScore, token_scores
from workers.transformers_engine.sequence import Sequence

SCORED_CHUNK_TOKENS = 128


class Batch:
    """Sequences with one KV cache, whose shorter rows are padded on the left.

    A row's place in the cache, its length and its sequence share one index. All but
    the newest token of each sequence is in the cache.
    """

    def __init__(
        self, cache: RoomyCache, sequences: list[Sequence], length: int
    ) -> None:
        self.sequences = sequences
        self._cache = cache
        self._lengths = [length] * len(sequences)

    @property
    def num_cached_tokens(self) -> int:
        return sum(self._lengths)

    def step(self, model: Any) -> torch.Tensor:
        """Return each sequence's next scores, one row each over the vocabulary.

        If the model fails (out of memory, say) the batch is as it was before.
        """
        device = model.device
        newest = [[sequence.tokens[-1]] for sequence in self.sequences]
        positions = torch.tensor(self._lengths, device=device).unsqueeze(1)
        width = max(self._lengths)
        columns = torch.arange(width + 1, device=device)
        try:
            output = model(
                input_ids=torch.tensor(newest, device=device),
                attention_mask=(columns >= width - positions).long(),
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            )
        except Exception:
            self._cache.narrow_to(width)
            raise
        self._lengths = [length + 1 for length in self._lengths]
        scores: torch.Tensor = output.logits[:, -1]
        return scores

    def merge(self, other: "Batch") -> None:
        """Take the rows of `other`, both padded to the longer of the two."""
        width = max(*self._lengths, *other._lengths)
        self._cache.merge(other._cache, width)
        self.sequences += other.sequences
        self._lengths += other._lengths

    def retire(self) -> None:
        """Drop the rows of finished and cancelled sequences, and padding now idle."""
        kept = [
            row
            for row, sequence in enumerate(self.sequences)
            if not (sequence.is_finished or sequence.is_cancelled)
        ]
        if len(kept) == len(self.sequences):
            return
        width = max(self._lengths)
        self.sequences = [self.sequences[row] for row in kept]
        self._lengths = [self._lengths[row] for row in kept]
        if not kept:
            return
        self._cache.select(kept, num_idle=width - max(self._lengths))


class Prefill:
    """A prompt on its way into a cache of its own, a chunk at a time.

    In chunks, so that a long prompt neither stops the others' decoding for long nor
    outlives its client. The `sequences` are the answers wanted to the same prompt.
    """

    def __init__(self, sequences: SequenceOf[Sequence], chunk_tokens: int) -> None:
        self.sequences = list(sequences)
        self._chunk_tokens = chunk_tokens
        self._cache = RoomyCache()
        self._num_done = 0
        self._scores: list[TokenScore] = []
        if self._wants_scores:
            # Scores of a whole chunk over the vocabulary: 50 MB for 100 tokens.
            self._chunk_tokens = min(chunk_tokens, SCORED_CHUNK_TOKENS)

    @property
    def num_cached_tokens(self) -> int:
        return self._num_done

    @property
    def is_cancelled(self) -> bool:
        return all(sequence.is_cancelled for sequence in self.sequences)

    def step(self, model: Any) -> torch.Tensor | None:
        """Take in one chunk; return the first token's scores after the last one."""
        prompt = self.sequences[0].prompt
        chunk = prompt[self._num_done : self._num_done + self._chunk_tokens]
        output = model(
            input_ids=torch.tensor([list(chunk)], device=model.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=0 if self._wants_scores else 1,
        )
        if self._wants_scores:
            self._score(output.logits[0])
        self._num_done += len(chunk)
        if self._num_done < len(prompt):
            return None
        scores: torch.Tensor = output.logits[0, -1]
        return scores

    @property
    def _wants_scores(self) -> bool:
        return self.sequences[0].wants_prompt_scores

    def _score(self, scores: torch.Tensor) -> None:
        """Keep how likely the prompt's tokens are that these rows foretell."""
        num_alternatives = self.sequences[0].sampling.num_logprobs or 0
        prompt, start = self.sequences[0].prompt, self._num_done + 1
        foretold = prompt[start : start + len(scores)]
        if start == 1:
            self._scores.append(TokenScore(prompt[0], None))
        rows = scores[: len(foretold)]
        self._scores += token_scores(rows, foretold, num_alternatives)

    def batch(self) -> Batch:
        """Return the finished prefill as a batch with a row for each answer."""
        for sequence in self.sequences:
            sequence.begin(self._scores)
        if len(self.sequences) > 1:
            self._cache.batch_repeat_interleave(len(self.sequences))
        return Batch(self._cache, self.sequences, self._num_done)
