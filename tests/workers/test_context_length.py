from typing import Any

import pytest
from transformers import (
    BertConfig,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
    XLMRobertaConfig,
)

from workers.transformers_engine.context_length import context_length


class SomeTokenizer:
    def __init__(self, model_max_length: float | None = 1e30) -> None:
        self.model_max_length = model_max_length


YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32768,
    "rope_theta": 1e6,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 5e5,
}
LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (LlamaConfig(max_position_embeddings=4096), 4096),
        (LlamaConfig(max_position_embeddings=4096, rope_parameters=LINEAR), 8192),
        (LlamaConfig(max_position_embeddings=131072, rope_parameters=LLAMA3), 131072),
        (Qwen2Config(max_position_embeddings=32768, rope_parameters=YARN), 131072),
        (Qwen2Config(max_position_embeddings=131072, rope_parameters=YARN), 131072),
        (GPT2Config(n_positions=1024), 1024),
        (BertConfig(max_position_embeddings=512), 512),
        (XLMRobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
        (Gemma3Config(text_config={"max_position_embeddings": 9000}), 9000),
    ],
)
def test_the_configuration_says_how_long_a_context_is(config: Any, length: int) -> None:
    assert context_length(config, SomeTokenizer()) == length


def test_the_tokenizers_limit_counts_where_it_is_the_smaller() -> None:
    config = LlamaConfig(max_position_embeddings=4096)

    assert context_length(config, SomeTokenizer(2048)) == 2048
    assert context_length(config, SomeTokenizer(8192)) == 4096
    assert context_length(config, SomeTokenizer(None)) == 4096
