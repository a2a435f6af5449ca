"""Clients that leave, read nothing or send too much, on both servers.

Who leaves ends its request on the engine, which is where it is seen here.
"""

import http.client
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    joined,
    quick_product,
    wait_until,
)

# Ten times what is aimed at: the machine of a test run has other work.
AT_MOST_SECONDS = 2.5
MAX_BODY_BYTES = 100_000
# More than the kernel's buffers between engine, gateway and client hold together.
TENS_OF_MEGABYTES = "[[tokens=150000 hang_after=149999]]"


@pytest.fixture(scope="module")
def only_engine() -> Iterator[MockEngine]:
    with running_mock_engine(context_length=10**7) as engine:
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
        quick_product(
            new_var_dir(),
            f"--server={request.param}",
            MAX_BODY_BYTES=str(MAX_BODY_BYTES),
        ) as product,
        joined(product, only_engine),
    ):
        yield product


def test_a_client_that_leaves_in_mid_stream_ends_the_engines_request(
    product: Product, engine: MockEngine
):
    with product.chat_stream("[[tokens=1000 interval_ms=20]]") as response:
        response.readline()

    engine.wait_for(AT_MOST_SECONDS, cancelled=1)
    assert engine.requests()[-1].tokens < 1000


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_byte_ends_the_engines_request(
    product: Product, engine: MockEngine, stream: bool
):
    with product.chat_connection("[[first_ms=30000]]", stream=stream):
        engine.wait_for(started=1)

    engine.wait_for(AT_MOST_SECONDS, cancelled=1)


def test_a_client_that_leaves_while_a_whole_answer_is_on_its_way_ends_it(
    product: Product, engine: MockEngine
):
    with product.chat_connection("[[hang_after=3]]"):
        engine.wait_for(started=1)

    engine.wait_for(AT_MOST_SECONDS, cancelled=1)


def test_a_client_that_leaves_while_it_is_too_slow_to_be_sent_to_ends_it(
    product: Product, engine: MockEngine
):
    with reading_nothing(product, TENS_OF_MEGABYTES) as client:
        wait_until_stuck(product.port, client.getsockname()[1])

    engine.wait_for(AT_MOST_SECONDS, cancelled=1)


def test_no_more_is_taken_from_the_engine_than_a_slow_client_takes(
    product: Product, engine: MockEngine
):
    with reading_nothing(product, TENS_OF_MEGABYTES):
        wait_until_stuck(engine.port)


def test_fifty_clients_that_leave_at_once_end_fifty_requests(
    product: Product, engine: MockEngine
):
    with ExitStack() as clients:
        for number in range(50):
            text = f"[[tokens=1000 interval_ms=50]] {number}"
            response = clients.enter_context(product.chat_stream(text))
            response.readline()

    assert engine.wait_for(AT_MOST_SECONDS, cancelled=50).in_flight == 0


def test_what_left_is_out_of_the_books(product: Product, engine: MockEngine):
    with product.chat_stream("[[tokens=1000 interval_ms=20]]", "gone") as response:
        response.readline()

    row = product.ledger_row(client_request_id="gone")

    assert row["status"] == 499
    metrics = product.call("GET", "/metrics").body.decode()
    assert "switchyard_in_flight 0.0" in metrics


def test_a_client_that_reads_to_the_end_cancels_nothing(
    product: Product, engine: MockEngine
):
    with product.chat_stream("[[tokens=20 interval_ms=5]]") as response:
        assert response.read().endswith(b"data: [DONE]\n\n")

    totals = engine.wait_for(ended=1)
    assert (totals.started, totals.cancelled) == (1, 0)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_above_the_limit_is_refused_whether_or_not_it_says_its_length(
    product: Product, is_chunked: bool
):
    headers = {"Authorization": f"Bearer {product.credentials.api_key}"}
    body = b" " * (MAX_BODY_BYTES + 50_000)
    with closing(product.connect()) as connection:
        sent = iter([body]) if is_chunked else body
        connection.request("POST", CHAT_PATH, sent, headers, encode_chunked=is_chunked)
        refused = Response.of(connection.getresponse())

    assert (refused.status, refused.error["code"]) == (413, "request_too_large")


@contextmanager
def reading_nothing(product: Product, text: str) -> Iterator[socket.socket]:
    """A client with small buffers that asks, and breaks off without having read."""
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", product.port))
        connection = http.client.HTTPConnection("127.0.0.1", product.port)
        connection.sock = client
        headers = {"Authorization": f"Bearer {product.credentials.api_key}"}
        body = msgspec.json.encode(chat_content(text, stream=True))
        connection.request("POST", CHAT_PATH, body, headers)
        yield client
        # Closed by a reset, as when the client's process is killed with bytes unread.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait_until_stuck(port: int, peer_port: int | None = None) -> None:
    """Return when a connection of `port` is full, and stays as full for a while."""
    readings: deque[int] = deque(maxlen=10)

    def is_stuck() -> bool:
        readings.append(unsent_bytes(port, peer_port))
        return len(readings) == 10 and min(readings) == max(readings) > 100_000

    wait_until(is_stuck, "a full connection")


def unsent_bytes(port: int, peer_port: int | None) -> int:
    """The most that the kernel holds for one connection, by /proc/net/tcp."""
    held = [0]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        is_peer = peer_port is None or remote.endswith(f":{peer_port:04X}")
        if local.endswith(f":{port:04X}") and is_peer:
            held.append(int(queues.partition(":")[0], 16))
    return max(held)
