"""What the relay may expect of any engine, asked of both real ones over HTTP."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.engines import RunningWorker
from workers.metrics_scrape import EngineNumbers, parse_engine_numbers
from workers.protocol import INFERENCE_PATHS

pytestmark = pytest.mark.engine

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about a fox and a hen."}]


@pytest.fixture
def client(engine: RunningWorker) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{engine.url}/v1", api_key=str(engine.key), max_retries=0
    ) as made:
        yield made


def connection(engine: RunningWorker) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(engine.url).netloc, timeout=60)


def ask(
    engine: RunningWorker,
    path: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    link = connection(engine)
    content = json.dumps(body) if body is not None else None
    method = "POST" if body is not None else "GET"
    json_type = {"Content-Type": "application/json"}
    link.request(method, path, content, json_type | (headers or engine.headers))
    response = link.getresponse()
    answer = response.status, response.read()
    link.close()
    return answer


def numbers(engine: RunningWorker) -> EngineNumbers:
    return parse_engine_numbers(ask(engine, "/metrics")[1].decode())


def chat(client: openai.OpenAI, engine: RunningWorker, **fields: Any) -> Any:
    wished = {"messages": QUESTION, "temperature": 0, "max_tokens": 24, **fields}
    return client.chat.completions.create(model=engine.name, **wished)


def events(engine: RunningWorker, **fields: Any) -> list[str]:
    """Return the events of a streamed chat answer, without their framing."""
    wished = {"messages": QUESTION, "temperature": 0, "max_tokens": 24, **fields}
    body = {"model": engine.name, "stream": True, **wished}
    status, answer = ask(engine, "/v1/chat/completions", body)
    assert status == 200, answer
    lines = answer.decode().split("\n\n")
    assert lines.pop() == ""
    return [line.removeprefix("data: ") for line in lines]


def text_of(chunks: list[Any]) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_a_question_is_answered_with_the_right_usage(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    answer = chat(client, engine)

    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens == 37
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_says_the_same_as_the_whole_answer(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    whole = chat(client, engine)

    *chunks, last = events(engine, stream_options={"include_usage": True})
    parsed = [json.loads(chunk) for chunk in chunks]

    assert last == "[DONE]"
    assert parsed[0]["choices"][0]["delta"]["role"] == "assistant"
    assert text_of(parsed) == whole.choices[0].message.content
    assert parsed[-1]["choices"] == []
    usage = parsed[-1]["usage"]
    assert usage["completion_tokens"] == whole.usage.completion_tokens
    assert not any(chunk.get("usage") for chunk in parsed[:-1])


def test_without_being_asked_a_stream_says_nothing_of_usage(
    engine: RunningWorker,
) -> None:
    assert not any('"usage"' in event for event in events(engine))


def test_running_usage_grows_to_the_final_one(engine: RunningWorker) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}

    *chunks, _ = events(engine, stream_options=options)
    counts = [json.loads(chunk)["usage"]["completion_tokens"] for chunk in chunks]

    assert counts == sorted(counts)
    assert counts[-1] == counts[-2] > 1


def test_a_stop_string_across_tokens_is_never_shown(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    whole = chat(client, engine).choices[0].message.content
    start = whole.index("France")
    stop = whole[start - 3 : start + 4]  # "of Fran": it ends within a token

    *chunks, _ = events(engine, stop=[stop])
    parsed = [json.loads(chunk) for chunk in chunks]

    assert text_of(parsed) == whole[: start - 3]
    assert parsed[-1]["choices"][0]["finish_reason"] == "stop"


def test_max_tokens_is_kept_to_the_token(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    answer = chat(client, engine, messages=STORY, max_tokens=7)

    assert answer.usage.completion_tokens == 7
    assert answer.choices[0].finish_reason == "length"


def test_a_seed_gives_the_same_answer_again(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    settings = {"messages": STORY, "temperature": 1.2, "seed": 42}

    first = chat(client, engine, **settings).choices[0].message.content
    again = chat(client, engine, **settings).choices[0].message.content

    assert first == again


def test_n_answers_come_at_once_and_all_are_counted(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    answer = chat(client, engine, messages=STORY, n=3, max_tokens=5, temperature=1)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 15


def test_an_answer_goes_on_from_where_it_was_cut(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    whole = chat(client, engine, messages=STORY).choices[0].message.content
    cut = chat(client, engine, messages=STORY, max_tokens=10)
    begun = cut.choices[0].message.content

    rest = chat(
        client,
        engine,
        messages=[*STORY, {"role": "assistant", "content": begun}],
        max_tokens=14,
        extra_body={"add_generation_prompt": False, "continue_final_message": True},
    )

    assert whole.startswith(begun)
    assert begun + rest.choices[0].message.content == whole


def test_our_request_id_is_in_the_answers_id(engine: RunningWorker) -> None:
    headers = {**engine.headers, "X-Request-Id": "sy-123"}
    body = {"model": engine.name, "messages": QUESTION, "max_tokens": 1}

    _, answer = ask(engine, "/v1/chat/completions", body, headers)

    assert json.loads(answer)["id"] == "chatcmpl-sy-123"


def test_plain_completions_work_as_text_and_as_a_stream(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    fields: dict[str, Any] = {"prompt": "One, two, three,", "temperature": 0}
    create = client.completions.create

    whole = create(model=engine.name, max_tokens=6, **fields)
    stream = create(model=engine.name, max_tokens=6, stream=True, **fields)

    assert "four" in whole.choices[0].text
    streamed = "".join(chunk.choices[0].text for chunk in stream)
    assert streamed == whole.choices[0].text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 6


def test_a_prompt_too_long_is_refused_with_a_reason(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    long = [{"role": "user", "content": "word " * 9000}]

    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, engine, messages=long)

    assert "maximum context length" in str(refused.value)


def test_every_inference_path_refuses_without_the_key(engine: RunningWorker) -> None:
    for path in (*INFERENCE_PATHS, "/v1/models", "/metrics", "/docs"):
        for headers in ({"X": "y"}, {"Authorization": "Bearer wrong"}):
            assert ask(engine, path, {}, headers)[0] == 401, path
            assert ask(engine, path, None, headers)[0] == 401, path


def test_streams_of_two_clients_interleave(engine: RunningWorker) -> None:
    arrivals: list[int] = []

    def stream(number: int) -> None:
        link = connection(engine)
        body = {"model": engine.name, "messages": STORY, "max_tokens": 40}
        wished = {**body, "stream": True, "ignore_eos": True}
        headers = {**engine.headers, "Content-Type": "application/json"}
        link.request("POST", "/v1/chat/completions", json.dumps(wished), headers)
        response = link.getresponse()
        arrivals.extend(number for line in response if line.startswith(b"data: {"))
        link.close()

    threads = [threading.Thread(target=stream, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    changes = sum(one != following for one, following in pairwise(arrivals))
    assert changes > 20


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_generation(
    engine: RunningWorker, stream: bool
) -> None:
    link = connection(engine)
    body = {"model": engine.name, "messages": STORY, "max_tokens": 1500}
    wished = json.dumps({**body, "stream": stream, "ignore_eos": True})
    headers = {**engine.headers, "Content-Type": "application/json"}
    link.request("POST", "/v1/chat/completions", wished, headers)
    wait_for(lambda: numbers(engine).running == 1)

    link.close()

    left_at = time.monotonic()
    wait_for(lambda: numbers(engine).running == 0)
    assert time.monotonic() - left_at < 2.5


def test_the_engines_counters_are_the_sum_of_the_usages(
    client: openai.OpenAI, engine: RunningWorker
) -> None:
    before = numbers(engine)
    usage = chat(client, engine, messages=STORY, max_tokens=9).usage
    after = numbers(engine)

    assert after.generation_tokens_total is not None
    assert before.generation_tokens_total is not None
    generated = after.generation_tokens_total - before.generation_tokens_total
    assert generated == usage.completion_tokens
    assert (after.prompt_tokens_total or 0) > (before.prompt_tokens_total or 0)
    assert (after.kv_cache_tokens or 0) > 2048


def test_tokens_are_counted_as_the_model_counts_them(engine: RunningWorker) -> None:
    body = {"model": engine.name, "messages": QUESTION}

    status, answer = ask(engine, "/tokenize", body)

    assert status == 200
    assert json.loads(answer)["count"] == 37


def wait_for(is_so: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
