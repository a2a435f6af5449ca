"""What an engine's work costs, as it was measured on a real one.

SmolLM2-135M in vLLM 0.32 on two CPU cores (AVX2). A worker here is such an engine.
Other hardware moves all times together; what moves the results is the ratio between
reading and writing, which on a GPU favours caching less for short prompts and more
for long ones.
"""

from dataclasses import dataclass

BLOCK_TOKENS = 128
"""vLLM's block on a CPU, and 512 bytes of English: a block of our hash chain."""


@dataclass(frozen=True)
class Costs:
    """Seconds and sizes of one engine."""

    seconds_per_prompt_token: float = 9.1 / 2816
    """Measured: 9.1 s to the first token of a prompt of 2,816 that is not cached."""
    seconds_per_step: float = 0.034
    seconds_per_sequence: float = 0.0049
    """With the line above fitted to decoding at 25.3, 112.8 and 139.3 tokens/s with 1,
    8 and 16 sequences (float32, threads bound): 39, 73 and 112 ms a step."""
    tokens_per_step: int = 2048
    """vLLM's budget: a longer prompt is read in chunks, between which others write."""
    max_sequences: int = 16
    """As far as decoding was measured."""
    cache_blocks: int = 2**30 // (46_080 * BLOCK_TOKENS)
    """1 GiB of keys and values (30 layers, 3 heads of 64, float32): 23,000 tokens."""
