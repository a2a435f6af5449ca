"""Limits of several web processes behind one port."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    chat_content,
    joined,
    quick_product,
    set_up,
    wait_until,
    wait_until_listed,
)
from tests.servers import PostgresServer, running_redis

pytestmark = pytest.mark.redis

NUM_CALLS = 200
TOKENS_PER_CALL = 51  # of the prompt "Hi" and an answer of 50
BUDGET = 100 * TOKENS_PER_CALL


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with running_redis(tmp_path) as url:
        yield url


@pytest.fixture(scope="module")
def engine() -> Iterator[MockEngine]:
    with running_mock_engine(tokens=50) as engine:
        yield engine


@contextmanager
def two_processes(engine: MockEngine, var_dir: Path, **place: str) -> Iterator[Product]:
    engine.reset()
    with (
        quick_product(var_dir, "--workers=2", **place) as product,
        joined(product, engine),
    ):
        for other in web_processes(product):
            with stopped(other):
                wait_until_listed(product, "mock-1")
        yield product


@pytest.fixture
def product(
    redis_url: str, new_var_dir: Callable[[], Path], engine: MockEngine
) -> Iterator[Product]:
    with two_processes(engine, new_var_dir(), REDIS_URL=redis_url) as product:
        yield product


@pytest.fixture(scope="module")
def installed_in_postgres(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A folder and a database of a product that was just set up, to be copied."""
    var_dir = tmp_path_factory.mktemp("postgres") / "var"
    url = postgres_server.new_database()
    set_up(var_dir, {"DATABASE_URL": url})
    return var_dir, url


@pytest.fixture
def product_on_postgres(
    redis_url: str,
    installed_in_postgres: tuple[Path, str],
    postgres_server: PostgresServer,
    engine: MockEngine,
    tmp_path: Path,
) -> Iterator[Product]:
    template, url = installed_in_postgres
    var_dir = shutil.copytree(template, tmp_path / "var")
    place = {"DATABASE_URL": postgres_server.new_database(like=url)}
    with two_processes(engine, var_dir, REDIS_URL=redis_url, **place) as product:
        yield product


@pytest.fixture(
    params=["product", pytest.param("product_on_postgres", marks=pytest.mark.postgres)],
    ids=["sqlite", "postgres"],
)
def either(request: pytest.FixtureRequest) -> Product:
    """The product on SQLite, and then on PostgreSQL."""
    product: Product = request.getfixturevalue(request.param)
    return product


def web_processes(product: Product) -> list[psutil.Process]:
    return psutil.Process(product.process.pid).children()


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def redis_at(url: str) -> psutil.Process:
    port = urlsplit(url).port  # which it writes into its own title
    [process] = [
        each
        for each in psutil.Process().children()
        if f":{port}" in " ".join(each.cmdline())
    ]
    return process


def new_key(product: Product, *flags: str) -> str:
    created = product.manage("create_key", "--user", "admin", "--name", "ci", *flags)
    return created.stdout.split()[-1]


def calls(product: Product, key: str, text: str = "Hi", **fields) -> list[int]:
    """The status of each of many calls at once; 0 for one that was cut off."""

    def call(_number: int) -> int:
        content = chat_content(text, stream=True, **fields)
        try:
            return product.call("POST", CHAT_PATH, key, content).status
        except (OSError, HTTPException):
            return 0

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(call, range(NUM_CALLS)))


def billed(product: Product) -> int:
    [row] = product.query(
        "SELECT COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS tokens"
        " FROM controller_ledgerentry"
    )
    return row["tokens"]


def spent(product: Product) -> int:
    [row] = product.query("SELECT spent FROM controller_spending")
    return row["spent"]


def most_at_once(engine: MockEngine) -> int:
    """How many requests the engine had under way at one moment."""
    changes = []
    for request in engine.requests(CHAT_PATH):
        ended_at = request.ended_at or request.cancelled_at
        assert ended_at is not None
        changes += [(request.started_at, 1), (ended_at, -1)]
    return max(accumulate(change for _at, change in sorted(changes)))


@pytest.mark.parametrize("fields", [{"max_tokens": 50}, {}], ids=["given", "absent"])
def test_two_processes_spend_no_more_than_one_budget(either: Product, fields: dict):
    product = either
    key = new_key(product, "--tokens-per-day", str(BUDGET))

    statuses = calls(product, key, **fields)

    answered = statuses.count(200)
    assert answered + statuses.count(429) == NUM_CALLS
    wait_until(lambda: len(product.ledger()) == answered, "the ledger")
    assert 0 < billed(product) <= BUDGET * 1.005


def test_a_process_that_is_killed_takes_no_more_than_its_lease_along(either: Product):
    product = either
    key = new_key(product, "--tokens-per-day", str(BUDGET))
    victim = web_processes(product)[0]
    slow = "Hi [[interval_ms=20]]"

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(calls, product, key, slow, max_tokens=50)
        wait_until(lambda: product.query("SELECT 1 FROM controller_lease"), "a lease")
        victim.kill()
        running.result()
    wait_until(lambda: len(web_processes(product)) == 2, "a new process")
    statuses = calls(product, key, max_tokens=50)

    assert statuses.count(429) > 0
    assert billed(product) <= BUDGET * 1.005
    assert spent(product) <= BUDGET * 1.005


@pytest.mark.parametrize("ends", [signal.SIGSTOP, signal.SIGKILL], ids=["slow", "gone"])
def test_without_redis_nobody_is_unlimited(
    product: Product, redis_url: str, engine: MockEngine, ends: signal.Signals
):
    budgeted = new_key(product, "--tokens-per-day", str(BUDGET))
    rated = new_key(product, "--rpm", "60")
    few = new_key(product, "--concurrent", "6")
    began = time.monotonic()
    first = calls(product, rated).count(200)
    assert 0 < first <= 62 + time.monotonic() - began  # one comes back each second
    wait_until(lambda: len(product.ledger()) == first, "the ledger")
    before = billed(product)
    with ExitStack() as stack:
        redis = redis_at(redis_url)
        redis.send_signal(ends)
        if ends is signal.SIGSTOP:
            stack.callback(redis.send_signal, signal.SIGCONT)

        answered = calls(product, budgeted, max_tokens=50).count(200)
        wait_until(lambda: len(product.ledger()) == first + answered, "the ledger")
        assert 0 < billed(product) - before <= BUDGET * 1.005
        began = time.monotonic()
        more = calls(product, rated).count(200)

        # Each process's own part, which nobody has used yet, and what comes back.
        assert 0 < more <= 62 + time.monotonic() - began
        engine.reset()
        assert calls(product, few, "Hi [[interval_ms=5]]").count(200)
        assert most_at_once(engine) <= 6


def test_two_processes_have_no_more_under_way_than_one_limit(
    product: Product, engine: MockEngine
):
    key = new_key(product, "--concurrent", "6")

    statuses = calls(product, key, "Hi [[interval_ms=5]]")

    answered = statuses.count(200)
    assert answered + statuses.count(429) == NUM_CALLS
    wait_until(lambda: len(product.ledger()) == answered, "the ledger")
    assert most_at_once(engine) == 6


def test_the_places_of_a_killed_process_come_back_and_no_more(product: Product):
    key = new_key(product, "--concurrent", "4")
    victim, other = web_processes(product)

    def opens(stack: ExitStack) -> bool:
        """Whether one stream more may begin, which goes on until the stack ends."""
        text = "Hi [[tokens=100000 interval_ms=50]]"
        stream = product.chat_stream(text, key=key)
        return stack.enter_context(stream).status == 200

    with ExitStack() as streams:
        with stopped(other):  # all four by one process, which has a part of two
            assert [opens(streams) for _ in range(5)] == [True] * 4 + [False]
        with stopped(victim):
            assert not opens(streams)
        victim.kill()
        for _ in range(4):  # a process that was just refused may not know yet
            wait_until(lambda: opens(streams), "the places of the dead")

        assert not any(opens(streams) for _ in range(4))
