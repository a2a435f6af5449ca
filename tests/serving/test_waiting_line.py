"""Full workers: who must wait is told so, is served in turn, and leaves at will."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    chat_content,
    events_of,
    joined,
    quick_product,
    wait_until,
)
from workers.protocol import Task

AT_MOST_SECONDS = 2.5
PLACES = 2
TASKS = [Task.CHAT, Task.COMPLETIONS, Task.TOKENIZE]
SHORT = {
    "QUEUE_LENGTH": "60",
    "QUEUE_CALLER_LENGTH": "55",
    "QUEUE_DEADLINE": "600",
    "QUEUE_NOTICE_AFTER": "0.2",
    "QUEUE_NOTICE_INTERVAL": "0.2",
}


@pytest.fixture(scope="module")
def only_engine() -> Iterator[MockEngine]:
    with running_mock_engine() as engine:
        yield engine


@pytest.fixture
def engine(only_engine: MockEngine) -> MockEngine:
    only_engine.reset()
    return only_engine


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def product(
    request: pytest.FixtureRequest,
    only_engine: MockEngine,
    new_var_dir: Callable[[], Path],
) -> Iterator[Product]:
    with (
        quick_product(new_var_dir(), f"--server={request.param}", **SHORT) as product,
        joined(product, only_engine, max_concurrency=PLACES, tasks=TASKS),
    ):
        yield product


def gauge(product: Product, name: str) -> float:
    """The sum of a gauge over its labels; 0 where it is not there."""
    lines = product.call("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def wait_for_line(product: Product, length: int) -> None:
    def is_so() -> bool:
        return gauge(product, "switchyard_queue_length{") == length

    wait_until(is_so, f"{length} in line")


@contextmanager
def full_workers(product: Product, engine: MockEngine) -> Iterator[ExitStack]:
    """While the context lasts both places are taken; closing the stack frees them."""
    with ExitStack() as holders:
        for _ in range(PLACES):
            holders.enter_context(product.chat_connection("[[hang_after=0]]"))
        engine.wait_for(started=PLACES)
        yield holders


@pytest.mark.parametrize("stream", [True, False])
def test_who_finds_the_workers_full_is_served_when_a_place_frees(
    product: Product, engine: MockEngine, stream: bool
):
    with full_workers(product, engine) as holders, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(product.chat, "[[tokens=3]]", stream=stream)
        wait_for_line(product, 1)
        assert engine.totals().started == PLACES
        holders.close()
        answer = asked.result()

    assert answer.status == 200
    assert b"t2" in answer.body
    assert answer.headers["x-switchyard-queue-position"] == "1"
    assert float(answer.headers["x-switchyard-queue-ms"]) > 0
    assert float(answer.headers["x-switchyard-overhead-ms"]) < 1000


def test_a_request_that_finds_room_says_nothing_of_a_line(product: Product):
    answer = product.chat("[[tokens=1]]")

    assert not [name for name in answer.headers if "queue" in name]


def test_a_stream_is_told_its_place_and_then_gives_its_answer_whole(
    product: Product, engine: MockEngine
):
    with (
        full_workers(product, engine) as holders,
        product.chat_stream("[[tokens=5]]", "told") as response,
    ):
        first, second = (response.readline() + response.readline() for _ in "ab")
        holders.close()
        rest = response.read()

    assert response.status == 200
    assert first.startswith(b": waiting 1 of 1")
    assert first.endswith(b"\n\n")
    assert second.startswith(b": waiting 1 of 1")
    comments, _, answer = rest.partition(b": it is your turn\n\n")
    assert all(each.startswith(b": ") for each in comments.split(b"\n\n") if each)
    text = [
        choice["delta"].get("content", "")
        for event in events_of(answer)
        for choice in event.get("choices", ())
    ]
    assert "".join(text) == "t0 t1 t2 t3 t4"
    row = product.ledger_row(client_request_id="told")
    assert row["status"] == 200
    assert row["queued_seconds"] > 0.3
    assert row["overhead_seconds"] < 0.3 < row["ttft_seconds"]


def test_the_official_client_reads_a_stream_that_waited(
    product: Product, engine: MockEngine
):
    with (
        OpenAI(
            base_url=f"{product.url}/v1", api_key=product.credentials.api_key
        ) as client,
        full_workers(product, engine) as holders,
    ):
        stream = client.chat.completions.create(  # it has its headers
            model="mock-1",
            messages=[{"role": "user", "content": "[[tokens=3]]"}],
            stream=True,
        )
        holders.close()
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert text == "t0 t1 t2"


def test_a_deadline_of_ones_own_ends_the_wait_with_a_reason(
    product: Product, engine: MockEngine
):
    key = product.credentials.api_key
    wish = {"X-Switchyard-Queue-Deadline": "0.1"}
    with full_workers(product, engine):
        refused = product.call("POST", CHAT_PATH, key, chat_content("Hi"), wish)
        late = product.call(
            "POST",
            CHAT_PATH,
            key,
            chat_content("Hi", stream=True),
            {"X-Switchyard-Queue-Deadline": "1"},
        )

    assert (refused.status, refused.error["code"]) == (503, "queue_timeout")
    assert "0.1 s" in refused.error["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert late.status == 200  # it was told its place
    [event] = [each for each in late.body.split(b"\n\n") if each.startswith(b"data")]
    assert b"queue_timeout" in event


@pytest.mark.parametrize("wish", ["soon", "-1", "nan", ""])
def test_a_deadline_that_is_no_number_of_seconds_is_refused(
    product: Product, wish: str
):
    key = product.credentials.api_key
    header = {"X-Switchyard-Queue-Deadline": wish}

    refused = product.call("POST", CHAT_PATH, key, chat_content("Hi"), header)

    assert refused.status == 400
    assert "x-switchyard-queue-deadline" in refused.error["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_fifty_clients_that_leave_the_line_at_once_are_gone_from_it(
    product: Product, engine: MockEngine, stream: bool
):
    with full_workers(product, engine):
        with ExitStack() as clients:
            for number in range(50):
                text = f"[[tokens=1]] {number}"
                sent = product.chat_connection(text, stream=stream)
                connection = clients.enter_context(sent)
                if stream and number % 2:  # some have been told, some have not
                    clients.enter_context(connection.getresponse()).readline()
            wait_for_line(product, 50)
        left_at = time.monotonic()
        wait_for_line(product, 0)
        took = time.monotonic() - left_at
    engine.wait_for(AT_MOST_SECONDS, cancelled=PLACES)

    assert took < AT_MOST_SECONDS
    totals = engine.totals()
    assert (totals.started, totals.in_flight) == (PLACES, 0)
    assert product.chat("[[tokens=1]]").status == 200
    assert gauge(product, "switchyard_queue_bytes{") == 0


def test_fifty_clients_that_leave_as_their_turns_come_leave_no_slot_taken(
    product: Product, engine: MockEngine
):
    """The worst moment: the slot is theirs already, and nothing is sent yet."""
    with ExitStack() as clients, full_workers(product, engine) as holders:
        for _ in range(50):
            sent = product.chat_connection("[[hang_after=0]]", stream=True)
            clients.enter_context(sent)
        wait_for_line(product, 50)
        holders.close()
        clients.close()
    wait_until(lambda: engine.totals().in_flight == 0, "an idle engine")
    wait_until(lambda: gauge(product, "switchyard_in_flight") == 0, "an idle gateway")

    began = time.monotonic()
    answers = [product.chat("[[tokens=1]]") for _ in range(PLACES + 1)]

    assert [answer.status for answer in answers] == [200] * (PLACES + 1)
    assert not [each for each in answers if "x-switchyard-queue-ms" in each.headers]
    assert time.monotonic() - began < AT_MOST_SECONDS


def test_more_than_a_callers_share_is_refused_with_the_time_to_come_back(
    product: Product, engine: MockEngine
):
    with ExitStack() as clients, full_workers(product, engine):
        for _ in range(55):
            clients.enter_context(product.chat_connection("[[tokens=1]]"))
        wait_for_line(product, 55)
        refused = product.chat("one too many")

    assert (refused.status, refused.error["code"]) == (429, "queue_share_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert "share of the waiting line" in refused.error["message"]


def test_tokenizing_needs_no_place(product: Product, engine: MockEngine):
    body = {"model": "mock-1", "prompt": "one two"}
    with full_workers(product, engine):
        answer = product.call("POST", "/v1/tokenize", product.credentials.api_key, body)

    assert answer.status == 200
