"""Workers that are killed or frozen under many streams: each client sees a pause.

The product and its engines are processes of their own; killing them is real.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec import Struct

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    CHAT_PATH,
    JoinedWorker,
    Product,
    chat_content,
    events_of,
    joined,
    quick_product,
    wait_until,
)

NUM_STREAMS = 200
NUM_TOKENS = 30
ROUNDS = 20
ASKED = f"one two [[tokens={NUM_TOKENS} interval_ms=80]]"
ANSWER = " ".join(f"t{number}" for number in range(NUM_TOKENS))
numbers = itertools.count()
IMPATIENT = {
    "HEARTBEAT_EXPIRY": "4",
    "HEARTBEAT_INTERVAL": "0.5",
    "MOVE_AFTER_SILENCE": "2",
    "PROBE_AFTER": "1",
    "PROBE_TIMEOUT": "1",
}


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir()) as product:
        yield product


@pytest.fixture(scope="module")
def impatient_product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir(), **IMPATIENT) as product:
        yield product


class Fleet:
    """Mock engines that join one after another, like vLLM."""

    def __init__(self, product: Product, stack: ExitStack, model: str) -> None:
        self.product, self.stack, self.model = product, stack, model
        self.workers: list[tuple[MockEngine, JoinedWorker]] = []

    def add(self) -> tuple[MockEngine, JoinedWorker]:
        engine = self.stack.enter_context(running_mock_engine(models=(self.model,)))
        worker = joined(self.product, engine, like="vllm")
        self.workers.append((engine, self.stack.enter_context(worker)))
        return self.workers[-1]


@contextmanager
def fleet_of_two(product: Product) -> Iterator[Fleet]:
    with ExitStack() as stack:
        fleet = Fleet(product, stack, f"model-{next(numbers)}")
        for _ in range(2):
            fleet.add()
        yield fleet


@pytest.fixture
def fleet(product: Product) -> Iterator[Fleet]:
    with fleet_of_two(product) as fleet:
        yield fleet


@pytest.fixture
def impatient_fleet(impatient_product: Product) -> Iterator[Fleet]:
    with fleet_of_two(impatient_product) as fleet:
        yield fleet


class Stream(Struct):
    """An answer that has come to its end."""

    body: bytes
    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        choices = [each["choices"] for each in self.events if each.get("choices")]
        return "".join(choice["delta"].get("content", "") for [choice] in choices)


async def read_many(
    fleet: Fleet, num_streams: int, when_all_speak: Callable[[], object]
) -> list[Stream]:
    """Open the streams, call this when each has its first text, and read to the end."""
    speaking = asyncio.Semaphore(0)
    url = fleet.product.url + CHAT_PATH
    headers = {"Authorization": f"Bearer {fleet.product.credentials.api_key}"}
    options = {"include_usage": True}
    content = chat_content(ASKED, stream=True, stream_options=options)
    content["model"] = fleet.model
    connector = aiohttp.TCPConnector(limit=0)

    async def read(session: aiohttp.ClientSession) -> Stream:
        async with session.post(url, json=content) as response:
            first = await response.content.readline()
            speaking.release()
            body = first + await response.content.read()
        assert response.status == 200, body
        named = [line for line in body.split(b"\n\n") if not line.startswith(b":")]
        return Stream(body, events_of(b"\n\n".join(named)))

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        reading = [asyncio.create_task(read(session)) for _ in range(num_streams)]
        for _ in reading:
            await speaking.acquire()
        await asyncio.to_thread(when_all_speak)
        return await asyncio.gather(*reading)


def check_whole(streams: list[Stream]) -> None:
    """Each is one whole answer, as an engine that nobody kills would give it."""
    for stream in streams:
        assert stream.text == ANSWER
        assert stream.body.count(b'"role":') == 1
        assert len({each["id"] for each in stream.events if each}) == 1
        assert stream.body.endswith(b"data: [DONE]\n\n")
        [usage] = [each["usage"] for each in stream.events if each.get("usage")]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (4, NUM_TOKENS)
    ids = [stream.events[0]["id"] for stream in streams]
    assert len(set(ids)) == len(streams)


def rows_of(fleet: Fleet) -> list[dict[str, Any]]:
    return [row for row in fleet.product.ledger() if row["model"] == fleet.model]


def check_nothing_is_held(fleet: Fleet) -> None:
    metrics = fleet.product.call("GET", "/metrics").body.decode()
    assert "switchyard_in_flight 0.0" in metrics


@pytest.mark.timeout(600)
async def test_two_hundred_streams_survive_twenty_killed_workers(fleet: Fleet):
    for number in range(1, ROUNDS + 1):
        victim, worker = fleet.workers.pop(0)
        worker.stop_beating()

        streams = await read_many(fleet, NUM_STREAMS, victim.kill)

        check_whole(streams)
        await asyncio.to_thread(
            wait_until,
            lambda n=number: len(rows_of(fleet)) == n * NUM_STREAMS,
            "the ledger to be complete",
        )
        rows = rows_of(fleet)[-NUM_STREAMS:]
        assert {row["status"] for row in rows} == {200}
        assert {row["completion_tokens"] for row in rows} == {NUM_TOKENS}
        assert {row["tokens_estimated"] for row in rows} == {0}
        assert sum(row["num_moves"] for row in rows) >= NUM_STREAMS // 4
        check_nothing_is_held(fleet)
        [survivor] = [engine for engine, _ in fleet.workers]
        assert survivor.totals().in_flight == 0
        await asyncio.to_thread(worker.leave)
        await asyncio.to_thread(fleet.add)


@pytest.mark.parametrize("agent", ["agent alive", "agent silent"])
async def test_streams_leave_a_worker_that_is_frozen(
    impatient_fleet: Fleet, agent: str
):
    victim, worker = impatient_fleet.workers[0]

    def freeze() -> None:
        victim.suspend()
        if agent == "agent silent":
            worker.stop_beating()

    streams = await read_many(impatient_fleet, 20, freeze)
    victim.resume()

    check_whole(streams)
    check_nothing_is_held(impatient_fleet)


async def test_requests_leave_a_worker_that_was_frozen_before_they_came(
    impatient_fleet: Fleet,
):
    victim, worker = impatient_fleet.workers[0]
    victim.suspend()
    worker.stop_beating()

    streams = await read_many(impatient_fleet, 20, lambda: None)
    victim.resume()

    check_whole(streams)
    await asyncio.to_thread(victim.wait_for, in_flight=0)
    check_nothing_is_held(impatient_fleet)
