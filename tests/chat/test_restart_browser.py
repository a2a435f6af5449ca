"""A server that ends in mid-stream and comes back: nothing is made up, nothing lost."""

import signal

import pytest
from playwright.sync_api import expect

from tests.chromium import sign_in
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, running_product, wait_until_listed
from tests.servers import free_port

pytestmark = pytest.mark.browser

ENVIRONMENT = {"CHAT_INTERRUPTED_AFTER": "3", "SHUTDOWN_GRACE": "0.1"}
NUM_TOKENS = 250


def written_answer(product: Product) -> tuple[str, str]:
    """(state, text) of the one answer, as its row has it."""
    query = "SELECT state, content FROM chat_message WHERE role = 'assistant'"
    [row] = product.query(query)
    return row["state"], row["content"]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_page_row_and_engine_agree_after_a_restart_and_the_answer_goes_on(
    browser, new_var_dir, ending
):
    var_dir, port = new_var_dir(), free_port()
    with (
        running_mock_engine() as engine,
        running_product(var_dir, port=port, env=ENVIRONMENT) as first,
        joined(first, engine, like="vllm"),
        browser.new_context(
            storage_state=sign_in(browser, first), base_url=first.url
        ) as context,
    ):
        page = context.new_page()
        page.goto("/")
        prompt = page.get_by_label("Message", exact=True)
        prompt.fill(f"go on [[tokens={NUM_TOKENS} interval_ms=20]]")
        page.get_by_role("button", name="Send", exact=True).click()
        answer = page.locator(".message-assistant .answer")
        expect(answer).to_contain_text("t20")
        first.process.send_signal(ending)
        first.process.wait()

        # The worker's heartbeats go on to the one that takes its place.
        with running_product(var_dir, port=port, env=ENVIRONMENT) as second:
            card = page.locator(".card-interrupted")
            expect(card).to_be_visible(timeout=60_000)
            state, text = written_answer(second)
            asked = engine.requests("/v1/chat/completions")[-1]
            said = [f"t{number}" for number in range(NUM_TOKENS)]
            assert state == "interrupted"
            expect(answer).to_have_text(text)
            assert text.split() == said[: len(text.split())]
            assert 20 <= len(text.split()) <= asked.tokens

            wait_until_listed(second, "mock-1")
            card.get_by_role("button", name="Continue").click()

            expect(answer).to_have_text(" ".join(said))
            expect(page.locator(".is-streaming")).to_have_count(0)
            assert written_answer(second) == ("complete", " ".join(said))
