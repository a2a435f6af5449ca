"""Workers die, fall silent and come back; the controller restarts. Nobody notices.

One product serves the module; each test has engines with a model of its own.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import JoinedWorker, Product, joined, quick_product, wait_until

SHORT = {
    "HEARTBEAT_EXPIRY": "2",
    "HEARTBEAT_INTERVAL": "0.5",
    "UPSTREAM_FIRST_BYTE_TIMEOUT": "1",
}
numbers = itertools.count()


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir(), **SHORT) as product:
        yield product


@pytest.fixture
def model() -> str:
    return f"model-{next(numbers)}"


@pytest.fixture
def engines(model: str) -> Iterator[tuple[MockEngine, MockEngine]]:
    with (
        running_mock_engine(models=(model,)) as first,
        running_mock_engine(models=(model,)) as second,
    ):
        yield first, second


def is_live(product: Product, worker: JoinedWorker) -> bool:
    metrics = product.call("GET", "/metrics").body.decode()
    return f'switchyard_worker_live{{worker="{worker.address}"}} 1.0' in metrics


def test_a_killed_engine_costs_nobody_an_error_and_is_out_at_once(
    product: Product, model: str, engines: tuple[MockEngine, MockEngine]
):
    with joined(product, engines[0]) as dead, joined(product, engines[1]) as alive:
        dead.stop_beating()  # a heartbeat would say that it is back
        engines[0].kill()

        answers = [product.chat(model=model) for _ in range(20)]
        live = [is_live(product, worker) for worker in (dead, alive)]

    last = product.ledger_row(request_id=answers[-1].headers["x-request-id"])
    rows = [row for row in product.ledger() if row["model"] == model]
    assert {answer.status for answer in answers} == {200}
    assert live == [False, True]
    assert (sum(row["num_retries"] for row in rows), last["num_retries"]) == (1, 0)


def test_a_model_whose_only_engine_was_killed_is_an_error_and_then_unavailable(
    product: Product, model: str, engines: tuple[MockEngine, MockEngine]
):
    with joined(product, engines[0]) as worker:
        worker.stop_beating()
        engines[0].kill()

        first, second = product.chat(model=model), product.chat(model=model)

    assert (first.status, first.error["code"]) == (502, "upstream_error")
    assert (second.status, second.error["code"]) == (503, "no_worker_available")
    assert "refusing connections" in second.error["message"]
    assert int(second.headers["retry-after"]) >= 1


def test_a_silent_worker_is_not_dispatched_to_and_one_heartbeat_brings_it_back(
    product: Product, model: str, engines: tuple[MockEngine, MockEngine]
):
    with joined(product, engines[0]) as worker:
        worker.stop_beating()
        wait_until(lambda: not is_live(product, worker), "the expiry")
        refused = product.chat(model=model)
        worker.beat()
        answered = product.chat(model=model)

    assert (refused.status, refused.error["code"]) == (503, "no_worker_available")
    assert "1 silent" in refused.error["message"]
    assert answered.status == 200


def test_a_silent_worker_leaves_its_requests_to_the_others(
    product: Product, model: str, engines: tuple[MockEngine, MockEngine]
):
    with joined(product, engines[0]) as silent, joined(product, engines[1]):
        silent.stop_beating()
        wait_until(lambda: not is_live(product, silent), "the expiry")
        statuses = {product.chat(model=model).status for _ in range(10)}

    assert statuses == {200}
    assert (engines[0].totals().started, engines[1].totals().started) == (0, 10)


def test_a_frozen_engine_is_given_up_and_serves_again_when_it_wakes(
    product: Product, model: str, engines: tuple[MockEngine, MockEngine]
):
    with joined(product, engines[0]):
        engines[0].suspend()
        failed = product.chat(model=model)
        engines[0].resume()
        answered = product.chat(model=model)

    assert (failed.status, failed.error["code"]) == (504, "upstream_timeout")
    assert answered.status == 200


def test_a_restarted_controller_serves_before_any_heartbeat_except_what_had_expired(
    new_var_dir: Callable[[], Path], model: str, engines: tuple[MockEngine, MockEngine]
):
    var_dir = new_var_dir()
    with (
        running_mock_engine(models=("expired",)) as other,
        quick_product(var_dir, **SHORT) as product,
        joined(product, other) as silent,
        joined(product, engines[0]) as worker,
    ):
        silent.stop_beating()
        marked = "SELECT id FROM controller_worker WHERE expired_at IS NOT NULL"
        wait_until(lambda: product.query(marked), "the row's mark")
        worker.stop_beating()
        product.process.kill()
        product.process.wait()

    with quick_product(var_dir, **SHORT) as product:
        answered, refused = product.chat(model=model), product.chat(model="expired")

    assert answered.status == 200
    assert (refused.status, refused.error["code"]) == (503, "no_worker_available")
