"""Attention of one new token where several query heads share their keys and values.

transformers has torch group the heads, which in bfloat16 is slow on a CPU, or, where
rows are padded, repeats the cache for each. The heads of a group are as well the rows
of one query: then the cache is read once, as it lies there.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "grouped_sdpa"


def use_grouped_attention(model: Any) -> None:
    """Have `model` decode so, if it uses torch's attention as it is."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return what transformers' own attention does: batch, tokens, heads, size."""
    batch, num_heads, num_tokens, size = query.shape
    num_groups = key.shape[1]
    if num_tokens > 1 or num_heads == num_groups:
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return attended
    rows = query.reshape(batch, num_groups, num_heads // num_groups, size)
    if attention_mask is not None:
        attention_mask = attention_mask.expand(-1, -1, rows.shape[2], -1)
    output = torch.nn.functional.scaled_dot_product_attention(
        rows, key, value, attn_mask=attention_mask, scale=options.get("scaling")
    )
    return output.reshape(batch, num_tokens, num_heads, size), None


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
