"""The whole line with real engines: worker processes, controller, `/v1`, the page.

One product, a transformers worker and a vLLM worker that joined it by themselves.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import expect

from tests import engines
from tests.chromium import DESKTOP, running_chromium, sign_in
from tests.product import listed_models, wait_until
from tests.whole_line.lines import MODELS, Line

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(params=MODELS)
def model(request) -> str:
    return MODELS[request.param]


def test_a_real_model_answers(line, model):
    answer = line.client().chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_tokens=32
    )

    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )
    assert answer.choices[0].finish_reason in {"stop", "length"}


def test_a_stream_says_what_the_whole_answer_says(line, model):
    asked = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    whole = line.client().chat.completions.create(**asked)

    chunks = list(
        line.client().chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 5


def test_a_text_is_completed(line, model):
    answer = line.client().completions.create(
        model=model, prompt="The capital of France is", temperature=0, max_tokens=8
    )

    assert "Paris" in answer.choices[0].text


def test_too_long_a_prompt_is_refused_with_both_numbers(line, model):
    long = [{"role": "user", "content": "word " * 12_000}]

    with pytest.raises(openai.BadRequestError) as refusal:
        line.client().chat.completions.create(model=model, messages=long)

    assert refusal.value.code == "context_length_exceeded"
    limit = {"smollm2-vllm": "2048", "smollm2-transformers": "8192"}[model]
    numbers = {word.strip(".,()") for word in refusal.value.message.split()}
    assert limit in numbers
    assert len({number for number in numbers if number.isdecimal()}) >= 2


def test_a_client_that_leaves_frees_the_engine(line, model):
    stream = line.client().chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Count to ten thousand."}],
        extra_body={"ignore_eos": True},
        max_tokens=1500,
        stream=True,
    )
    next(iter(stream))
    wait_until(lambda: line.running(model) == 1, "the engine to report it", 20)

    stream.close()

    wait_until(lambda: line.running(model) == 0, "the engine to be free again", 20)
    rows = [row for row in line.product.ledger() if row["model"] == model]
    assert rows[-1]["status"] == 499


@pytest.mark.browser
def test_a_person_asks_and_an_operator_looks(line, tmp_path):
    """With SCREENSHOTS=1 the pages that the README shows are taken anew."""
    shots = Path("docs/screenshots") if os.environ.get("SCREENSHOTS") else tmp_path
    with (
        running_chromium() as browser,
        browser.new_context(
            base_url=line.product.url,
            storage_state=sign_in(browser, line.product),
            **DESKTOP,
        ) as context,
    ):
        page = context.new_page()
        page.goto("/")
        # In these words the small model is sure of its answer, at any draw.
        question = "What is the capital city of France? Answer in one sentence."
        page.get_by_label("Message", exact=True).fill(question)
        page.keyboard.press("Enter")
        answer = page.locator("article").nth(1)
        expect(answer).to_contain_text("France", timeout=60_000)
        expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=60_000)
        page.screenshot(path=shots / "chat.png")

        page.goto("/admin/controller/worker/")
        expect(page.get_by_text("transformers", exact=False).first).to_be_visible()
        page.screenshot(path=shots / "admin.png")


def test_two_workers_of_one_model_share_its_load(line, tmp_path):
    name = MODELS["vllm"]
    first = worker_of(line, name)["address"]
    with engines.start_vllm_worker(
        tmp_path,
        controller=line.product.url,
        join_token=line.product.credentials.join_token,
        name=name,
    ) as second:
        wait_until(lambda: live_addresses(line, name) == {first, second.url}, "both")
        assert served_by(line, ask_at_once(line, name, 8)) == {first, second.url}


def ask_at_once(line: Line, model: str, num_clients: int) -> list[str]:
    """Return the ids of as many answers, asked for at the same time."""

    def ask(_number: int) -> str:
        answer = line.client().chat.completions.with_raw_response.create(
            model=model, messages=QUESTION, max_tokens=24
        )
        return answer.headers["x-request-id"]

    with ThreadPoolExecutor(num_clients) as pool:
        return list(pool.map(ask, range(num_clients)))


def served_by(line: Line, request_ids: list[str]) -> set[str]:
    """Return the addresses of the workers that answered those requests."""
    rows = [line.product.ledger_row(request_id=each) for each in request_ids]
    chosen = {row["worker_id"] for row in rows}
    workers = line.product.query("SELECT id, address FROM controller_worker")
    return {row["address"] for row in workers if row["id"] in chosen}


def live_addresses(line: Line, model: str) -> set[str]:
    return {row["address"] for row in line.rows_of(model) if row["is_live"]}


def test_workers_come_back_when_the_controller_was_away(line):
    """Serving goes on at once; the workers are heard again without joining anew."""
    joined_before = {name: worker_of(line, name)["id"] for name in MODELS.values()}

    line.restart(away_seconds=60)

    assert sorted(listed_models(line.product)) == sorted(MODELS.values())
    test_a_real_model_answers(line, MODELS["transformers"])
    time.sleep(16)  # longer than the grace that a starting controller gives
    assert sorted(listed_models(line.product)) == sorted(MODELS.values())
    assert {n: worker_of(line, n)["id"] for n in MODELS.values()} == joined_before


def worker_of(line: Line, model: str) -> dict[str, Any]:
    found = [row for row in line.rows_of(model) if row["is_live"]]
    assert len(found) == 1, found
    return found[0]
