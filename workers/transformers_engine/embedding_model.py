"""An encoder, loaded, and the steps by which its folder makes vectors of texts."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from workers.errors import BadSetting
from workers.transformers_engine.context_length import context_length
from workers.transformers_engine.model import LoadSettings, loading
from workers.transformers_engine.source import ModelSource

logger = logging.getLogger(__name__)

POOLING_PREFIX = "pooling_mode_"
POOLING_MODES = ("mean_tokens", "cls_token", "max_tokens", "lasttoken")


@dataclass(frozen=True)
class EmbeddingModel:
    """Makes vectors of tokens, as sentence-transformers would.

    `pooling` is one of POOLING_MODES: how a text's vector comes from its tokens'.
    """

    model: Any
    tokenizer: Any
    context_length: int
    pooling: str
    normalizes: bool

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def num_dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    def embed(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return one vector a row for `texts`, given as tokens, all in one pass."""
        device = self.model.device
        width = max(map(len, texts))
        padding = self.tokenizer.pad_token_id or 0
        rows = [[*text, *[padding] * (width - len(text))] for text in texts]
        mask = [[1] * len(text) + [0] * (width - len(text)) for text in texts]
        attention = torch.tensor(mask, device=device)
        with torch.inference_mode():
            hidden = self.model(
                input_ids=torch.tensor(rows, device=device), attention_mask=attention
            ).last_hidden_state.float()
            vectors = self._pooled(hidden, attention)
            if self.normalizes:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors.cpu()

    def _pooled(self, hidden: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        if self.pooling == "cls_token":
            return hidden[:, 0]
        if self.pooling == "lasttoken":
            return hidden[torch.arange(len(hidden)), attention.sum(1) - 1]
        mask = attention.unsqueeze(-1)
        if self.pooling == "max_tokens":
            return hidden.masked_fill(mask == 0, -torch.inf).amax(1)
        return (hidden * mask).sum(1) / mask.sum(1)


def load_embedding_model(source: ModelSource, settings: LoadSettings) -> EmbeddingModel:
    """Return the encoder at `source`; raises BadSetting if it cannot be served."""
    if settings.num_bits is not None:
        raise BadSetting(
            f"{source.folder} makes embeddings; --load-8bit and --load-4bit are for"
            " models that chat."
        )
    steps = _steps(source.folder)
    with loading(source.folder):
        config = AutoConfig.from_pretrained(source.folder)
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
        model = AutoModel.from_pretrained(
            source.folder, config=config, dtype=settings.torch_dtype
        )
    length = context_length(config, tokenizer)
    trained_on = _read(source.folder / "sentence_bert_config.json", {})
    length = min(length, trained_on.get("max_seq_length") or length)
    logger.info("Loaded %s, an encoder.", source.folder)
    return EmbeddingModel(
        model=model.to(settings.device).eval(),
        tokenizer=tokenizer,
        context_length=settings.bounded(length),
        pooling=_pooling(source.folder, steps),
        normalizes=any(kind == "Normalize" for kind, _ in steps),
    )


def _steps(folder: Path) -> list[tuple[str, str]]:
    """Return the kinds and the folders of the steps after the encoder itself."""
    modules = _read(folder / "modules.json", [])
    steps = [(each["type"].rpartition(".")[2], each["path"]) for each in modules]
    unknown = {kind for kind, _ in steps} - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise BadSetting(
            f"{folder} has steps that this engine does not know:"
            f" {', '.join(sorted(unknown))}; serve it with"
            " `python -m workers.vllm_worker`."
        )
    return steps


def _pooling(folder: Path, steps: Sequence[tuple[str, str]]) -> str:
    """Return how vectors are pooled: the mean of the tokens' unless it is said."""
    for kind, path in steps:
        if kind != "Pooling":
            continue
        config = _read(folder / path / "config.json", {})
        modes = [
            name.removeprefix(POOLING_PREFIX)
            for name, is_on in config.items()
            if name.startswith(POOLING_PREFIX) and is_on is True
        ]
        modes = modes or [config.get("pooling_mode", "mean_tokens")]
        if len(modes) > 1 or modes[0] not in POOLING_MODES:
            raise BadSetting(f"{folder} pools in an unknown way: {', '.join(modes)}.")
        return str(modes[0])
    return POOLING_MODES[0]


def _read(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text()) if path.exists() else default
    except ValueError as error:
        raise BadSetting(f"{path} cannot be read: {error}.") from error
