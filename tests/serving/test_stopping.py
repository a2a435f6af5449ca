"""SIGTERM: not ready, then deaf, then done; what runs ends, or is told why not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import (
    Product,
    Response,
    events_of,
    joined,
    quick_product,
    wait_until,
)


@dataclass
class Stopped:
    """What was seen of a product that was stopped with three requests under way."""

    unready: Response
    short: list[dict[str, Any]]
    """Events of a stream that would end within the grace."""
    long: list[dict[str, Any]]
    """Events of one that would not."""
    unanswered: Response
    """The answer to a request whose engine had said nothing yet."""
    exit_status: int
    rows: dict[str, dict[str, Any]]
    """The ledger by the client's own request id."""


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def stopped(
    request: pytest.FixtureRequest, new_var_dir: Callable[[], Path]
) -> Iterator[Stopped]:
    with (
        running_mock_engine() as engine,
        quick_product(
            new_var_dir(),
            f"--server={request.param}",
            SHUTDOWN_NOTICE="0.5",
            SHUTDOWN_GRACE="2",
        ) as product,
        joined(product, engine),
        product.chat_stream("[[tokens=20 interval_ms=50]]", "short") as short,
        product.chat_stream("[[tokens=999 interval_ms=50]]", "long") as long,
        product.chat_connection("[[first_ms=60000]]", "unanswered") as unanswered,
    ):
        engine.wait_for(started=3)
        product.process.terminate()
        yield Stopped(
            unready=wait_until(lambda: unready(product), "being unready"),
            short=events_of(short.read()),
            long=events_of(long.read()),
            unanswered=Response.of(unanswered.getresponse()),
            exit_status=product.process.wait(10),
            rows={row["client_request_id"]: row for row in product.ledger()},
        )


def unready(product: Product) -> Response | None:
    response = product.call("GET", "/readyz")
    return response if response.status == 503 else None


def test_it_says_that_it_is_not_ready_while_it_still_listens(stopped: Stopped):
    assert stopped.unready.json["ready"] is False


def test_a_stream_that_ends_within_the_grace_ends_complete(stopped: Stopped):
    *_, finish, done = stopped.short

    assert finish["choices"][0]["finish_reason"] == "stop"
    assert done == {}
    assert stopped.rows["short"]["status"] == 200
    assert stopped.rows["short"]["completion_tokens"] == 20


def test_a_stream_that_does_not_is_ended_by_an_event_that_says_why(stopped: Stopped):
    *tokens, last = stopped.long

    assert len(tokens) > 20
    assert last["error"]["code"] == "shutting_down"
    row = stopped.rows["long"]
    assert (row["status"], row["error_code"]) == (503, "shutting_down")
    assert row["tokens_estimated"]


def test_a_request_without_its_first_byte_is_refused(stopped: Stopped):
    refused = stopped.unanswered

    assert (refused.status, refused.error["code"]) == (503, "shutting_down")
    assert stopped.rows["unanswered"]["status"] == 503


def test_the_process_ends_well(stopped: Stopped):
    assert stopped.exit_status == 0
