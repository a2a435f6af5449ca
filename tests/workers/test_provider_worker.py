"""Anthropic and Gemini behind api_worker, through the product, by OpenAI's client."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai.types.chat import ChatCompletion

from tests.product import (
    Product,
    listed_models,
    quick_product,
    wait_until,
    wait_until_listed,
)
from tests.workers.api_workers import ApiWorker, running_api_worker
from tests.workers.fake_providers import (
    CALL_ARGUMENTS,
    FakeAnthropic,
    FakeGemini,
    FakeProvider,
    running,
)

HELLO: Any = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city, now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PIXEL = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir(), HEARTBEAT_INTERVAL="0.3") as started:
        yield started


@pytest.fixture(scope="module", params=[FakeAnthropic, FakeGemini])
def shared_provider(
    product: Product,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FakeProvider]:
    """A fake provider that the product serves as `far` until the module ends."""
    folder = tmp_path_factory.mktemp("provider")
    with (
        running(request.param()) as provider,
        serving(product, folder, provider, "far"),
    ):
        yield provider


@pytest.fixture
def provider(shared_provider: FakeProvider) -> FakeProvider:
    shared_provider.forget()
    return shared_provider


@contextmanager
def serving(
    product: Product, folder: Path, provider: FakeProvider, name: str
) -> Iterator[ApiWorker]:
    """The worker that serves the provider's model under that name."""
    (folder / "provider_key").write_text(provider.first_key)
    with running_api_worker(
        product,
        folder,
        *("--upstream", provider.url, "--upstream-api", provider.api),
        *("--upstream-key-file", str(folder / "provider_key")),
        *("--model-names", f"{name}={provider.model}", "--modalities", "text,image"),
    ) as worker:
        wait_until(lambda: name in listed_models(product), name, 90)
        yield worker
        worker.stop()


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{product.url}/v1",
        api_key=product.credentials.api_key,
        max_retries=0,
    ) as made:
        yield made


def chat(client: openai.OpenAI, model: str = "far", **fields: Any) -> ChatCompletion:
    asked = {"model": model, "messages": HELLO} | fields
    return client.chat.completions.create(**asked)


def test_a_chat_is_answered_with_its_usage(
    product: Product, provider: FakeProvider, client: openai.OpenAI
) -> None:
    answer = chat(client, user="ada")

    [choice] = answer.choices
    assert choice.message.content == "Hello there"
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 2)
    row = product.ledger_row(request_id=answer.id.removeprefix("chatcmpl-"))
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 2)


def test_a_stream_comes_in_pieces_and_ends_with_its_usage(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(
        model="far", messages=HELLO, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)

    *pieces, last = chunks
    assert [piece.choices[0].delta.role for piece in pieces][:2] == ["assistant", None]
    texts = [piece.choices[0].delta.content for piece in pieces]
    assert [text for text in texts if text] == ["Hello", " there"]
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert not last.choices
    assert last.usage is not None
    assert last.usage.total_tokens == 9
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_tool_is_called_and_what_it_says_goes_back(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    first = chat(client, tools=[WEATHER]).choices[0]
    [call] = first.message.tool_calls or []
    told = {"role": "tool", "tool_call_id": call.id, "content": "Rain"}
    second = chat(client, messages=[*HELLO, first.message, told], tools=[WEATHER])

    assert first.finish_reason == "tool_calls"
    assert call.function.name == "weather"  # type: ignore[union-attr]
    assert json.loads(call.function.arguments) == CALL_ARGUMENTS  # type: ignore[union-attr]
    assert second.choices[0].message.content == "It says Rain"


def test_a_streamed_call_can_be_put_together_by_openais_client(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    with client.chat.completions.stream(
        model="far", messages=HELLO, tools=[WEATHER]
    ) as stream:
        choice = stream.get_final_completion().choices[0]

    [call] = choice.message.tool_calls or []
    assert json.loads(call.function.arguments) == CALL_ARGUMENTS
    assert choice.finish_reason == "tool_calls"


def test_what_is_asked_for_reaches_the_provider_in_its_words(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    parts = [{"type": "text", "text": "See"}]
    parts.append({"type": "image_url", "image_url": {"url": url}})  # type: ignore[dict-item]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "developer", "content": "And kind."},
        {"role": "user", "content": parts},
    ]

    chat(client, messages=messages, max_completion_tokens=9, stop=["X"], temperature=0)

    assert provider.spoken_of(provider.last.body) == {
        "system": "Be brief.\nAnd kind.",
        "texts": ["See"],
        "images": [PIXEL],
        "max_tokens": 9,
        "stop": ["X"],
        "temperature": 0,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": True},
        {"n": 2},
        {"logit_bias": {"5": 1}},
        {"extra_body": {"min_p": 0.5}},
        {"response_format": {"type": "grammar"}},
        {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
        {"messages": [{"role": "narrator", "content": "Once upon a time"}]},
    ],
    ids=json.dumps,
)
def test_what_cannot_be_translated_is_refused_and_never_sent(
    provider: FakeProvider, client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError):
        chat(client, **fields)

    assert not provider.received


def test_values_that_ask_for_nothing_are_let_through(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    answer = chat(
        client,
        n=1,
        presence_penalty=0,
        logprobs=False,
        tools=None,
        response_format={"type": "text"},
        parallel_tool_calls=True,
    )

    assert answer.choices[0].message.content == "Hello there"


def test_a_context_that_is_too_long_is_named_so(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.refusal = provider.too_long()

    with pytest.raises(openai.BadRequestError) as caught:
        chat(client)

    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_what_the_provider_says_of_a_request_is_passed_on(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.refusal = provider.bad_request("temperature: too hot")

    with pytest.raises(openai.BadRequestError, match="temperature: too hot"):
        chat(client)


def test_a_rate_limit_says_when_to_come_again(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.refusal = provider.rate_limit(seconds=37)

    with pytest.raises(openai.APIStatusError) as caught:
        chat(client)

    assert caught.value.response.headers["retry-after"] == "37"


def test_an_outage_of_the_provider_is_not_the_clients_fault(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.refusal = provider.outage()

    with pytest.raises(openai.InternalServerError) as caught:
        chat(client)

    assert caught.value.status_code == 503
    assert "sensitive" not in str(caught.value)


def test_a_stream_that_fails_midway_ends_with_an_error(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.fails_midway = provider.is_hanging = True

    stream = client.chat.completions.create(model="far", messages=HELLO, stream=True)
    with stream:
        first = next(stream)
        provider.go_on.set()
        with pytest.raises(openai.APIError) as caught:
            list(stream)

    assert first.choices[0].delta.content == "Hello"
    assert "sensitive" not in str(caught.value)


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_leaves_ends_the_providers_work(
    product: Product, provider: FakeProvider, is_stream: bool
) -> None:
    provider.is_hanging = True

    with product.chat_connection("Hi", model="far", stream=is_stream):
        assert provider.has_chat.wait(20)
        assert not provider.client_left.is_set()

    assert provider.client_left.wait(20)


def test_a_new_key_in_the_file_counts_at_once_and_is_never_logged(
    product: Product, client: openai.OpenAI, tmp_path: Path
) -> None:
    with (
        running(FakeAnthropic()) as provider,
        serving(product, tmp_path, provider, "rekeyed") as worker,
    ):
        provider.keys = {"second-provider-key"}
        with pytest.raises(openai.InternalServerError):
            chat(client, "rekeyed")
        (tmp_path / "provider_key").write_text("second-provider-key\n")
        answer = chat(client, "rekeyed")

        assert answer.choices[0].message.content == "Hello there"
        for text in (worker.log, product.log.read_text()):
            assert "provider-key" not in text
        rows = json.dumps(product.query("SELECT * FROM controller_worker"), default=str)
        assert "provider-key" not in rows


def test_a_key_that_is_refused_is_said_until_the_file_holds_another(
    product: Product, tmp_path: Path
) -> None:
    with running(FakeGemini()) as provider:
        provider.keys = {"right"}
        key = tmp_path / "key"
        key.write_text("wrong")
        flags = ("--upstream", provider.url, "--upstream-api", "gemini")
        flags += ("--upstream-key-file", str(key), "--model-names", "")
        with running_api_worker(product, tmp_path, *flags) as worker:
            worker.says("Check the key file.")
            key.write_text("right")
            wait_until_listed(product, provider.model)


def test_the_engine_is_guarded_and_comes_back_when_killed(
    product: Product, client: openai.OpenAI, tmp_path: Path
) -> None:
    with (
        running(FakeAnthropic()) as provider,
        serving(product, tmp_path, provider, "mortal") as worker,
    ):
        rows = product.query("SELECT * FROM controller_worker ORDER BY joined_at")
        assert rows[-1]["engine"] == "anthropic"
        assert not rows[-1]["is_keyless"]
        [engine] = psutil.Process(worker.process.pid).children()
        os.kill(engine.pid, signal.SIGKILL)
        worker.says("starting it again")

        def is_answered() -> bool:
            try:
                return bool(chat(client, "mortal").choices)
            except openai.APIStatusError:
                return False

        wait_until(is_answered, "an answer of the new engine", 60)


def test_answers_under_way_are_given_before_the_worker_leaves(
    product: Product, client: openai.OpenAI, tmp_path: Path
) -> None:
    with (
        running(FakeAnthropic()) as provider,
        serving(product, tmp_path, provider, "leaver") as worker,
    ):
        provider.is_hanging = True
        with product.chat_stream("Hi", model="leaver") as stream:
            assert b"role" in stream.readline()
            worker.process.send_signal(signal.SIGTERM)
            worker.says("Leaving")
            wait_until(lambda: "leaver" not in listed_models(product), "its absence")
            with pytest.raises(subprocess.TimeoutExpired):  # it waits for the answer
                worker.process.wait(4)
            provider.go_on.set()
            rest = stream.read()

    assert b" there" in rest
    assert b"[DONE]" in rest
