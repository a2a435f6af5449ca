"""Who asks what: conversations that share system prompts, or prompts of their own."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.simulation.costs import BLOCK_TOKENS

LONGEST_QUESTION = 6000


@dataclass(frozen=True)
class Workload:
    """Lengths are means in tokens; each is drawn between half and one and a half."""

    name: str
    num_groups_per_worker: int
    """System prompts; each conversation has one of them."""
    system_tokens: int
    question_tokens: int
    answer_tokens: int
    num_turns: int
    think_seconds: float
    is_uneven: bool = False
    """Questions are drawn from an exponential distribution instead: most are short,
    and a few hold a worker up for long."""


SHARED = Workload("shared", 6, 1800, 100, 100, 4, 20.0)
"""Six assistants for each worker, with long instructions and short questions. One
worker's cache has room for about ten conversations, not for all."""
UNSHARED = Workload("unshared", 0, 0, 700, 100, 1, 0.0, is_uneven=True)
"""Every prompt its own: there is nothing that a cache could know."""


@dataclass(frozen=True)
class Turn:
    """One request: the conversation so far, its new question, and the answer to be."""

    conversation: "Conversation"
    number: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def num_blocks(self) -> int:
        return -(-(self.prompt_tokens + self.answer_tokens) // BLOCK_TOKENS)

    @cached_property
    def all_blocks(self) -> tuple[int, ...]:
        return self.conversation.blocks(self.prompt_tokens + self.answer_tokens)

    @cached_property
    def prompt_blocks(self) -> tuple[int, ...]:
        return self.all_blocks[: self.prompt_tokens // BLOCK_TOKENS]


@dataclass
class Conversation:
    """A system prompt that others have too, then turns of its own."""

    number: int
    group: int
    system_tokens: int
    exchanges: list[tuple[int, int]]
    """Tokens of each question and of its answer."""
    think_seconds: list[float] = field(default_factory=list)

    def turn(self, number: int) -> Turn:
        past = sum(map(sum, self.exchanges[:number]))
        question, answer = self.exchanges[number]
        return Turn(self, number, self.system_tokens + past + question, answer)

    def blocks(self, num_tokens: int) -> tuple[int, ...]:
        """The whole blocks of its first tokens, each named by all before it."""
        num_shared = min(self.system_tokens, num_tokens) // BLOCK_TOKENS
        shared = (hash((1, self.group, at)) for at in range(num_shared))
        whole = num_tokens // BLOCK_TOKENS
        own = (hash((2, self.number, at)) for at in range(num_shared, whole))
        return (*shared, *own)


def conversations(
    workload: Workload, num_workers: int, rng: random.Random
) -> Iterator[Conversation]:
    """Without an end. Groups are asked for unevenly: the n-th like 1/sqrt(n)."""
    num_groups = max(1, workload.num_groups_per_worker * num_workers)
    popularity = [1 / (rank + 1) ** 0.5 for rank in range(num_groups)]
    sizes = [_around(workload.system_tokens, rng) for _ in range(num_groups)]
    number = 0
    while True:
        number += 1
        [group] = rng.choices(range(num_groups), popularity)
        exchanges = [_exchange(workload, rng) for _ in range(workload.num_turns)]
        thinks = [
            rng.expovariate(1 / workload.think_seconds) if workload.think_seconds else 0
            for _ in exchanges
        ]
        yield Conversation(number, group, sizes[group], exchanges, thinks)


def _exchange(workload: Workload, rng: random.Random) -> tuple[int, int]:
    question = _around(workload.question_tokens, rng)
    if workload.is_uneven:
        drawn = round(rng.expovariate(1 / workload.question_tokens))
        question = min(drawn, LONGEST_QUESTION)
    return max(1, question), max(1, _around(workload.answer_tokens, rng))


def _around(mean: int, rng: random.Random) -> int:
    return round(mean * rng.uniform(0.5, 1.5))
