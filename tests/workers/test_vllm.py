"""What vLLM promises beyond any engine, from the worker as an operator starts it."""

import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.engines import RunningWorker
from tests.workers.test_engines import QUESTION, ask, chat

pytestmark = pytest.mark.engine

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Berlin"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture
def client(vllm_worker: RunningWorker) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{vllm_worker.url}/v1", api_key=str(vllm_worker.key), max_retries=0
    ) as made:
        yield made


def test_a_call_that_the_model_writes_is_parsed(
    client: openai.OpenAI, vllm_worker: RunningWorker
) -> None:
    # A model so small writes none by itself; what it may write is the call alone.
    only_the_call = {"structured_outputs": {"choice": [CALL]}}

    answer = chat(
        client, vllm_worker, tools=[WEATHER], max_tokens=60, extra_body=only_the_call
    )

    choice = answer.choices[0]
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_an_answer_keeps_to_a_schema(
    client: openai.OpenAI, vllm_worker: RunningWorker
) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris"]}, "is_big": {"type": "boolean"}},
        "required": ["city", "is_big"],
        "additionalProperties": False,
    }
    wished = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}

    answer = chat(client, vllm_worker, response_format=wished, max_tokens=60)

    city = json.loads(answer.choices[0].message.content)
    assert city["city"] == "Paris"
    assert type(city["is_big"]) is bool


def test_logprobs_are_of_the_tokens_shown_with_alternatives(
    client: openai.OpenAI, vllm_worker: RunningWorker
) -> None:
    answer = chat(client, vllm_worker, max_tokens=6, logprobs=True, top_logprobs=3)

    choice = answer.choices[0]
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries) == choice.message.content
    for entry in entries:
        likeliest = [top.logprob for top in entry.top_logprobs]
        assert len(likeliest) == 3
        assert entry.logprob == max(likeliest)  # greedy
        assert sum(map(math.exp, likeliest)) <= 1 + 1e-6


def test_tokens_become_the_text_that_they_were_made_of(
    vllm_worker: RunningWorker,
) -> None:
    def asked(path: str, **fields: Any) -> Any:
        status, answer = ask(vllm_worker, path, {"model": vllm_worker.name, **fields})
        assert status == 200, answer
        return json.loads(answer)

    tokens = asked("/tokenize", prompt=QUESTION[0]["content"])["tokens"]

    assert asked("/detokenize", tokens=tokens)["prompt"] == QUESTION[0]["content"]
