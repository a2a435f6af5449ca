"""How long a model's context is, as its configuration and its tokenizer truly say."""

from typing import Any

UNKNOWN_CONTEXT_LENGTH = 2048
# Configurations name it differently; the first that is there counts.
LENGTH_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "model_max_length",
)
# Tokenizers without a limit bear 10^30 or so; no model's context is as long as this.
SANE_LENGTH = 100_000_000
# Their configurations give the length after scaling already.
SCALED_ALREADY = frozenset({"default", "llama3", "longrope", "su", "mrope"})
# Their positions begin behind the padding token's number.
OFFSET_KINDS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xmod"})


def context_length(config: Any, tokenizer: Any) -> int:
    """Return how many tokens, prompt and completion, the model was made for.

    The smaller of what its configuration and its tokenizer say, after the scaling of
    positions; 2,048 if neither says anything sane.
    """
    text = config.get_text_config()
    lengths = [_configured_length(text), getattr(tokenizer, "model_max_length", None)]
    sane = [int(length) for length in lengths if length and 0 < length < SANE_LENGTH]
    return min(sane, default=UNKNOWN_CONTEXT_LENGTH)


def _configured_length(text: Any) -> float | None:
    lengths = (getattr(text, field, None) for field in LENGTH_FIELDS)
    length: float | None = next(filter(None, lengths), None)
    if length is None:
        return None
    if text.model_type in OFFSET_KINDS:
        return length - (text.pad_token_id or 0) - 1
    scaling = getattr(text, "rope_parameters", None)
    scaling = scaling or getattr(text, "rope_scaling", None) or {}
    # Models whose layers differ have a set of parameters for each kind of layer.
    parts = [part for part in scaling.values() if isinstance(part, dict)]
    return max(_scaled(length, part) for part in parts or [scaling])


def _scaled(length: float, scaling: dict[str, Any]) -> float:
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind in SCALED_ALREADY:
        return length
    original = scaling.get("original_max_position_embeddings")
    factor = scaling.get("factor") or 1.0
    # YaRN's configurations may give the length before or after scaling.
    return float(max(length, original * factor) if original else length * factor)
