"""The whole line with real engines: worker processes, controller, `/v1`, the page.

One product, a transformers worker and a vLLM worker that joined it by themselves.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import expect

from tests import engines
from tests.chromium import DESKTOP, running_chromium, sign_in
from tests.product import (
    Product,
    listed_models,
    running_product,
    wait_until,
    wait_until_listed,
)

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MODELS = {"transformers": "smollm2-transformers", "vllm": "smollm2-vllm"}
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
START = {"transformers": engines.start_model_worker, "vllm": engines.start_vllm_worker}


@dataclass
class Line:
    """A product that can be stopped and started again on its port."""

    var_dir: Path
    product: Product
    stack: ExitStack

    def restart(self, away_seconds: float) -> None:
        self.product.stop()
        time.sleep(away_seconds)  # what is tried here is the absence itself
        self.product = self.stack.enter_context(
            running_product(self.var_dir, port=self.product.port)
        )

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.product.url}/v1",
            api_key=self.product.credentials.api_key,
            max_retries=0,
        )


@pytest.fixture(scope="module")
def line(new_var_dir, tmp_path_factory) -> Iterator[Line]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    var_dir = new_var_dir()
    with ExitStack() as stack:
        product = stack.enter_context(running_product(var_dir))
        for kind, name in MODELS.items():
            worker = START[kind](
                tmp_path_factory.mktemp(kind),
                controller=product.url,
                join_token=product.credentials.join_token,
                name=name,
            )
            stack.enter_context(worker)
            wait_until_listed(product, name)
        yield Line(var_dir, product, stack)


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
    wait_until(lambda: running(line, model) == 1, "the engine to report it", 20)

    stream.close()

    wait_until(lambda: running(line, model) == 0, "the engine to be free again", 20)
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


def rows_of(line: Line, model: str) -> list[dict[str, Any]]:
    response = line.product.call(
        "GET", "/controller/workers/", line.product.credentials.api_key
    )
    return [row for row in response.json["data"] if model in row["models"]]


def live_addresses(line: Line, model: str) -> set[str]:
    return {row["address"] for row in rows_of(line, model) if row["is_live"]}


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
    found = [row for row in rows_of(line, model) if row["is_live"]]
    assert len(found) == 1, found
    return found[0]


def running(line: Line, model: str) -> int:
    """By the last heartbeats, however late: on a busy machine workers fall silent."""
    return sum(row["running"] for row in rows_of(line, model))
