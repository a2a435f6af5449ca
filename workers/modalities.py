"""What a model takes in besides text, by its own configuration."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.protocol import IMAGE, TEXT

TEXT_ONLY = (TEXT,)
SEEING = (TEXT, IMAGE)
# What describes a model in its folder: transformers' format, and Mistral's own.
CONFIGURATIONS = ("config.json", "params.json")
# In `config.json`, or in the `params.json` of Mistral's own format: a model that sees
# has one of them. Architectures' names change with every model, these do not.
VISION_FIELDS = (
    "vision_config",
    "vision_encoder",
    "vision_tower",
    "mm_vision_tower",
    "img_processor",
)


def modalities_of(
    model_path: str, environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Return `text`, and `image` for a model that sees.

    `model_path` is a folder, or a name on the model hub that was downloaded to this
    machine; of what is not there, or cannot be read, text alone is said.
    """
    configured = _read(_folder(model_path, environment))
    return SEEING if any(map(configured.get, VISION_FIELDS)) else TEXT_ONLY


def _folder(model_path: str, environment: Mapping[str, str]) -> Path | None:
    if Path(model_path).is_dir():
        return Path(model_path)
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(environment.get("HF_HUB_CACHE") or home / "hub")
    # https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    snapshots = cache / f"models--{model_path.replace('/', '--')}" / "snapshots"
    if not snapshots.is_dir():
        return None
    return max(snapshots.iterdir(), key=lambda each: each.stat().st_mtime, default=None)


def _read(folder: Path | None) -> dict[str, Any]:
    for name in CONFIGURATIONS:
        try:
            found = json.loads((folder / name).read_text()) if folder else None
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}
