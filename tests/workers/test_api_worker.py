"""api_worker as a process, between a real upstream and the real product."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    Product,
    joined,
    listed_models,
    manage,
    quick_product,
    wait_until,
    wait_until_listed,
)
from tests.servers import free_port
from tests.workers.api_workers import ROOT, running_api_worker
from workers.protocol import INFERENCE_PATHS

EVERY_DOOR = (*INFERENCE_PATHS, "/v1/models")


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir(), HEARTBEAT_INTERVAL="0.3") as running:
        yield running


def key_file(folder: Path, engine: MockEngine) -> str:
    file = folder / "key"
    file.write_text(engine.config.key + "\n")
    return str(file)


def keyless_token(product: Product) -> str:
    made = manage(product.var_dir, "join_token", "--keyless", "--reusable")
    return made.stdout.split()[-1]


def row_of(product: Product, engine: MockEngine) -> dict[str, Any]:
    rows = product.query("SELECT * FROM controller_worker ORDER BY joined_at")
    return [row for row in rows if row["address"] == engine.url][-1]


def chat(product: Product, model: str) -> Any:
    return product.chat("Hi", model=model, max_tokens=2)


def test_an_upstream_is_served_under_our_name_with_its_key_and_extras(
    product: Product, tmp_path: Path
) -> None:
    with (
        running_mock_engine(models=("org/their-name",)) as engine,
        running_api_worker(
            product,
            tmp_path,
            *("--upstream", f"{engine.url}/v1", "--model-names", "ours=org/their-name"),
            *("--upstream-key-file", key_file(tmp_path, engine)),
            *("--extra-body", '{"top_k": 5}', "--extra-headers", '{"X-Team": "blue"}'),
            *("--weight", "2", "--labels", "zone=eu", "--can-continue"),
        ) as worker,
    ):
        wait_until_listed(product, "ours")
        answer = chat(product, "ours")
        request = engine.requests("/v1/chat/completions")[-1]
        row = row_of(product, engine)
        status = worker.stop()

    assert answer.status == 200
    assert (request.body["model"], request.body["top_k"]) == ("org/their-name", 5)
    assert request.headers["x-team"] == "blue"
    assert (row["weight"], row["can_continue"], row["is_keyless"]) == (2.0, 1, 0)
    assert row["engine"] == "vllm"  # so its numbers speak
    assert status == 0


def test_a_worker_that_is_told_to_stop_leaves_the_fleet(
    product: Product, tmp_path: Path
) -> None:
    with running_mock_engine(models=("leaver",)) as engine:
        flags = ("--upstream", engine.url)
        flags += ("--upstream-key-file", key_file(tmp_path, engine))
        with running_api_worker(product, tmp_path, *flags) as worker:
            wait_until_listed(product, "leaver")
            assert worker.stop() == 0
            assert "Left the controller" in worker.log
        assert row_of(product, engine)["left_at"] is not None
    assert "leaver" not in listed_models(product)


def test_an_open_upstream_needs_a_keyless_token_and_is_told_so(
    product: Product, tmp_path: Path
) -> None:
    with running_mock_engine(models=("open",), open_paths=EVERY_DOOR) as engine:
        flags = ("--upstream", engine.url)
        with running_api_worker(product, tmp_path, *flags) as worker:
            worker.says("use a token made with --keyless")
            (tmp_path / "join_token").write_text(keyless_token(product))
            wait_until_listed(product, "open")

        assert row_of(product, engine)["is_keyless"] == 1


def test_a_wrong_key_is_found_where_the_list_is_open_to_all(
    product: Product, tmp_path: Path
) -> None:
    with running_mock_engine(models=("listed",), open_paths=("/v1/models",)) as engine:
        key = tmp_path / "upstream_key"
        key.write_text("wrong")
        flags = ("--upstream", engine.url, "--upstream-key-file", str(key))
        with running_api_worker(product, tmp_path, *flags) as worker:
            worker.says("Check the key that an upstream was given")
            key.write_text(engine.config.key)
            wait_until_listed(product, "listed")


def test_an_upstream_that_dies_is_not_sent_to_until_it_is_back(
    product: Product, tmp_path: Path
) -> None:
    port = free_port()
    with running_mock_engine(models=("mortal",), port=port) as engine:
        flags = ("--upstream", engine.url)
        flags += ("--upstream-key-file", key_file(tmp_path, engine))
        with running_api_worker(product, tmp_path, *flags) as worker:
            wait_until_listed(product, "mortal")
            started = row_of(product, engine)["start_id"]
            engine.kill()
            worker.says("Waiting for")
            wait_until(lambda: "mortal" not in listed_models(product), "its absence")
            with running_mock_engine(models=("mortal",), port=port):
                wait_until_listed(product, "mortal")
                assert chat(product, "mortal").status == 200
                assert row_of(product, engine)["start_id"] != started


def test_one_process_serves_a_file_of_endpoints(
    product: Product, tmp_path: Path
) -> None:
    with (
        running_mock_engine(models=("file-a", "file-b")) as first,
        running_mock_engine(models=("file-c",), open_paths=EVERY_DOOR) as second,
    ):
        keyless = tmp_path / "keyless"
        keyless.write_text(keyless_token(product))
        endpoints = [
            {
                "name": "first",
                "upstream": first.url,
                "key": first.config.key,
                "models": [{"name": "file-a"}],
            },
            {
                "name": "again",
                "upstream": first.url,
                "key": first.config.key,
                "models": [{"name": "b", "upstream_model": "file-b"}],
                "extra_body": {"top_k": 1},
            },
            {"name": "2nd", "upstream": second.url, "join_token_file": str(keyless)},
        ]
        file = tmp_path / "endpoints.json"
        file.write_text(json.dumps({"endpoints": endpoints}))
        with running_api_worker(product, tmp_path, "--endpoints", str(file)):
            for model in ("file-a", "b", "file-c"):
                wait_until_listed(product, model)
                assert chat(product, model).status == 200


def test_another_installation_can_be_an_upstream(
    product: Product, new_var_dir: Callable[[], Path], tmp_path: Path
) -> None:
    with (
        running_mock_engine(models=("far",), context_length=1234) as engine,
        quick_product(new_var_dir()) as other,
        joined(other, engine),
    ):
        key = tmp_path / "their_key"
        key.write_text(other.credentials.api_key)
        flags = ("--upstream", other.url, "--upstream-key-file", str(key))
        with running_api_worker(product, tmp_path, *flags):
            wait_until_listed(product, "far")
            answer = chat(product, "far")

        assert answer.status == 200
        assert other.ledger_row(model="far")["status"] == 200


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--upstream", "ftp://x"), "not an address"),
        (("--upstream", "http://x?key=1"), "user name, ? or #"),
        (("--upstream", "http://x", "--tasks", "chess"), "--tasks are of chat"),
        (("--upstream", "http://x", "--model-names", "!"), "A model's name"),
        (("--upstream", "http://x", "--extra-body", "{"), "--extra-body is not JSON"),
        (("--upstream", "http://x", "--upstream-key-file", "no"), "No such file"),
        (("--upstream", "https://api.anthropic.com"), "wants a key"),
        (("--upstream", "x", "--upstream-api", "gemini"), "wants a key"),
        (
            ("--upstream", "x", "--upstream-api", "gemini", "--tasks", "embeddings"),
            "only chat is translated",
        ),
        (("--endpoints", "no.json"), "No such file"),
        (("--endpoints", "no.json", "--weight", "2"), "--weight is for one"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(
    flags: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.api_worker", *flags],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_state_folder_serves_one_process_at_a_time(
    product: Product, tmp_path: Path
) -> None:
    flags = ("--upstream", "http://127.0.0.1:9")
    with running_api_worker(product, tmp_path, *flags) as first:
        first.says("Waiting for http://127.0.0.1:9")
        state = ("--state-dir", str(tmp_path / "state"))
        with running_api_worker(product, tmp_path / "2", *flags, *state) as second:
            assert second.process.wait(20) == 2

    assert "Another worker runs with the state folder" in second.log
