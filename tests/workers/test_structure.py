"""Logprobs, echo, JSON and tools, over HTTP, of a model that knows nothing.

Two layers with random weights and SmolLM2's tokenizer: what such a model answers is
noise, so that whatever is in order was put in order by the engine.
"""

import asyncio
import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests import engines
from tests.workers.in_process import InProcessEngine
from workers.transformers_engine.app import Application
from workers.transformers_engine.generation import Generator
from workers.transformers_engine.model import LoadedModel
from workers.transformers_engine.scheduler import Scheduler
from workers.transformers_engine.served import ServedModel

pytestmark = pytest.mark.engine

HERMES = """
{%- for tool in tools or [] %}<tools>{{ tool | tojson }}</tools>{% endfor -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""
CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me of Köln 🎉."}]
}


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(engines.smollm2())
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
    )
    loaded = LoadedModel(
        model=LlamaForCausalLM(config).eval(),
        tokenizer=tokenizer,
        context_length=2048,
        cache_tokens=40_000,
        end_tokens=frozenset([tokenizer.eos_token_id]),
    )
    scheduler = Scheduler(loaded.model, max_concurrency=8, cache_tokens=40_000)
    scheduler.start()
    yield Generator(loaded, scheduler)
    scheduler.stop()


@pytest.fixture
def client(generator: Generator) -> InProcessEngine:
    return InProcessEngine(Application([ServedModel(("noise",), generator)]))


@pytest.fixture
def tool_client(generator: Generator) -> InProcessEngine:
    """The same model with a chat template that explains tools."""
    tokenizer = copy.copy(generator.loaded.tokenizer)
    tokenizer.chat_template = HERMES
    loaded = dataclasses.replace(generator.loaded, tokenizer=tokenizer)
    taught = Generator(loaded, generator.scheduler)
    return InProcessEngine(Application([ServedModel(("noise",), taught)]))


async def test_the_bytes_of_a_chats_logprobs_are_its_content(
    client: InProcessEngine,
) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "max_tokens": 30}

    whole = await client.answer("/v1/chat/completions", **CHAT, **asked)
    streamed = await client.choices("/v1/chat/completions", **CHAT, **asked)

    choice = whole["choices"][0]
    entries = choice["logprobs"]["content"]
    spelled = bytes(byte for entry in entries for byte in entry["bytes"])
    assert spelled.decode(errors="replace") == choice["message"]["content"]
    in_stream = [
        entry
        for piece in streamed
        for entry in (piece["logprobs"] or {"content": []})["content"]
    ]
    assert in_stream == entries
    for entry in entries:
        assert entry["top_logprobs"][0]["logprob"] == pytest.approx(entry["logprob"])
        assert len(entry["top_logprobs"]) == 3
        assert sum(math.exp(top["logprob"]) for top in entry["top_logprobs"]) < 1


async def test_an_echoed_prompt_has_the_scores_it_had_as_an_answer(
    client: InProcessEngine,
) -> None:
    fields: dict[str, Any] = {"logprobs": 2, "max_tokens": 6}
    first = await client.answer("/v1/completions", prompt="One, two", **fields)
    said = first["choices"][0]["logprobs"]

    prompt = (await client.answer("/tokenize", prompt="One, two"))["tokens"]
    text = first["choices"][0]["text"]
    chosen = (await client.answer("/tokenize", prompt=text))["tokens"]
    scored = await client.answer(
        "/v1/completions",
        prompt=prompt + chosen,
        echo=True,
        logprobs=2,
        max_tokens=0,
    )

    echoed = scored["choices"][0]["logprobs"]
    assert scored["choices"][0]["text"] == "One, two" + first["choices"][0]["text"]
    assert echoed["token_logprobs"][0] is None
    assert echoed["top_logprobs"][0] is None
    assert echoed["token_logprobs"][len(prompt) :] == pytest.approx(
        said["token_logprobs"], abs=1e-4
    )
    assert scored["usage"]["completion_tokens"] == 0
    for text, offset in zip(echoed["tokens"], echoed["text_offset"], strict=True):
        assert scored["choices"][0]["text"][offset:].startswith(text)


async def test_offsets_go_on_from_chunk_to_chunk(client: InProcessEngine) -> None:
    fields: dict[str, Any] = {"prompt": "One", "logprobs": 1, "echo": True}

    pieces = await client.choices("/v1/completions", max_tokens=8, **fields)
    whole = await client.answer("/v1/completions", max_tokens=8, **fields)

    offsets = [
        offset
        for piece in pieces
        for offset in (piece["logprobs"] or {"text_offset": []})["text_offset"]
    ]
    assert offsets == whole["choices"][0]["logprobs"]["text_offset"]
    assert "".join(piece["text"] for piece in pieces) == whole["choices"][0]["text"]


async def test_the_scores_do_not_tell_the_stop_string(
    client: InProcessEngine,
) -> None:
    fields: dict[str, Any] = {"prompt": "One", "logprobs": 0, "max_tokens": 12}
    whole = (await client.answer("/v1/completions", **fields))["choices"][0]
    start = whole["logprobs"]["text_offset"][5]
    stop = whole["text"][start : start + 9]

    cut = (await client.answer("/v1/completions", stop=stop, **fields))["choices"][0]

    assert cut["text"] == whole["text"][: whole["text"].index(stop)]
    assert "".join(cut["logprobs"]["tokens"]) == cut["text"]


async def test_no_answer_is_asked_for_only_with_echo(client: InProcessEngine) -> None:
    error = await client.refusal("/v1/completions", prompt="One", max_tokens=0)

    assert error["param"] == "max_tokens"


async def test_a_suffix_is_refused_by_name(client: InProcessEngine) -> None:
    error = await client.refusal("/v1/completions", prompt="One", suffix="three")

    assert error["param"] == "suffix"


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
COLOURS = {
    "type": "array",
    "items": {"enum": ["red", "green", "blue"]},
    "minItems": 2,
    "maxItems": 4,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": ["number", "null"], "minimum": 0, "maximum": 9},
                "kind": {"const": "leaf"},
            },
            "required": ["value", "kind"],
            "additionalProperties": False,
        }
    },
    "type": "object",
    "properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}},
    "required": ["left", "right"],
    "additionalProperties": False,
}


def json_format(schema: Any) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "wanted", "schema": schema, "strict": True},
        }
    }


@pytest.mark.parametrize("seed", [1, 2])
async def test_noise_held_to_a_schema_is_valid(
    client: InProcessEngine, seed: int
) -> None:
    async def made(schema: Any) -> Any:
        body = {**CHAT, **json_format(schema), "temperature": 1.5, "seed": seed}
        whole = await client.answer("/v1/chat/completions", max_tokens=400, **body)
        assert whole["choices"][0]["finish_reason"] == "stop"
        text = whole["choices"][0]["message"]["content"]
        parsed = json.loads(text)
        # Written in one way only: no blanks but the one behind a comma or colon.
        assert text == json.dumps(parsed, ensure_ascii="\\u" in text)
        return parsed

    # Together with one that is free: the schemas bind no other row of the batch.
    person, colours, tree, free = await asyncio.gather(
        made(PERSON),
        made(COLOURS),
        made(TREE),
        client.answer("/v1/chat/completions", max_tokens=30, **CHAT),
    )

    assert set(person) == {"name", "age"}
    assert 0 <= person["age"] <= 150
    assert 2 <= len(colours) <= 4
    assert set(colours) <= {"red", "green", "blue"}
    assert tree["left"]["kind"] == tree["right"]["kind"] == "leaf"
    assert free["usage"]["completion_tokens"] == 30


async def test_a_json_object_is_one_to_its_last_token(
    client: InProcessEngine,
) -> None:
    body = {**CHAT, "response_format": {"type": "json_object"}, "max_tokens": 12}

    whole = await client.answer("/v1/chat/completions", **body)

    assert whole["choices"][0]["message"]["content"].startswith("{")


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
    ],
)
async def test_a_schema_that_cannot_be_followed_is_refused(
    client: InProcessEngine, schema: Any, reason: str
) -> None:
    error = await client.refusal("/v1/chat/completions", **CHAT, **json_format(schema))

    assert error["param"] == "response_format"
    assert reason in error["message"]


async def test_a_partial_answer_is_not_continued_in_json(
    client: InProcessEngine,
) -> None:
    messages = [*CHAT["messages"], {"role": "assistant", "content": '{"name": '}]

    error = await client.refusal(
        "/v1/chat/completions",
        messages=messages,
        add_generation_prompt=False,
        continue_final_message=True,
        **json_format(PERSON),
    )

    assert error["param"] == "response_format"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "$defs": {"city": {"enum": ["Köln", "Paris"]}},
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {"type": "object", "additionalProperties": False},
    },
}
TOOLS: dict[str, Any] = {"tools": [WEATHER, CLOCK], "max_tokens": 300}


async def test_a_named_tool_is_called_as_its_schema_says(
    tool_client: InProcessEngine,
) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    fields = {**CHAT, **TOOLS, "tool_choice": choice, "parallel_tool_calls": False}

    whole = await tool_client.answer("/v1/chat/completions", **fields)
    pieces = await tool_client.choices("/v1/chat/completions", **fields)

    chosen = whole["choices"][0]
    [call] = chosen["message"]["tool_calls"]
    assert chosen["finish_reason"] == pieces[-1]["finish_reason"] == "tool_calls"
    assert chosen["message"]["content"] is None
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Köln", "Paris")
    [deltas] = [
        each["delta"]["tool_calls"] for each in pieces if "tool_calls" in each["delta"]
    ]
    assert deltas[0]["index"] == 0
    assert deltas[0]["function"] == call["function"]
    assert not any(piece["delta"].get("content") for piece in pieces)


async def test_one_of_the_tools_is_called_where_that_is_required(
    tool_client: InProcessEngine,
) -> None:
    fields = {**CHAT, **TOOLS, "tool_choice": "required", "parallel_tool_calls": False}

    whole = await tool_client.answer("/v1/chat/completions", **fields)

    [call] = whole["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] in ("weather", "clock")


async def test_tools_are_told_to_the_model_unless_it_may_use_none(
    tool_client: InProcessEngine,
) -> None:
    async def prompt_tokens(**fields: Any) -> int:
        body = {**CHAT, **fields, "max_tokens": 2}
        answer = await tool_client.answer("/v1/chat/completions", **body)
        return int(answer["usage"]["prompt_tokens"])

    without = await prompt_tokens()

    assert await prompt_tokens(tools=[CLOCK]) > without
    assert await prompt_tokens(tools=[CLOCK], tool_choice="none") == without


async def test_what_a_tool_answered_is_told_to_the_model(
    tool_client: InProcessEngine,
) -> None:
    call = {"name": "weather", "arguments": '{"city": "Paris"}'}
    messages = [
        *CHAT["messages"],
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
    ]
    tokens = (await tool_client.answer("/tokenize", messages=messages))["tokens"]

    prompt = (await tool_client.answer("/detokenize", tokens=tokens))["prompt"]

    assert '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}' in prompt
    assert "<|im_start|>tool\nRain<|im_end|>" in prompt


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("tool_choice", {"tool_choice": "required"}),
        (
            "tool_choice",
            {
                "tools": [CLOCK],
                "tool_choice": {"type": "function", "function": {"name": "sun"}},
            },
        ),
        ("response_format", {"tools": [CLOCK], **json_format(PERSON)}),
        ("tools", {"tools": [{"type": "web_search"}]}),
        ("functions", {"functions": [CLOCK["function"]]}),
    ],
)
async def test_a_wish_for_tools_that_cannot_be_met_is_refused_by_its_field(
    tool_client: InProcessEngine, field: str, fields: Any
) -> None:
    error = await tool_client.refusal("/v1/chat/completions", **CHAT, **fields)

    assert error["param"] == field


async def test_a_template_that_knows_no_tools_refuses_them(
    client: InProcessEngine,
) -> None:
    tools = await client.refusal("/v1/chat/completions", **CHAT, tools=[CLOCK])
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}
    messages = await client.refusal("/v1/chat/completions", messages=[result])

    assert tools["param"] == "tools"
    assert messages["param"] == "messages"
