"""The official client talks to the product as it does to OpenAI."""

import openai
import pytest
from openai import OpenAI

HI = [{"role": "user", "content": "Hi [[tokens=3]]"}]


def test_a_chat_is_answered_with_its_usage(client: OpenAI):
    answer = client.chat.completions.create(model="mock-1", messages=HI)

    assert answer.choices[0].message.content == "t0 t1 t2"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)


def test_a_streamed_chat_shows_no_usage_unless_asked(client: OpenAI):
    chunks = list(
        client.chat.completions.create(model="mock-1", messages=HI, stream=True)
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "t0 t1 t2"
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


def test_a_streamed_chat_ends_with_the_usage_that_was_asked_for(client: OpenAI):
    options = {"include_usage": True}

    *chunks, last = client.chat.completions.create(
        model="mock-1", messages=HI, stream=True, stream_options=options
    )

    assert [chunk.usage for chunk in chunks if chunk.usage] == []
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (2, 3)


def test_an_event_that_comes_alone_is_passed_on_alone(client: OpenAI):
    paced = [{"role": "user", "content": "[[tokens=5 interval_ms=20]]"}]

    chunks = list(
        client.chat.completions.create(model="mock-1", messages=paced, stream=True)
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "t0 t1 t2 t3 t4"


def test_a_completion_is_answered_with_its_usage(client: OpenAI):
    answer = client.completions.create(model="mock-1", prompt="Hi [[tokens=3]]")

    assert answer.choices[0].text == "t0 t1 t2"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)


def test_a_streamed_completion_brings_its_text(client: OpenAI):
    chunks = list(
        client.completions.create(model="mock-1", prompt="[[tokens=3]]", stream=True)
    )

    assert "".join(chunk.choices[0].text for chunk in chunks) == "t0 t1 t2"


def test_max_tokens_reaches_the_engine(client: OpenAI):
    answer = client.chat.completions.create(model="mock-1", messages=HI, max_tokens=2)

    assert answer.choices[0].message.content == "t0 t1"
    assert answer.choices[0].finish_reason == "length"


def test_the_models_are_listed(client: OpenAI):
    models = client.models.list().data

    assert {"mock-1", "org/mock-2"} <= {model.id for model in models}
    assert all(model.object == "model" and model.created for model in models)


@pytest.mark.parametrize("name", ["mock-1", "org/mock-2"])
def test_a_model_is_found_by_its_name(client: OpenAI, name: str):
    model = client.models.retrieve(name)

    assert (model.id, model.max_model_len) == (name, 4096)


def test_a_model_whose_name_has_a_slash_answers(client: OpenAI):
    answer = client.chat.completions.create(model="org/mock-2", messages=HI)

    assert answer.model == "org/mock-2"


@pytest.mark.parametrize("name", ["mock-3", "org/mock-3", "mock"])
def test_an_unknown_model_is_not_found(client: OpenAI, name: str):
    with pytest.raises(openai.NotFoundError) as asked:
        client.chat.completions.create(model=name, messages=HI)
    with pytest.raises(openai.NotFoundError) as looked_up:
        client.models.retrieve(name)

    assert asked.value.code == looked_up.value.code == "model_not_found"
    assert asked.value.param == "model"


def test_a_wrong_key_is_an_authentication_error(client: OpenAI):
    with (
        client.with_options(api_key="sy-wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.models.list()

    assert refused.value.code == "invalid_api_key"
    assert "sy-wrong" not in str(refused.value)


def test_too_long_a_prompt_is_refused_with_both_numbers(client: OpenAI):
    long = [{"role": "user", "content": "word " * 5000}]

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="mock-1", messages=long)

    assert refused.value.code == "context_length_exceeded"
    assert "4096" in refused.value.message
    assert "4097" in refused.value.message


def test_an_error_in_mid_stream_is_raised_after_the_tokens_before_it(client: OpenAI):
    content = "[[tokens=9 interval_ms=20 error_after=4]]"
    chunks = client.chat.completions.create(
        model="mock-1", messages=[{"role": "user", "content": content}], stream=True
    )
    texts = (chunk.choices[0].delta.content for chunk in chunks)
    received: list[str] = []

    with pytest.raises(openai.APIError) as failed:
        received.extend(texts)

    assert "".join(received) == "t0 t1 t2 t3"
    assert failed.value.code == "upstream_error"
