"""What passes between client and engine, and what does not."""

import json

import pytest

from tests.mock_engine import MockEngine, RecordedRequest, running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    events_of,
    joined,
    manage,
    model_named,
    wait_until_listed,
)
from workers.protocol import Task


def seen_by(engine: MockEngine, response: Response) -> RecordedRequest:
    request_id = response.headers["x-request-id"]
    (request,) = [
        each
        for each in engine.requests()
        if each.headers.get("x-request-id") == request_id
    ]
    return request


def test_an_answer_bears_its_id_and_the_gateways_own_time(product: Product):
    for stream in (False, True):
        answer = product.chat(stream=stream)

        assert len(answer.headers["x-request-id"]) == 24
        assert 0 < float(answer.headers["x-switchyard-overhead-ms"]) < 1000


@pytest.mark.parametrize("stream", [False, True])
def test_an_operator_who_asks_is_told_why_this_worker(
    product: Product, engine: MockEngine, stream: bool
):
    key, asked = product.credentials.api_key, {"X-Switchyard-Explain": "1"}
    content = chat_content("Hi", stream=stream)

    told = product.call("POST", CHAT_PATH, key, content, asked).headers
    untold = product.call("POST", CHAT_PATH, key, content).headers

    [only] = json.loads(told["x-switchyard-explain"])["tries"]
    assert (only["worker"], only["candidates"]) == (engine.url, 1)
    assert "x-switchyard-explain" not in untold


def test_nobody_else_is_told_the_address_of_a_worker(product: Product):
    named = ("--user=admin", "--name=inference")
    created = manage(product.var_dir, "create_key", *named)
    key = created.stdout.split()[-1]
    asked = {"X-Switchyard-Explain": "1"}

    answer = product.call("POST", CHAT_PATH, key, chat_content("Hi"), asked)

    assert answer.status == 200
    assert "x-switchyard-explain" not in answer.headers


def test_a_refusal_bears_its_id(product: Product):
    assert len(product.chat(model="none").headers["x-request-id"]) == 24


def test_the_engine_sees_our_id_and_its_own_key_and_nothing_of_the_client(
    product: Product, engine: MockEngine
):
    key = product.credentials.api_key
    headers = {
        "Cookie": "sessionid=secret",
        "X-Request-Id": "mine",
        "X-Forwarded-For": "10.9.9.9",
        "x-api-key": key,
    }

    answer = product.call("POST", CHAT_PATH, key, chat_content("Hi"), headers)

    seen = seen_by(engine, answer)
    assert seen.headers["authorization"] == f"Bearer {engine.config.key}"
    assert set(seen.headers) == {
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "x-request-id",
    }


def test_the_engine_is_asked_for_usage_though_the_client_was_not(
    product: Product, engine: MockEngine
):
    answer = product.chat(stream=True)

    assert seen_by(engine, answer).body["stream_options"] == {"include_usage": True}


def test_the_engines_own_headers_do_not_come_back(product: Product):
    for stream in (False, True):
        answer = product.chat(stream=stream)

        assert answer.status == 200
        assert {"set-cookie", "server"} & set(answer.headers) == set()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_fails_an_engine_is_an_upstream_error_without_its_text(
    product: Product, stream: bool, status: int
):
    failed = product.chat(f"[[status={status}]]", stream=stream)

    assert (failed.status, failed.error["code"]) == (502, "upstream_error")
    assert b"mock engine" not in failed.body


def test_an_answer_that_is_no_json_is_an_upstream_error(product: Product):
    failed = product.chat("[[garbage]]")

    assert (failed.status, failed.error["code"]) == (502, "upstream_error")


def test_a_stream_that_begins_with_nonsense_is_an_upstream_error(product: Product):
    failed = product.chat("[[garbage]]", stream=True)

    assert (failed.status, failed.error["code"]) == (502, "upstream_error")


def test_an_error_of_the_engine_in_mid_stream_is_one_event_and_the_end(
    product: Product,
):
    answer = product.chat("[[tokens=9 interval_ms=20 error_after=4]]", stream=True)

    *before, last = [event for event in events_of(answer.body) if event]
    assert (answer.status, last["error"]["code"]) == (200, "upstream_error")
    assert "".join(e["choices"][0]["delta"]["content"] for e in before) == "t0 t1 t2 t3"


def test_an_engine_that_breaks_off_in_mid_stream_is_one_error_event_and_the_end(
    product: Product,
):
    answer = product.chat("[[tokens=9 interval_ms=20 cut_after=4]]", stream=True)

    *before, last = events_of(answer.body)
    assert (answer.status, last["error"]["code"]) == (200, "upstream_error")
    assert "".join(e["choices"][0]["delta"]["content"] for e in before) == "t0 t1 t2 t3"


def test_an_engine_that_breaks_off_before_the_first_byte_is_an_upstream_error(
    product: Product,
):
    for stream in (False, True):
        failed = product.chat("[[cut_after=0]]", stream=stream)

        assert (failed.status, failed.error["code"]) == (502, "upstream_error")


def test_an_engine_error_before_the_first_token_has_its_own_status(product: Product):
    failed = product.chat("[[error_after=0]]", stream=True)

    assert (failed.status, failed.error["code"]) == (502, "upstream_error")


def test_a_model_whose_worker_left_is_unavailable_with_the_reason(product: Product):
    with (
        running_mock_engine(models=("gone",)) as engine,
        joined(product, engine) as worker,
    ):
        assert product.chat(model="gone").status == 200
        worker.leave()

    refused = product.chat(model="gone")
    looked_up = product.call("GET", "/v1/models/gone", product.credentials.api_key)

    assert (refused.status, refused.error["code"]) == (503, "no_worker_available")
    assert int(refused.headers["retry-after"]) >= 1
    assert "no worker that serves it is registered" in refused.error["message"]
    assert (looked_up.status, looked_up.error) == (503, refused.error)


def test_a_task_that_no_worker_of_the_model_does_is_refused(product: Product):
    with (
        running_mock_engine(models=("talker",)) as engine,
        joined(product, engine, tasks=[Task.CHAT], aliases=["chatter"]),
    ):
        content = {"model": "chatter", "prompt": "Hi"}
        key = product.credentials.api_key
        refused = product.call("POST", "/v1/completions", key, content)
        answered = product.chat(model="chatter")

    assert (refused.status, refused.error["code"]) == (400, "unsupported_task")
    assert answered.status == 200


def test_an_answer_of_a_fallback_says_which_model_it_is_of(product: Product):
    code = """
from controller.models import Revision, ServedModel
ServedModel.objects.create(
    name="away", licence="MIT", fallback=ServedModel.objects.get(name="mock-1")
)
Revision.bump("fleet")
"""
    done = manage(product.var_dir, "shell", "--command", code)
    assert done.returncode == 0, done.stdout
    wait_until_listed(product, "away")

    for stream in (False, True):
        answer = product.chat(model="away", stream=stream)
        usual = product.chat(stream=stream)

        assert (answer.status, answer.headers["x-switchyard-fallback"]) == (
            200,
            "mock-1",
        )
        assert "x-switchyard-fallback" not in usual.headers
        row = product.ledger_row(request_id=answer.headers["x-request-id"])
        assert row["model"] == "mock-1"
        assert json.loads(row["explanation"])["fallback_from"] == "away"
    assert model_named(product, "away")["license"] == "MIT"
