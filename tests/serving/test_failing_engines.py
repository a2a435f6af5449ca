"""Engines that fail in every way, behind the running product: who is still answered."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mock_engine import MockEngineConfig
from tests.mock_engine.process import MockEngine, running_mock_engine
from tests.product import Product, joined, quick_product, wait_until

FIRST_BYTE_TIMEOUT = 0.3
SETTINGS = {
    "BREAKER_OPEN": "60",  # no trial within a test
    "UPSTREAM_FIRST_BYTE_TIMEOUT": str(FIRST_BYTE_TIMEOUT),
}


def statuses(product: Product, number: int, **fields) -> Counter[int]:
    return Counter(product.chat(**fields).status for _ in range(number))


def breaker_of(product: Product, engine: MockEngine) -> str:
    """As Prometheus is told it: 0 closed, 1 half-open, 2 open."""
    page = product.call("GET", "/metrics").body.decode()
    name = f'switchyard_worker_breaker{{worker="{engine.url}"}}'
    [value] = [
        line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name)
    ]
    return value


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "num_failures"),
    [
        ({"status": 500}, 5),  # told to the client: it may be his request's fault
        ({"status": 503}, 0),
        ({"garbage": True}, 0),
        ({"cut_after": 0}, 0),
        ({"first_ms": 60_000.0}, 0),
    ],
    ids=lambda value: str(value),
)
def test_a_worker_that_fails_is_left_alone_and_the_other_answers_all(
    new_var_dir: Callable[[], Path], fault: dict, num_failures: int, stream: bool
):
    with (
        running_mock_engine(**fault) as failing,
        running_mock_engine() as well,
        quick_product(new_var_dir(), **SETTINGS) as product,
        joined(product, failing),
        joined(product, well),
    ):
        wait_until(lambda: len(live_workers(product)) == 2, "both workers")
        answered = statuses(product, 60, stream=stream)

        assert answered == Counter({200: 60 - num_failures, 502: num_failures})
        assert failing.totals().started == 5
        assert breaker_of(product, failing) == "2.0"
        assert breaker_of(product, well) == "0.0"
        row = wait_until(lambda: breakers(product), "a row of the breaker")[0]
        assert row["state"] == "open"
        assert row["reason"].startswith("5 of the last 5 failed, then: ")


def test_an_engine_that_comes_back_serves_again_with_nobody_doing_anything(
    new_var_dir: Callable[[], Path],
):
    settings = {"HEARTBEAT_INTERVAL": "60", "HEARTBEAT_EXPIRY": "600"}
    with (
        running_mock_engine() as engine,
        quick_product(new_var_dir(), PROBE_INTERVAL="0.1", **settings) as product,
        joined(product, engine),
    ):
        assert statuses(product, 3) == {200: 3}
        engine.kill()
        assert statuses(product, 2) == {502: 1, 503: 1}
        assert product.call("GET", "/readyz").json["models"] == []

        config = MockEngineConfig(port=engine.port)
        again = MockEngine(config)
        try:
            wait_until(lambda: product.chat().status == 200, "the engine's return")
            assert statuses(product, 10) == {200: 10}
            assert breaker_of(product, engine) == "0.0"
            wait_until(lambda: not breakers(product), "the row to go")
        finally:
            again.close()


def breakers(product: Product) -> list[dict]:
    return product.query("SELECT * FROM controller_workerbreaker")


def live_workers(product: Product) -> list[str]:
    page = product.call("GET", "/metrics").body.decode()
    return [
        line
        for line in page.splitlines()
        if line.startswith("switchyard_worker_live{") and line.endswith(" 1.0")
    ]
