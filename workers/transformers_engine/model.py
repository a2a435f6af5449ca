"""A model folder, loaded: weights in the precision that the device does best."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from workers import cpu
from workers.errors import BadSetting

logger = logging.getLogger(__name__)

CACHE_SHARE_OF_FREE_MEMORY = 0.4
UNKNOWN_CONTEXT_LENGTH = 2048


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to decode, and what the engine has to know of it."""

    model: Any
    tokenizer: Any
    context_length: int
    cache_tokens: int
    """How many tokens of KV cache fit the memory that is free after loading."""
    end_tokens: frozenset[int]

    @property
    def device(self) -> str:
        return str(self.model.device)

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)


def load_model(
    path: str, device: str | None, dtype: str | None, max_model_len: int | None
) -> LoadedModel:
    """Return the model in the folder `path`; raises BadSetting if it cannot be had.

    `max_model_len` bounds the context, which is otherwise as long as the model was
    trained for. Remote code, which a model folder may name, is never run.
    """
    if not Path(path).is_dir():
        raise BadSetting(f"--model-path {path} is not a folder with a model.")
    os.environ["HF_HUB_OFFLINE"] = "1"
    device = device or _best_device()
    if device == "cpu":
        # One core stays free for the HTTP side, and whatever else runs here.
        torch.set_num_threads(max(1, len(cpu.usable_cpus()) - 1))
    config = AutoConfig.from_pretrained(path)
    _refuse_other_caches(config)
    model = AutoModelForCausalLM.from_pretrained(
        path, config=config, dtype=_dtype(device, dtype)
    )
    model = model.to(device).eval()
    logger.info("Loaded %s on %s as %s.", path, device, model.dtype)
    context_length = max_model_len or _trained_length(config)
    cache_tokens = _free_memory(device) // _cache_bytes_per_token(config, model.dtype)
    tokenizer = AutoTokenizer.from_pretrained(path)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_length=min(context_length, cache_tokens),
        cache_tokens=cache_tokens,
        end_tokens=_end_tokens(model, tokenizer),
    )


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(device: str, given: str | None) -> torch.dtype | str:
    if given and given != "auto":
        found = getattr(torch, given.replace("half", "float16"), None)
        if not isinstance(found, torch.dtype):
            raise BadSetting(f"--dtype {given} is unknown; try float32 or bfloat16.")
        return found
    if device == "cpu" and not cpu.has_fast_bfloat16():
        return torch.float32  # emulated bfloat16 is several times slower in a batch
    return "auto"


def _refuse_other_caches(config: Any) -> None:
    """Refuse models whose state is not keys and values: rows of it cannot be padded."""
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    others = kinds - {"full_attention", "sliding_attention", "chunked_attention"}
    if others:
        raise BadSetting(
            f"This engine cannot run layers of the kind {', '.join(sorted(others))};"
            " serve the model with `python -m workers.vllm_worker`."
        )


def _trained_length(config: Any) -> int:
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or UNKNOWN_CONTEXT_LENGTH)


def _cache_bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    text = config.get_text_config()
    num_heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // num_heads
    num_cached_heads = getattr(text, "num_key_value_heads", None) or num_heads
    keys_and_values = 2 * text.num_hidden_layers * num_cached_heads * head_size
    return int(keys_and_values * dtype.itemsize)


def _free_memory(device: str) -> int:
    """Return the bytes that the KV cache may take."""
    if device.startswith("cuda"):
        free = torch.cuda.mem_get_info()[0]
    else:
        free = psutil.virtual_memory().available
    return int(free * CACHE_SHARE_OF_FREE_MEMORY)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    found = set(ends if isinstance(ends, list) else [ends])
    found.add(tokenizer.eos_token_id)
    return frozenset(found - {None})
