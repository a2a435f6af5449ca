from typing import Any

import msgspec
import pytest
from transformers import GenerationConfig

from workers.refusals import RequestRefused
from workers.transformers_engine.model import recommended_sampling
from workers.transformers_engine.requests import (
    ChatRequest,
    CompletionRequest,
    decode_body,
)

MESSAGES = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> ChatRequest:
    return decode_body(
        msgspec.json.encode({"messages": MESSAGES, **fields}), ChatRequest
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.5),
        ("temperature", "warm"),
        ("top_p", 0),
        ("max_tokens", 0),
        ("n", 0),
        ("presence_penalty", -3),
        ("messages", []),
        ("messages", [{"content": "Hi"}]),
        ("stop", 7),
        ("top_logprobs", 21),
        ("logit_bias", {"5": 101}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "sometimes"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_field(
    field: str, value: object
) -> None:
    with pytest.raises(RequestRefused) as refused:
        chat(**{field: value})

    assert refused.value.param == field
    assert field in str(refused.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RequestRefused) as refused:
        decode_body(b"{}", ChatRequest)

    assert refused.value.param == "messages"


def test_broken_json_is_refused_as_such() -> None:
    with pytest.raises(RequestRefused, match="JSON"):
        decode_body(b'{"messages": [', ChatRequest)


def test_null_means_the_default() -> None:
    request = chat(temperature=None, max_tokens=None, stop=None, n=None)

    assert request.sampling(0, 100).temperature == 1.0
    assert request.completion_limit() is None
    assert request.num_choices == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("functions", [{"name": "clock"}]),
        ("response_format", {"type": "json_schema"}),
        ("top_logprobs", 2),
        ("structured_outputs", {"choice": ["yes", "no"]}),
        ("bad_words", ["fox"]),
        ("truncate_prompt_tokens", 5),
        ("include_stop_str_in_output", True),
        ("skip_special_tokens", False),
        ("prompt_logprobs", 0),
        ("chat_template", "{{ messages }}"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_its_field(
    field: str, value: object
) -> None:
    with pytest.raises(RequestRefused) as refused:
        chat(**{field: value}).refuse_unsupported()

    assert refused.value.param == field


def test_what_asks_for_nothing_is_let_through() -> None:
    request = chat(skip_special_tokens=True, bad_words=[], structured_outputs=None)

    request.refuse_unsupported()


def test_a_template_is_given_its_variables_and_none_of_the_engines_own() -> None:
    request = chat(
        chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low"
    )

    variables = request.template_variables()

    assert variables["enable_thinking"] is False
    assert variables["reasoning_effort"] == "low"
    with pytest.raises(RequestRefused, match="tokenize cannot be given") as refused:
        chat(chat_template_kwargs={"tokenize": False}).template_variables()
    assert refused.value.param == "chat_template_kwargs"


def test_text_parts_are_joined_and_images_refused() -> None:
    text = {"type": "text", "text": "Hi"}
    image = {"type": "image_url", "image_url": {"url": "http://x"}}

    parts = chat(messages=[{"role": "user", "content": [text, text]}])
    assert parts.template_messages() == [{"role": "user", "content": "Hi\nHi"}]
    with pytest.raises(RequestRefused, match="image_url"):
        chat(messages=[{"role": "user", "content": [image]}]).template_messages()


def test_the_choices_of_a_seeded_request_differ() -> None:
    request = chat(seed=7, n=2)

    assert request.sampling(0, 100).seed != request.sampling(1, 100).seed


def test_what_a_client_leaves_open_is_as_the_model_recommends() -> None:
    recommended = recommended_sampling(
        GenerationConfig(do_sample=True, temperature=0.2, top_p=0.9, top_k=40)
    )

    left_open = chat().sampling(0, 100, recommended)
    said = chat(temperature=0, top_k=-1).sampling(0, 100, recommended)

    assert (left_open.temperature, left_open.top_p, left_open.top_k) == (0.2, 0.9, 40)
    assert (said.temperature, said.top_p, said.top_k) == (0, 0.9, 0)


def test_a_bias_for_a_token_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestRefused, match="100"):
        chat(logit_bias={"100": 1}).sampling(0, vocabulary_size=100)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("Hi", ["Hi"]),
        (["Hi", "Ho"], ["Hi", "Ho"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
    ],
)
def test_a_prompt_is_text_or_tokens_or_several(prompt: Any, prompts: Any) -> None:
    assert CompletionRequest(prompt=prompt).prompts() == prompts


@pytest.mark.parametrize("prompt", [[], [1, "Hi"]])
def test_a_mixed_or_empty_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(RequestRefused, match="prompt"):
        CompletionRequest(prompt=prompt).prompts()
