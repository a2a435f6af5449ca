"""The mock engine keeps the promises that other tests build on."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import openai
import pytest

from tests.mock_engine import MockEngine, running_mock_engine
from tests.mock_engine.places import Places


@pytest.fixture(scope="module")
def shared_engine():
    with running_mock_engine(
        context_length=100, open_paths=("/invocations",)
    ) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine):
    shared_engine.reset()
    return shared_engine


def client_of(engine: MockEngine, **options) -> openai.OpenAI:
    options = {"api_key": engine.config.key, "max_retries": 0, **options}
    return openai.OpenAI(base_url=f"{engine.url}/v1", **options)


def ask(client: openai.OpenAI, text: str, **options):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="mock-1", messages=messages, **options)


@pytest.mark.parametrize("directive", ["", "[[interval_ms=0.1]]"])
def test_a_stream_holds_64_tokens_and_the_usage_that_was_asked_for(engine, directive):
    with client_of(engine) as client:
        stream = ask(
            client,
            f"Hi {directive}",
            stream=True,
            stream_options={"include_usage": True},
        )
        *chunks, last = list(stream)

    text = "".join(chunk.choices[0].delta.content for chunk in chunks)
    assert text == " ".join(f"t{i}" for i in range(64))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage.completion_tokens == 64


def test_max_tokens_shortens_an_answer_that_is_not_streamed(engine):
    with client_of(engine) as client:
        answer = ask(client, "one two three", max_tokens=5)

    assert answer.choices[0].message.content == "t0 t1 t2 t3 t4"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == 3


def test_continuous_usage_counts_up_with_the_tokens(engine):
    options = {"include_usage": True, "continuous_usage_stats": True}
    with client_of(engine) as client:
        chunks = list(
            ask(client, "Hi", stream=True, max_tokens=3, stream_options=options)
        )

    assert [each.usage.completion_tokens for each in chunks] == [0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("prompt", "contents"),
    [
        ("word " * 101, "at least 101 input tokens, which exceeds this limit"),
        ("w" * 3201, "3201 characters (more than 3200 characters, which is the upper"),
    ],
)
def test_a_prompt_beyond_the_context_is_refused_in_vllms_words(
    engine, prompt, contents
):
    with client_of(engine) as client, pytest.raises(openai.BadRequestError) as refusal:
        ask(client, prompt)

    assert refusal.value.body["code"] == 400
    assert refusal.value.body["message"].startswith(
        "This model's maximum context length is 100 tokens. However, your prompt "
        f"contains {contents}"
    )


def test_without_the_key_only_health_and_open_paths_answer(engine):
    statuses = {}
    for path in ("/health", "/invocations", "/v1/models", "/tokenize", "/metrics"):
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=5)
        method = "POST" if path in ("/invocations", "/tokenize") else "GET"
        connection.request(method, path, "{}")
        statuses[path] = connection.getresponse().status
        connection.close()

    assert statuses.pop("/health") == statuses.pop("/invocations") == 200
    assert set(statuses.values()) == {401}


def test_a_client_that_leaves_is_recorded_with_the_tokens_it_got(engine):
    with client_of(engine) as client:
        stream = ask(client, "Hi [[interval_ms=20]]", stream=True)
        next(stream)
        stream.close()

    totals = engine.wait_for(cancelled=1)
    (request,) = engine.requests("/v1/chat/completions")
    assert totals.in_flight == 0
    assert 1 <= request.tokens < 64
    assert request.cancelled_at > request.started_at
    assert request.body["stream"] is True


def test_a_cut_stream_breaks_off_after_its_tokens(engine):
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=5)
    message = {"role": "user", "content": "Hi [[cut_after=5]]"}
    body = json.dumps({"model": "mock-1", "stream": True, "messages": [message]})
    connection.request("POST", "/v1/chat/completions", body, headers=engine.headers)

    with pytest.raises(http.client.IncompleteRead) as broken:
        connection.getresponse().read()

    connection.close()
    assert broken.value.partial.count(b'"content":"') == 6  # the role's is empty
    assert b"[DONE]" not in broken.value.partial


def test_waiting_for_what_does_not_come_times_out(engine):
    with pytest.raises(TimeoutError, match="cancelled"):
        engine.wait_for(cancelled=1, timeout=0.05)


def test_a_suspended_engine_answers_once_resumed_and_a_killed_one_never():
    with running_mock_engine() as engine:
        engine.suspend()
        with (
            client_of(engine, timeout=0.2) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            ask(client, "Hi")

        engine.resume()
        with client_of(engine) as client:
            assert ask(client, "Hi").usage.completion_tokens == 64

            engine.kill()
            with pytest.raises(openai.APIConnectionError):
                ask(client, "Hi")


def test_a_redirecting_engine_redirects_every_path():
    with running_mock_engine(redirect=True) as engine:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=5)
        connection.request("GET", "/v1/models", headers=engine.headers)
        response = connection.getresponse()
        connection.close()

        assert response.status == 302
        assert response.headers["Location"] == "/elsewhere"


def test_more_requests_than_places_wait_inside_and_begin_in_order():
    places, began = Places(1), []
    for name in "abcd":
        places.take(name, partial(began.append, name))

    places.free("b")  # it leaves while it waits
    places.free("a")
    places.free("c")

    assert began == ["a", "c", "d"]


def test_an_engine_with_one_place_answers_one_after_another():
    with (
        running_mock_engine(concurrency=1) as engine,
        client_of(engine) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        answers = [
            threads.submit(ask, client, "[[first_ms=50 tokens=1]]") for _ in range(4)
        ]
        assert [each.result().choices[0].message.content for each in answers]
        starts = sorted(each.ended_at for each in engine.requests())

    assert starts[-1] - starts[0] >= 0.15
