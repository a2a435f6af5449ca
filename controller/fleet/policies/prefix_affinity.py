"""Prefix affinity: where the prompt's beginning is cached, unless that costs too much.

llm-d's "sticky until saturated" (2026) with another threshold. There, a warm worker
is left once its backlog passes a fixed number of tokens, which depends on the
hardware; and when all workers are behind, all give up their caches at once, and each
reads everything again. Here the backlogs of two workers are weighed against what one
of them would have to read again, so nothing needs calibrating. `docs/routing.md` has
the measurements.
"""

import random
from typing import ClassVar

from django.conf import settings

from controller.fleet.policies.backlog import relative_backlog
from controller.fleet.policies.policy import Candidate, Choice, Policy
from controller.fleet.policies.pool import Pool
from controller.fleet.policies.prefix_index import PrefixIndex
from controller.fleet.wishes import Wish

# A token to be read weighs more than one that another request waits for: reading
# what is cached elsewhere delays all who come after, and evicts what they know. From
# 4 to 16 it matters little; at 1 a busy fleet forgets everything, at 64 one worker
# is asked by all.
READING_WEIGHT = 8


class PrefixAffinity(Policy):
    """The worker with the least backlog per weight, and uncached tokens of this
    prompt, each of which counts `READING_WEIGHT` times; ties fall by lot.

    Where nothing is cached this is least load.
    """

    reads_prompts: ClassVar[bool] = True

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._index = PrefixIndex(settings.PREFIX_INDEX_BLOCKS)

    def choose(self, pool: Pool, wish: Wish) -> Choice:
        cached = self._cached_tokens(pool, wish)
        among = cached | {
            each: cached.get(each, 0) for each in pool.compared(self._rng)
        }
        scores = [
            (
                each,
                relative_backlog(each) + READING_WEIGHT * (wish.prompt_tokens - tokens),
            )
            for each, tokens in among.items()
        ]
        candidate, _ = self.best(scores)
        return Choice(
            candidate,
            "warm" if among[candidate] else "least load",
            cached_tokens=among[candidate],
            scores=scores,
        )

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
