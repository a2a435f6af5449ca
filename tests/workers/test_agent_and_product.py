"""The agent as a process with the real controller: what each sees of the other."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.product import (
    QUICK,
    Product,
    listed_models,
    manage,
    running_product,
    set_up,
    wait_until,
    wait_until_listed,
)

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
ROOT = Path(__file__).resolve().parents[2]
# An hour behind, in everything that Python reads the wall clock by.
SLOW_CLOCK = """
import runpy, sys, time
real = time.time
time.time = lambda: real() - 3600
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def says(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times, f"{text!r} in its log")

    def kill_engine(self) -> None:
        (engine,) = psutil.Process(self.process.pid).children()
        engine.kill()


@contextmanager
def running_worker(product: Product, folder: Path, *flags: str) -> Iterator[Worker]:
    """A worker with a clock an hour slow, whose model is called `tiny`."""
    command = [sys.executable, "-c", SLOW_CLOCK, str(FAKE_WORKER)]
    where = ["--controller-address", product.url, "--join-token-file", "token"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--model-path=tiny", *where, "--state-dir=state", *flags],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Worker(process, folder)
    finally:
        process.terminate()  # it leaves, and its address is free again
        process.wait(20)


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with running_product(new_var_dir(), env=QUICK) as product:
        yield product


def join_token(product: Product) -> str:
    """A new one, for one worker."""
    return manage(product.var_dir, "join_token").stdout.split()[-1]


def row(product: Product) -> dict[str, Any]:
    """The one registered worker."""
    (found,) = product.query("SELECT * FROM controller_worker WHERE left_at IS NULL")
    return found


def test_a_worker_is_seen_failing_and_loading_and_serves_again(
    product: Product, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(join_token(product))
    with running_worker(product, tmp_path) as worker:
        wait_until_listed(product, "tiny")
        loading = tmp_path / "loading"
        loading.write_text("Loading weights:  43%|####\n")

        worker.kill_engine()
        wait_until(lambda: row(product)["loading_progress"] == 0.43, "its progress")

        assert row(product)["state"] == "loading"
        assert row(product)["num_restarts"] == 1
        assert listed_models(product) == []
        loading.unlink()
        wait_until_listed(product, "tiny")
        wait_until(lambda: row(product)["loading_progress"] is None, "its end")


def test_a_used_up_token_is_refused_in_one_line_with_the_repair(
    product: Product, tmp_path: Path
) -> None:
    token = join_token(product)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
    with running_worker(product, tmp_path / "first") as first:
        first.says("Joined ")
        with running_worker(product, tmp_path / "second") as second:
            second.says("was used already. Make a new one with `python manage.py")

            second.token_file.write_text(product.credentials.join_token)

            second.says("Joined ")


def test_a_worker_started_again_needs_no_other_token_unless_it_was_removed(
    product: Product, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(join_token(product))
    with running_worker(product, tmp_path) as worker:
        worker.says("Joined ")
        first = row(product)["id"]

    with running_worker(product, tmp_path) as worker:
        worker.says("Joined ")
        assert row(product)["id"] == first

        manage(product.var_dir, "workers", "remove", first)

        worker.says("was used already. Make a new one with")


def test_a_worker_whose_clock_is_wrong_outlives_an_emptied_database(
    new_var_dir: Callable[[], Path], tmp_path: Path
) -> None:
    var_dir = new_var_dir()
    with ExitStack() as stack:
        product = stack.enter_context(running_product(var_dir, env=QUICK))
        (tmp_path / "token").write_text(join_token(product))
        worker = stack.enter_context(running_worker(product, tmp_path))
        wait_until_listed(product, "tiny")
        product.stop()
        for file in var_dir.glob("db.sqlite3*"):
            file.unlink()
        (var_dir / "credentials.json").unlink()
        set_up(var_dir)

        again = running_product(var_dir, env=QUICK, port=product.port)
        product = stack.enter_context(again)
        worker.says("This is no valid join token. Make a new one with")
        worker.token_file.write_text(join_token(product))

        wait_until_listed(product, "tiny")
        hour_ago = time.strftime("%Y-%m-%d %H:", time.localtime(time.time() - 3600))
        assert worker.log.splitlines()[-1].startswith(hour_ago)


def test_a_worker_gets_a_new_key_at_the_operators_wish(
    product: Product, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(product.credentials.join_token)
    with running_worker(product, tmp_path) as worker:
        wait_until_listed(product, "tiny")
        before = row(product)

        change_workers(product, rotation_wished=True)
        worker.says("The operator wishes a new key for the engine")
        worker.says("Joined ", times=2)

        after = row(product)
        assert after["id"] == before["id"]
        assert after["encrypted_engine_key"] != before["encrypted_engine_key"]
        assert not after["rotation_wished"]
        assert listed_models(product) == ["tiny"]


def change_workers(product: Product, **fields: bool) -> None:
    code = (
        "from controller.models import Worker;"
        f"Worker.objects.registered().change(**{fields})"
    )
    manage(product.var_dir, "shell", "--command", code)


def test_a_worker_that_the_operator_stops_ends_by_itself(
    product: Product, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(product.credentials.join_token)
    with running_worker(product, tmp_path) as worker:
        wait_until_listed(product, "tiny")

        change_workers(product, drain_wished=True, stop_wished=True)

        assert worker.process.wait(30) == 0
        assert "The operator stops this worker" in worker.log
        assert listed_models(product) == []
        assert not product.query(
            "SELECT * FROM controller_worker WHERE left_at IS NULL"
        )
