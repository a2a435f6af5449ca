"""Adapters as rows, a worker that loads them, and what `/v1` then lists."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.product import (
    QUICK,
    Product,
    change_adapters,
    listed_models,
    model_named,
    running_product,
    wait_until,
    wait_until_listed,
)
from tests.workers.test_adapters import make_adapter
from tests.workers.test_agent_and_product import running_worker


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    often = {"HEARTBEAT_INTERVAL": "0.3"}
    with running_product(new_var_dir(), env=QUICK | often) as product:
        yield product


@pytest.fixture
def folder(product: Product, tmp_path: Path) -> Path:
    """A worker's, with a token and an adapter."""
    make_adapter(tmp_path / "sql")
    (tmp_path / "token").write_text(product.credentials.join_token)
    return tmp_path


def states(product: Product) -> dict[str, str]:
    """How adapters fare on the one registered worker, as operators' tools see it."""
    workers = product.call("GET", "/controller/workers/", product.credentials.api_key)
    (worker,) = workers.json["data"]
    return {name: said["state"] for name, said in worker["adapters"].items()}


def test_an_adapter_comes_and_goes_as_its_row_says(
    product: Product, folder: Path
) -> None:
    with running_worker(product, folder, "--enable-lora") as worker:
        wait_until_listed(product, "tiny")

        change_adapters(product, "tiny", sql=folder / "sql")
        wait_until_listed(product, "sql")

        assert model_named(product, "sql")["parent"] == "tiny"
        assert model_named(product, "tiny")["parent"] is None
        wait_until(lambda: states(product) == {"sql": "loaded"}, "its state")

        change_adapters(product, "tiny")
        worker.says("The adapter sql is unloaded")

        assert listed_models(product) == ["tiny"]
        assert model_named(product, "sql")["error"]["code"] == "model_not_found"


def test_a_worker_that_is_started_again_loads_its_adapters_again(
    product: Product, folder: Path
) -> None:
    with running_worker(product, folder, "--enable-lora"):
        wait_until_listed(product, "tiny")
        change_adapters(product, "tiny", sql=folder / "sql")
        wait_until_listed(product, "sql")

    with running_worker(product, folder, "--enable-lora"):
        wait_until_listed(product, "sql")


def test_a_worker_without_lora_serves_its_model_alone(
    product: Product, folder: Path
) -> None:
    with running_worker(product, folder):
        wait_until_listed(product, "tiny")
        change_adapters(product, "tiny", sql=folder / "sql")
        wait_until(lambda: states(product) == {}, "a heartbeat")

        assert listed_models(product) == ["tiny"]
