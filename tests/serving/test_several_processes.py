"""Several web processes behind one port, with what they share in Redis."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.mock_engine import running_mock_engine
from tests.product import (
    JoinedWorker,
    Product,
    joined,
    manage,
    quick_product,
    wait_until,
    wait_until_listed,
)

pytestmark = pytest.mark.redis

EXPIRY_SECONDS = 1.5


@pytest.fixture(scope="module")
def product(redis_server: str, new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    short = {"HEARTBEAT_EXPIRY": str(EXPIRY_SECONDS), "HEARTBEAT_INTERVAL": "0.3"}
    with quick_product(
        new_var_dir(), "--workers=2", REDIS_URL=redis_server, **short
    ) as product:
        yield product


@pytest.fixture
def worker(product: Product) -> Iterator[JoinedWorker]:
    with running_mock_engine() as engine, joined(product, engine) as worker:
        yield worker
        worker.leave()


def web_processes(product: Product) -> list[psutil.Process]:
    return psutil.Process(product.process.pid).children()


def two_others(product: Product, victim: psutil.Process) -> list[psutil.Process]:
    """The web processes, once there are two without the victim."""
    found = [process for process in web_processes(product) if process != victim]
    return found if len(found) == 2 else []


@contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    """While it stands still, every new connection is another process's."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_worker_that_joined_one_process_is_served_by_both(
    product: Product, worker: JoinedWorker
):
    for other in web_processes(product):
        with suspended(other):
            wait_until_listed(product, "mock-1")
            assert product.chat().status == 200


def test_a_worker_that_one_process_hears_is_live_in_both(
    product: Product, worker: JoinedWorker
):
    hearing, deaf = web_processes(product)
    worker.stop_beating()
    with closing(product.connect()) as connection:
        with suspended(deaf):
            worker.beat(connection)  # and it stays connected to the one that hears
        # Past the expiry, for the one that hears nothing itself.
        for _ in range(15):
            time.sleep(EXPIRY_SECONDS / 5)
            worker.beat(connection)
        with suspended(hearing):
            answer = product.chat()

    assert answer.status == 200


def test_a_revoked_key_is_refused_by_both_and_its_streams_end(
    product: Product, worker: JoinedWorker
):
    command = "create_key --user admin --name short-lived"
    key = manage(product.var_dir, *command.split()).stdout.split()[-1]
    with ExitStack() as stack:
        streams = []
        for other in web_processes(product):  # a stream on each, which knows the key
            with suspended(other):
                wait_until_listed(product, "mock-1")
                text = "[[tokens=100000 interval_ms=20]]"
                stream = stack.enter_context(product.chat_stream(text, key=key))
                assert stream.readline()
                streams.append(stream)

        revoked = manage(product.var_dir, "revoke_key", key)
        begun = time.monotonic()
        ends = [stream.read().split(b"\n\n")[-2] for stream in streams]
        seconds = time.monotonic() - begun

    assert revoked.returncode == 0, revoked.stdout
    assert seconds < 1
    assert all(b"was revoked" in end for end in ends)
    for other in web_processes(product):
        with suspended(other):
            assert product.call("GET", "/v1/models", key).status == 401


def test_a_process_that_dies_is_started_again(product: Product, worker: JoinedWorker):
    victim, survivor = web_processes(product)
    with suspended(victim):  # until the survivor has heard of the worker too
        wait_until_listed(product, "mock-1")
    victim.kill()

    assert product.chat().status == 200
    assert survivor.is_running()
    after = wait_until(lambda: two_others(product, victim), "a new process")
    for other in after:
        with suspended(other):
            wait_until_listed(product, "mock-1")


def test_all_processes_end_with_the_first(product: Product):
    children = web_processes(product)

    assert product.stop() == 0
    assert not any(child.is_running() for child in children)
