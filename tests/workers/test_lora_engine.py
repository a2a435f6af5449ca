"""LoRA adapters on a real vLLM: they come, answer, fail and go as rows say."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.product import (
    CHAT_PATH,
    QUICK,
    Product,
    change_adapters,
    chat_content,
    listed_models,
    model_named,
    running_product,
    wait_until,
    wait_until_listed,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    # peft reads an attribute that transformers will drop.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

BASE = engines.MODEL_NAME
LORA = ("--enable-lora", "--max-loras", "2", "--max-lora-rank", "8")


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    often = {"HEARTBEAT_INTERVAL": "0.5"}
    with running_product(new_var_dir(), env=QUICK | often) as product:
        yield product


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one that fits and one whose rank is too high."""
    folder = tmp_path_factory.mktemp("adapters")
    engines.lora_adapter(folder / "strange")
    engines.lora_adapter(folder / "large", rank=16)
    return folder


@pytest.fixture(scope="module")
def worker(
    product: Product, adapters: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[engines.RunningWorker]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    given = ("--lora-modules", f"given={adapters / 'strange'}")
    with engines.start_vllm_worker(
        tmp_path_factory.mktemp("vllm"),
        controller=product.url,
        join_token=product.credentials.join_token,
        flags=(
            *LORA,
            *given,
            "--max-model-len",
            "512",
            "--adapter-root",
            str(adapters),
        ),
    ) as worker:
        wait_until_listed(product, BASE)
        yield worker


def answer(product: Product, model: str) -> str:
    """What the model says, greedily."""
    fields = {"model": model, "temperature": 0, "max_tokens": 7}
    with closing(product.connect(timeout=60)) as connection:
        response = product.call(
            "POST",
            CHAT_PATH,
            product.credentials.api_key,
            chat_content("What is the capital of France?", **fields),
            connection=connection,
        )
    assert response.status == 200, response
    text: str = response.json["choices"][0]["message"]["content"]
    return text


def said_of(product: Product, adapter: str) -> dict[str, str]:
    """How the adapter fares on the one worker: its state and the reason."""
    workers = product.call("GET", "/controller/workers/", product.credentials.api_key)
    (worker,) = workers.json["data"]
    found: dict[str, str] = worker["adapters"].get(adapter, {})
    return found


def test_an_adapter_of_the_command_line_is_a_model_with_its_parent(
    product: Product, worker: engines.RunningWorker
) -> None:
    assert listed_models(product) == ["given", BASE]
    given = model_named(product, "given")

    assert (given["parent"], given["max_model_len"]) == (BASE, 512)
    assert "Paris" in answer(product, BASE)
    assert "Paris" not in answer(product, "given")


def test_a_row_loads_an_adapter_whose_answers_are_its_own_and_unloads_it(
    product: Product, worker: engines.RunningWorker, adapters: Path
) -> None:
    base = answer(product, BASE)
    change_adapters(product, BASE, strange=adapters / "strange", large=Path("large"))
    wait_until_listed(product, "strange")
    wait_until(lambda: said_of(product, "large"), "word of the other")

    strange = answer(product, "strange")
    assert strange == answer(product, "given")
    assert strange != base == answer(product, BASE)
    failed = wait_until(lambda: said_of(product, "large").get("reason"), "its reason")
    assert "rank 16 is greater than max_lora_rank 8" in failed

    change_adapters(product, BASE)
    wait_until(lambda: "strange" not in listed_models(product), "its end")
    wait_until(lambda: said_of(product, "strange") == {}, "its unloading")
    assert model_named(product, "strange")["error"]["code"] == "model_not_found"
    assert listed_models(product) == ["given", BASE]


def test_what_is_under_way_when_an_adapter_is_unloaded_goes_on(
    product: Product, worker: engines.RunningWorker, adapters: Path
) -> None:
    change_adapters(product, BASE, strange=adapters / "strange")
    wait_until_listed(product, "strange")
    long = {"model": "strange", "max_tokens": 450, "ignore_eos": True}
    with product.chat_stream("Tell me a story.", **long) as stream:
        assert stream.status == 200
        change_adapters(product, BASE)
        wait_until(lambda: "is unloaded" in log_since(worker, "is loaded"), "it")
        then = row(product)["generation_tokens_total"]

        wait_until(
            lambda: row(product)["generation_tokens_total"] > then + 3, "more tokens"
        )

        assert row(product)["running"] == 1


def row(product: Product) -> dict[str, Any]:
    """The worker's, as its last written heartbeat left it."""
    (found,) = product.query("SELECT * FROM controller_worker WHERE left_at IS NULL")
    return found


def log_since(worker: engines.RunningWorker, text: str) -> str:
    return worker.log.read_text(errors="replace").rpartition(text)[2]
