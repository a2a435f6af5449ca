"""A model, loaded: weights in the precision that the device does best."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
)

from workers import container, cpu
from workers.errors import BadSetting
from workers.transformers_engine.attention import use_grouped_attention
from workers.transformers_engine.context_length import context_length
from workers.transformers_engine.quantization import quantization_config
from workers.transformers_engine.sampling import NEUTRAL, SamplingParameters
from workers.transformers_engine.source import ModelSource, first_line

logger = logging.getLogger(__name__)

CACHE_SHARE_OF_FREE_MEMORY = 0.4


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How an operator wants the models of one engine loaded."""

    device: str
    dtype: str | None = None
    max_model_len: int | None = None
    num_bits: int | None = None
    """8 or 4 to load weights quantized."""

    @property
    def torch_dtype(self) -> torch.dtype | str:
        """Return the precision asked for, or the one that the device does best."""
        if self.dtype and self.dtype != "auto":
            found = getattr(torch, self.dtype.replace("half", "float16"), None)
            if not (isinstance(found, torch.dtype) and found.is_floating_point):
                raise BadSetting(
                    f"--dtype {self.dtype} is unknown; try float32 or bfloat16."
                )
            return found
        if self.device == "cpu" and not cpu.has_fast_bfloat16():
            return torch.float32  # emulated bfloat16 is several times slower in a batch
        return "auto"

    def bounded(self, trained_length: int) -> int:
        """Return the context to offer; raises BadSetting if more than that is asked."""
        wished = self.max_model_len or trained_length
        if wished < 1:
            raise BadSetting(f"--max-model-len {wished} must be above 0.")
        if wished > trained_length:
            raise BadSetting(
                f"--max-model-len {wished} is more than the {trained_length} tokens"
                " that the model was made for."
            )
        return wished


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to decode, and what the engine has to know of it."""

    model: Any
    tokenizer: Any
    context_length: int
    cache_tokens: int
    """How many tokens of KV cache fit the memory that is free after loading."""
    end_tokens: frozenset[int]
    recommended: SamplingParameters = NEUTRAL
    """What holds where a client says nothing."""

    @property
    def device(self) -> str:
        return str(self.model.device)

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)


def load_model(
    source: ModelSource, settings: LoadSettings, share: float = 1.0
) -> LoadedModel:
    """Return the model at `source`; raises BadSetting if it cannot be had.

    It gets that `share` of the memory for KV caches. Remote code, which a model folder
    may name, is never run.
    """
    dtype = settings.torch_dtype
    with loading(source.folder):
        config = AutoConfig.from_pretrained(source.folder, **source.files)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **source.files)
    _refuse_other_caches(config)
    # Both before the weights, which may take long: what is wrong with them, or with
    # --max-model-len, is said at once.
    length = settings.bounded(context_length(config, tokenizer))
    model = _weights(source, settings, config, dtype)
    if source.adapter is not None:
        model = _with_adapter(model, source, may_merge=settings.num_bits is None)
    model = model.eval()
    if settings.device == "cpu":
        use_grouped_attention(model)
    logger.info("Loaded %s on %s as %s.", source.folder, model.device, model.dtype)
    free = int(_free_memory(settings.device) * share)
    cache_tokens = free // _cache_bytes_per_token(config, model.dtype)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_length=min(length, cache_tokens),
        cache_tokens=cache_tokens,
        end_tokens=_end_tokens(model, tokenizer),
        recommended=recommended_sampling(model.generation_config),
    )


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Make of what transformers finds wrong with a folder a BadSetting that names it.

    Memory that does not suffice is none of these: another start may find more.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = first_line(error)
        raise BadSetting(f"{folder} cannot be loaded: {reason}") from error


def usable_device(given: str | None) -> str:
    """Return the device `given`, or the best there is; BadSetting for one that is not
    there."""
    if given is None:
        return best_device()
    try:
        torch.empty(1, device=given)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadSetting(
            f"--device {given}: the installed torch finds no such device here, but"
            f" {best_device()}."
        ) from error
    return given


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _weights(
    source: ModelSource, settings: LoadSettings, config: Any, dtype: torch.dtype | str
) -> Any:
    options: dict[str, Any] = {"config": config, "dtype": dtype, **source.files}
    if settings.num_bits is not None:
        if source.gguf_file:
            raise BadSetting(f"{source.gguf_file} is quantized already.")
        options["quantization_config"] = quantization_config(
            settings.num_bits, settings.device
        )
        options["device_map"] = settings.device
    elif source.gguf_file:
        options["quantization_config"] = GgufConfig(dequantize=True)
    with loading(source.folder):
        model = AutoModelForCausalLM.from_pretrained(source.folder, **options)
    return model if settings.num_bits else model.to(settings.device)


def _with_adapter(model: Any, source: ModelSource, *, may_merge: bool) -> Any:
    try:
        from peft import PeftModel  # optional: only adapters need it
    except ImportError as error:
        raise BadSetting(
            f"{source.adapter} is an adapter; `pip install peft` reads it."
        ) from error
    try:
        adapted = PeftModel.from_pretrained(model, str(source.adapter))
    except (OSError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise BadSetting(f"{source.adapter} does not fit its base: {reason}") from error
    # Merged it costs nothing at each step; quantized weights cannot take it in.
    return adapted.merge_and_unload() if may_merge else adapted.get_base_model()


def _refuse_other_caches(config: Any) -> None:
    """Refuse models whose state is not keys and values: rows of it cannot be padded."""
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    others = kinds - {"full_attention", "sliding_attention", "chunked_attention"}
    if others:
        raise BadSetting(
            f"This engine cannot run layers of the kind {', '.join(sorted(others))};"
            " serve the model with `python -m workers.vllm_worker`."
        )


def _cache_bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    text = config.get_text_config()
    num_heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // num_heads
    num_cached_heads = getattr(text, "num_key_value_heads", None) or num_heads
    keys_and_values = 2 * text.num_hidden_layers * num_cached_heads * head_size
    return int(keys_and_values * dtype.itemsize)


def _free_memory(device: str) -> int:
    """Return the bytes that KV caches may take."""
    if device.startswith("cuda"):
        free = torch.cuda.mem_get_info()[0]
    elif device.startswith("xpu"):
        free = torch.xpu.mem_get_info()[0]
    else:
        free = container.available_memory()
    return int(free * CACHE_SHARE_OF_FREE_MEMORY)


def recommended_sampling(config: GenerationConfig) -> SamplingParameters:
    """Return what the model's makers wrote into its generation_config.json.

    vLLM follows it too; small models talk nonsense at OpenAI's temperature of 1.
    """
    said = config.to_diff_dict()
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return SamplingParameters(
        **{name: said[name] for name in names if said.get(name) is not None}
    )


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    found = set(ends if isinstance(ends, list) else [ends])
    found.add(tokenizer.eos_token_id)
    return frozenset(found - {None})
