"""Models side by side, in a headless Chromium against a live `serve`."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, running_product, set_up

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("compare")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1", "mock-2"), tokens=8) as engine,
        running_product(var_dir) as product,
        joined(product, engine, like="vllm"),
    ):
        yield product


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Send", exact=True).click()


def words(count: int) -> str:
    return " ".join(f"t{number}" for number in range(count))


@WIDTHS
def test_two_models_answer_side_by_side_are_voted_on_and_one_goes_on(
    open_page, product, width
):
    page = open_page("/", **width)
    page.get_by_role("button", name="Side by side").click()
    second = page.locator(".slot").nth(1)
    expect(second.get_by_label("Model", exact=True)).to_have_value("mock-2")
    second.get_by_text("Parameters").click()
    second.get_by_label("Longest answer, in tokens").fill("5")
    page.get_by_role("button", name="Ask these").click()
    ask(page, "hello [[tokens=40 interval_ms=100]]")
    columns = page.locator(".columns .message")
    expect(columns.nth(1).locator(".answer")).to_have_text(words(5))
    expect(columns.nth(1).locator(".byline")).to_contain_text("max_tokens 5")
    expect(page.get_by_role("button", name="B is best")).to_be_disabled()

    page.reload()
    expect(columns.nth(0).locator(".answer")).to_have_text(words(40))
    page.get_by_role("button", name="B is best").click()
    voted = page.get_by_role("button", name="B is best")
    expect(voted).to_have_attribute("aria-pressed", "true")
    expect(columns.nth(1)).to_have_class("message message-assistant is-chosen")
    columns.nth(0).get_by_role("button", name="Continue with this").click()
    expect(columns.nth(0)).to_have_class("message message-assistant is-chosen")
    expect(voted).to_have_attribute("aria-pressed", "true")

    ask(page, "and now? [[tokens=3]]")
    answers = page.locator(".message-assistant .answer")
    expect(answers.last).to_have_text(words(3))
    expect(columns).to_have_count(0)
    expect(answers).to_have_text([words(40), words(3)])
    expect(page.locator(".versions").first).to_have_text("1 / 2")
    [vote] = product.query(
        "SELECT outcome, winner FROM chat_comparison ORDER BY id DESC LIMIT 1"
    )
    assert vote == {"outcome": "winner", "winner": 1}


def test_one_stop_ends_all_and_one_model_is_asked_again_when_it_is_off(open_page):
    page = open_page("/")
    page.get_by_role("button", name="Side by side").click()
    page.get_by_role("button", name="Add a model").click()
    page.get_by_role("button", name="Add a model").click()
    expect(page.get_by_role("button", name="Add a model")).to_be_hidden()
    page.get_by_role("button", name="Remove this model").last.click()
    page.get_by_role("button", name="Ask these").click()
    ask(page, "go on [[tokens=5000 interval_ms=10]]")
    columns = page.locator(".columns .message")
    expect(columns).to_have_count(3)
    for index in range(3):
        expect(columns.nth(index)).to_contain_text("t5")

    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".ending")).to_have_text(["Stopped"] * 3)
    page.get_by_role("button", name="Tie").click()
    expect(page.get_by_role("button", name="Tie")).to_have_attribute(
        "aria-pressed", "true"
    )

    page.get_by_role("button", name="Side by side").click()
    page.get_by_role("button", name="Ask one model only").click()
    ask(page, "hello")
    expect(page.locator(".columns")).to_have_count(0)
    expect(page.locator(".message-assistant").last.locator(".answer")).to_have_text(
        words(8)
    )
