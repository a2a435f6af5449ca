"""The ledger has as many tokens as a real engine counted itself."""

import os
from collections.abc import Iterator

import openai
import pytest

from tests import engines
from tests.product import Product, manage, running_product, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

MODEL = "smollm2-counted"
STARTS = "SELECT * FROM controller_enginestart"
RECONCILE = "from controller.ledger.reconciliation import reconcile; reconcile()"


@pytest.fixture
def product(new_var_dir, tmp_path_factory) -> Iterator[Product]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    with (
        running_product(new_var_dir()) as product,
        engines.start_vllm_worker(
            tmp_path_factory.mktemp("vllm"),
            controller=product.url,
            join_token=product.credentials.join_token,
            name=MODEL,
            flags=("--max-model-len", "1024"),
        ),
    ):
        yield product


def test_the_ledger_agrees_with_vllms_counters_to_a_thousandth(product: Product):
    wait_until(lambda: product.query(STARTS), "the first counters")
    with openai.OpenAI(
        base_url=f"{product.url}/v1", api_key=product.credentials.api_key
    ) as client:
        for number in range(12):
            ask(client, f"Tell me {number} things.", stream=number % 2 == 0)
    [before] = product.query(STARTS)
    wait_until(lambda: heard_since(product, before), "two more heartbeats")

    completed = manage(product.var_dir, "shell", "--command", RECONCILE)

    assert completed.returncode == 0, completed.stdout
    [start] = product.query(STARTS)
    for kind in ("prompt", "completion"):
        engine = start[f"last_{kind}_tokens"] - start[f"first_{kind}_tokens"]
        ledger = start[f"counted_{kind}_tokens"]
        print(f"{kind}: engine {engine}, ledger {ledger}")
        assert engine > 100
        assert abs(engine - ledger) <= engine / 1000


def ask(client: openai.OpenAI, question: str, stream: bool) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": question}],
        max_tokens=16,
        stream=stream,
    )
    if stream:
        list(answer)


def heard_since(product: Product, before: dict) -> bool:
    """Whether the counters stand still, the last request being long over."""
    [start] = product.query(STARTS)
    is_counted = start["last_completion_tokens"] > before["first_completion_tokens"]
    stood_still = start["last_completion_tokens"] == before["last_completion_tokens"]
    heard_again = start["last_heard_at"] > before["last_heard_at"]
    if heard_again and not stood_still:
        before |= start  # from this heartbeat on nothing may change any more
        return False
    return heard_again and is_counted
