"""What only our own engine promises: OpenAI's error shapes, to the field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests import engines
from tests.engines import RunningWorker
from tests.workers.test_engines import QUESTION, ask
from workers.prepare_model import NotPrepared, prepare_model

pytestmark = pytest.mark.engine


@pytest.fixture
def client(model_worker: RunningWorker) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{model_worker.url}/v1", api_key=str(model_worker.key), max_retries=0
    ) as made:
        yield made


def refusal(worker: RunningWorker, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": worker.name, "messages": QUESTION, **fields}
    status, answer = ask(worker, "/v1/chat/completions", body)
    error: dict[str, Any] = json.loads(answer)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error


def test_too_long_a_prompt_is_named_with_both_numbers(
    model_worker: RunningWorker,
) -> None:
    long = [{"role": "user", "content": "word " * 9000}]

    status, error = refusal(model_worker, messages=long)

    assert status == 400
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length is 8192 tokens" in error["message"]
    assert "resulted in 9031 tokens" in error["message"]


def test_a_prompt_that_leaves_no_room_for_max_tokens_is_refused(
    model_worker: RunningWorker,
) -> None:
    status, error = refusal(model_worker, max_tokens=8190)

    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert (
        "8227 tokens (37 in the messages, 8190 in the completion)" in error["message"]
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 3),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("n", 1000),
        ("logit_bias", {"999999": 1}),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(
    model_worker: RunningWorker, field: str, value: object
) -> None:
    status, error = refusal(model_worker, **{field: value})

    assert (status, error["param"]) == (400, field)
    assert error["type"] == "invalid_request_error"


def test_an_unknown_model_is_404(model_worker: RunningWorker) -> None:
    status, error = refusal(model_worker, model="gpt-99")

    assert (status, error["code"]) == (404, "model_not_found")


def test_one_process_serves_several_models(
    model_worker: RunningWorker, client: openai.OpenAI
) -> None:
    served = {model.id for model in client.models.list()}
    second = engines.minilm().name

    made = client.embeddings.create(model=second, input=["Hello", "Good morning"])

    assert served == {engines.MODEL_NAME, second}
    assert [len(entry.embedding) for entry in made.data] == [384, 384]
    assert refusal(model_worker, model=second)[1]["param"] == "model"


def test_an_unknown_path_and_a_wrong_method_are_told_apart(
    model_worker: RunningWorker,
) -> None:
    assert ask(model_worker, "/v1/nothing", {})[0] == 404
    assert ask(model_worker, "/v1/completions")[0] == 405


def test_logprobs_are_those_of_the_tokens_shown(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=engines.MODEL_NAME,
        messages=QUESTION,  # type: ignore[arg-type]
        temperature=0,
        max_tokens=6,
        logprobs=True,
        top_logprobs=2,
    )

    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    text = "".join(token.token for token in logprobs.content)
    assert text == answer.choices[0].message.content
    for token in logprobs.content:
        assert token.logprob <= 0
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


def test_several_prompts_are_answered_in_their_order(client: openai.OpenAI) -> None:
    prompts = ["One, two, three,", "Monday, Tuesday,"]

    answer = client.completions.create(
        model=engines.MODEL_NAME, prompt=prompts, temperature=0, max_tokens=4
    )

    assert "four" in answer.choices[0].text
    assert "Wednesday" in answer.choices[1].text


def test_a_streamed_emoji_is_never_torn(client: openai.OpenAI) -> None:
    prompt = [{"role": "user", "content": "Repeat: 🎉🦊🎉🦊"}]

    stream = client.chat.completions.create(
        model=engines.MODEL_NAME,
        messages=prompt,  # type: ignore[arg-type]
        temperature=0,
        max_tokens=40,
        stream=True,
        logit_bias={},
    )

    texts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "\ufffd" not in "".join(texts)


def test_a_place_that_cannot_be_written_to_is_named_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotPrepared, match="could not be written: Not a directory"):
        prepare_model("smollm2", tmp_path / "file" / "models")


def test_a_second_preparation_returns_at_once(tmp_path: Path) -> None:
    folder = engines.smollm2()
    made_at = (folder / "config.json").stat().st_mtime_ns

    again = prepare_model("smollm2", folder.parent)

    assert (again / "config.json").stat().st_mtime_ns == made_at
