"""Two real engines serve one model, and one of them is killed under its streams."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests import engines
from tests.product import Product, running_product, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

MODEL = "smollm2-twice"
# Long enough that none has ended when the slowest begins to speak: two engines on two
# cores may be seconds apart.
NUM_TOKENS = 64
QUESTIONS = (
    "What is the capital of France?",
    "Write a short story about a train.",
    "List five fruits, one on each line, with an emoji.",
    "Translate 'good morning' into Chinese and French.",
)
# Rounding to bfloat16 decides between tokens that are all but equally likely, and
# differs between reading a prompt and decoding: float32 makes the answer one.
FLAGS = ("--max-model-len", "2048", "--dtype", "float32")


@dataclass
class Line:
    product: Product
    workers: list[engines.RunningWorker]

    def ask(self, client: openai.OpenAI, question: str, stop: list[str] | None) -> Any:
        return client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=NUM_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
            stop=stop,
            extra_body={"ignore_eos": True},
        )


@pytest.fixture
def line(new_var_dir, tmp_path_factory) -> Iterator[Line]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    with ExitStack() as stack:
        product = stack.enter_context(running_product(new_var_dir()))
        workers = [
            stack.enter_context(
                engines.start_vllm_worker(
                    tmp_path_factory.mktemp("vllm"),
                    controller=product.url,
                    join_token=product.credentials.join_token,
                    name=MODEL,
                    flags=FLAGS,
                )
            )
            for _ in range(2)
        ]
        yield Line(product, workers)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    deltas = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    return "".join(delta or "" for delta in deltas)


def test_killing_one_of_two_engines_costs_its_streams_a_pause(line):
    client = openai.OpenAI(
        base_url=f"{line.product.url}/v1",
        api_key=line.product.credentials.api_key,
        max_retries=0,
    )
    # Half of them hold text back for a stop string that never comes.
    asked = list(zip(QUESTIONS, (["zebra crossing"], None) * 2, strict=True))
    with ThreadPoolExecutor(len(asked)) as threads:
        uncut = list(threads.map(lambda each: list(line.ask(client, *each)), asked))
    all_speak = Barrier(len(QUESTIONS) + 1)

    def read(question: str, stop: list[str] | None) -> list[ChatCompletionChunk]:
        stream = line.ask(client, question, stop)
        chunks = [next(stream) for _ in range(3)]
        all_speak.wait()
        return chunks + list(stream)

    with ThreadPoolExecutor(len(QUESTIONS)) as threads:
        reading = [threads.submit(read, *each) for each in asked]
        all_speak.wait()
        line.workers.pop(0).kill()
        streams = [each.result() for each in reading]

    assert [text_of(chunks) for chunks in streams] == [text_of(each) for each in uncut]
    for chunks, whole in zip(streams, uncut, strict=True):
        assert len({chunk.id for chunk in chunks}) == 1
        roles = [c.delta.role for chunk in chunks for c in chunk.choices]
        assert [role for role in roles if role] == ["assistant"]
        assert chunks[-1].usage == whole[-1].usage
        assert chunks[-1].usage.completion_tokens == NUM_TOKENS

    def rows() -> list[dict[str, Any]]:
        found = [row for row in line.product.ledger() if row["model"] == MODEL]
        return found[len(QUESTIONS) :] if len(found) == 2 * len(QUESTIONS) else []

    moved = wait_until(rows, "the rows")
    assert {row["status"] for row in moved} == {200}
    assert sum(row["num_moves"] for row in moved) >= 1
