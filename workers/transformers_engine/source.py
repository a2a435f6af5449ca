"""What `--model-path` stands for: a folder, a GGUF file, an adapter, a hub's model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from workers.errors import BadSetting

WANTED_FILES = (
    "*.json",
    "*.safetensors",
    "*.jinja",
    "*.txt",
    "*.model",
    "1_Pooling/config.json",
)


@dataclass(frozen=True)
class ModelSource:
    """Where the weights lie on this machine."""

    folder: Path
    gguf_file: str | None = None
    adapter: Path | None = None
    """The folder of a PEFT adapter, which goes on top of the model in `folder`."""
    base: str | None = None
    """What the adapter calls its base."""

    @property
    def makes_embeddings(self) -> bool:
        """Whether it is an encoder, told by its files or its architecture."""
        if self.gguf_file or self.adapter:
            return False
        if (self.folder / "modules.json").exists():
            return True
        names = _read_json(self.folder / "config.json").get("architectures") or []
        return any(name.endswith(("Model", "ForMaskedLM")) for name in names)

    @property
    def files(self) -> dict[str, Any]:
        """What transformers has to be told besides the folder."""
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


def find_model(path: str, revision: str | None = None) -> ModelSource:
    """Return the source that `path` names; raises BadSetting if there is none.

    What is no file or folder here is fetched from the model hub (with `revision`, that
    version of it) unless HF_HUB_OFFLINE forbids it.
    """
    here = Path(path)
    if here.is_file():
        if here.suffix != ".gguf":
            raise BadSetting(f"--model-path {path} is a file, but no .gguf file.")
        return ModelSource(here.parent, gguf_file=here.name)
    folder = here if here.is_dir() else _fetched(path, revision)
    if not (folder / "adapter_config.json").exists():
        if not (folder / "config.json").exists():
            raise BadSetting(f"--model-path {path} has no config.json: it is no model.")
        return ModelSource(folder)
    named = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not named:
        raise BadSetting(f"--model-path {path}: the adapter names no base model.")
    base = find_model(named)
    return ModelSource(base.folder, base.gguf_file, adapter=folder, base=named)


def _fetched(name: str, revision: str | None) -> Path:
    try:
        fetched = snapshot_download(
            name, revision=revision, allow_patterns=list(WANTED_FILES)
        )
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = first_line(error)
        raise BadSetting(
            f"--model-path {name} is no folder or file here, and the model hub does not"
            f" give it: {reason}"
        ) from error
    return Path(fetched)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadSetting(f"{path} cannot be read: {error}.") from error
    return found if isinstance(found, dict) else {}


def first_line(error: Exception) -> str:
    """What an error says, without what follows; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
