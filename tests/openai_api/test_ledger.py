"""Each request leaves exactly one row, whatever its end."""

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    events_of,
    joined,
)


def row_of(product: Product, response: Response) -> dict:
    return product.ledger_row(request_id=response.headers["x-request-id"])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_recorded_with_who_what_and_how_long(
    product: Product, stream: bool
):
    key = product.credentials.api_key
    content = chat_content("Hi [[tokens=3 first_ms=100]]", stream=stream)
    headers = {"X-Request-Id": "the client's own"}
    answer = product.call("POST", CHAT_PATH, key, content, headers)

    row = row_of(product, answer)

    expected = {
        "client_request_id": "the client's own",
        "face": "api",
        "endpoint": "/v1/chat/completions",
        "model": "mock-1",
        "stream": stream,
        "status": 200,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 3,
        "tokens_estimated": False,
        "num_retries": 0,
        "num_moves": 0,
        "error_code": "",
    }
    assert expected.items() <= row.items()
    assert None not in (row["user_id"], row["key_id"], row["worker_id"])
    assert 0.1 <= row["ttft_seconds"] <= row["duration_seconds"] < 5
    assert 0 < row["overhead_seconds"] < 0.1


def test_a_failure_of_the_engine_is_recorded(product: Product):
    row = row_of(product, product.chat("[[status=500]]"))

    assert (row["status"], row["error_code"]) == (502, "upstream_error")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (0, 0)
    assert row["ttft_seconds"] is None


def test_a_stream_that_was_cut_is_recorded_with_estimated_tokens(product: Product):
    answer = product.chat("[[tokens=9 interval_ms=20 cut_after=4]]", stream=True)

    row = row_of(product, answer)

    assert (row["status"], row["error_code"]) == (502, "upstream_error")
    assert row["tokens_estimated"]
    assert row["completion_tokens"] in (4, 5)  # an event each, one for the role


def test_a_client_that_left_is_recorded_as_499_with_estimated_tokens(
    product: Product,
):
    with product.chat_stream("[[tokens=500 interval_ms=20]]", "left") as response:
        for _ in range(6):  # lines: three events
            response.readline()

    row = product.ledger_row(client_request_id="left")

    assert (row["status"], row["tokens_estimated"]) == (499, True)
    assert 2 <= row["completion_tokens"] < 500
    assert row["prompt_tokens"] > 0


def test_a_request_whose_worker_was_killed_is_recorded(product: Product):
    with (
        running_mock_engine(models=("mortal",), interval_ms=20, tokens=500) as engine,
        joined(product, engine) as worker,
        product.chat_stream("Hi", model="mortal") as response,
    ):
        response.readline(), response.readline()  # an event, and the line that ends it
        engine.kill()
        *_, last = events_of(response.read())
        worker.leave()

    row = product.ledger_row(model="mortal")
    assert last["error"]["code"] == "upstream_error"
    assert (row["status"], row["error_code"]) == (502, "upstream_error")
    assert row["tokens_estimated"]


def test_a_body_that_was_refused_leaves_no_row(product: Product):
    row_of(product, product.chat())  # written: so are all before it
    before = len(product.ledger())

    product.chat(model="no such model")
    product.chat(temperature="warm")

    row_of(product, product.chat())
    assert len(product.ledger()) == before + 1
