"""Attention by groups of heads says what transformers' own says."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workers.transformers_engine import attention
from workers.transformers_engine.attention import use_grouped_attention
from workers.transformers_engine.cache import RoomyCache

PADDED = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])


def model(num_key_heads: int) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=num_key_heads,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).eval()


def scores_of_two_steps(model: Any, mask: torch.Tensor) -> torch.Tensor:
    """Return the next token's scores after five tokens, then one more."""
    cache, tokens = RoomyCache(), torch.arange(12).view(2, 6)
    steps = (tokens[:, :5], mask[:, :5]), (tokens[:, 5:], mask)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    with torch.inference_mode():
        for step, seen in steps:
            end = seen.shape[1]
            scores: torch.Tensor = model(
                input_ids=step,
                attention_mask=seen,
                position_ids=positions[:, end - step.shape[1] : end],
                past_key_values=cache,
            ).logits[:, -1]
    return scores


@pytest.mark.parametrize("num_key_heads", [1, 2, 4])
@pytest.mark.parametrize("mask", [PADDED, torch.ones_like(PADDED)])
def test_grouped_heads_attend_to_what_each_would(
    num_key_heads: int, mask: torch.Tensor
) -> None:
    plain = scores_of_two_steps(model(num_key_heads), mask)
    grouped_model = model(num_key_heads)

    use_grouped_attention(grouped_model)

    name = grouped_model.config._attn_implementation
    assert name == attention.NAME
    assert torch.allclose(scores_of_two_steps(grouped_model, mask), plain, atol=1e-5)


def test_a_model_with_attention_of_its_own_keeps_it() -> None:
    eager = model(2)
    eager.set_attn_implementation("eager")

    use_grouped_attention(eager)

    assert eager.config._attn_implementation == "eager"
