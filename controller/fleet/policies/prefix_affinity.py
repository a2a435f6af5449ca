"""Prefix affinity: where the prompt's beginning is cached, while there is room."""

import random
from typing import ClassVar

from django.conf import settings

from controller.fleet.policies.backlog import backlog, is_saturated
from controller.fleet.policies.policy import Candidate, Choice, Policy, capacity
from controller.fleet.policies.pool import Pool
from controller.fleet.policies.prefix_index import PrefixIndex
from controller.fleet.wishes import Wish

# Warm is who holds this part of the prompt or more.
WARM_SHARE = 0.8


class PrefixAffinity(Policy):
    """Sticky until saturated (llm-d's method, 2026).

    Of the workers that hold most of the prompt, the one with the least work, this
    prompt's uncached rest included, as long as it is not saturated; else the one
    with the least of all, cached or not.
    """

    reads_prompts: ClassVar[bool] = True

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._index = PrefixIndex(settings.PREFIX_INDEX_BLOCKS)

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        cached = self._cached_tokens(pool, wish)
        warm = [
            (candidate, _work(candidate, wish, tokens))
            for candidate, tokens in cached.items()
            if tokens >= WARM_SHARE * wish.prompt_tokens
        ]
        if warm:
            candidate, _ = self.best(warm)
            if not is_saturated(candidate):
                return Choice(candidate, "warm", cached[candidate], warm)
        among = dict.fromkeys(cached) | dict.fromkeys(pool.compared(self._rng))
        scores = [(each, _work(each, wish, cached.get(each, 0))) for each in among]
        candidate, _ = self.best(scores)
        reason = "warm ones saturated" if warm else "least work"
        return Choice(candidate, reason, cached.get(candidate, 0), scores)

    def note(self, chosen: Candidate, wish: Wish) -> None:
        self._index.note(wish.chain, chosen.start_id)

    @property
    def num_remembered(self) -> int:
        return len(self._index)

    def _cached_tokens(self, pool: Pool, wish: Wish) -> dict[Candidate, int]:
        """The candidates that hold some of the prompt, and how much."""
        cached = {}
        for start_id, depth in self._index.depths(wish.chain).items():
            candidate = pool.find_start(start_id)
            if candidate is not None:
                cached[candidate] = wish.tokens_in_blocks(depth)
        return cached


def _work(candidate: Candidate, wish: Wish, cached_tokens: int) -> float:
    uncached = wish.prompt_tokens - cached_tokens
    return (backlog(candidate) + uncached) / capacity(candidate)
