"""Models side by side, in a headless Chromium against a live `serve`."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.chat.test_accessibility_browser import AXE, violations
from tests.chromium import DESKTOP, PHONE, sign_in
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, running_product, wait_until_listed
from tests.servers import free_port

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
ENVIRONMENT = {"CHAT_INTERRUPTED_AFTER": "3", "SHUTDOWN_GRACE": "0.1"}


@pytest.fixture(scope="module")
def engine() -> Iterator[MockEngine]:
    models = ("mock-1", "mock-2", "mock-3", "mock-4")
    with running_mock_engine(models=models, tokens=8) as engine:
        yield engine


@pytest.fixture(scope="module")
def product(new_var_dir, engine) -> Iterator[Product]:
    with (
        running_product(new_var_dir(), env=ENVIRONMENT) as product,
        joined(product, engine, like="vllm"),
    ):
        yield product


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Send", exact=True).click()


def compare(page: Page, num_models: int, longest: dict[int, int] | None = None) -> None:
    """Have so many models asked from now on, some with their longest answer."""
    page.get_by_role("button", name="Side by side").click()
    for _ in range(num_models - 2):
        page.get_by_role("button", name="Add a model").click()
    for index, tokens in (longest or {}).items():
        slot = page.locator(".slot").nth(index)
        slot.get_by_text("Parameters").click()
        slot.get_by_label("Longest answer, in tokens").fill(str(tokens))
    page.get_by_role("button", name="Ask these").click()


def words(count: int) -> str:
    return " ".join(f"t{number}" for number in range(count))


def columns_of(page: Page) -> Locator:
    return page.locator(".columns .message")


@WIDTHS
def test_two_models_answer_side_by_side_are_voted_on_and_one_goes_on(
    open_page, product, width
):
    page = open_page("/", **width)
    compare(page, 2, longest={1: 5})
    ask(page, "hello [[tokens=40 interval_ms=100]]")
    columns = columns_of(page)
    expect(columns.nth(1).locator(".byline")).to_contain_text("mock-2")
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
    compare(page, 4)
    page.get_by_role("button", name="Side by side").click()
    expect(page.get_by_role("button", name="Add a model")).to_be_hidden()
    page.get_by_role("button", name="Remove this model").last.click()
    page.get_by_role("button", name="Ask these").click()
    ask(page, "go on [[tokens=5000 interval_ms=10]]")
    columns = columns_of(page)
    expect(columns).to_have_count(3)
    for index in range(3):
        expect(columns.nth(index)).to_contain_text("t5")

    page.get_by_role("button", name="Stop", exact=True).click()
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


@WIDTHS
def test_a_column_is_stopped_gone_on_with_and_asked_again_by_itself(open_page, width):
    """By keyboard where there is one; a second page sees the same."""
    page = open_page("/", **width)
    compare(page, 4, longest={0: 3})
    ask(page, "hello [[tokens=5000 interval_ms=20]]")
    columns = columns_of(page)
    first, second, third = (columns.nth(index) for index in range(3))
    expect(third).to_contain_text("t3")
    second.get_by_role("button", name="Stop B").press("Enter")
    expect(second.locator(".ending")).to_have_text("Stopped")
    expect(page.locator(".columns .is-streaming")).to_have_count(2)

    first.get_by_role("button", name="Regenerate").press("Enter")
    expect(first.locator(".versions")).to_have_text("2 / 2")
    expect(first).to_be_focused()
    expect(first.locator(".answer")).to_have_text(words(3))
    expect(first.locator(".ending")).to_contain_text("The model's limit was reached")
    first.get_by_role("button", name="Previous version").press("Enter")
    expect(first.locator(".versions")).to_have_text("1 / 2")

    stopped = second.locator(".answer").inner_text()
    second.get_by_role("button", name="Continue", exact=True).press("Enter")
    expect(second).to_contain_text(f"{stopped} t{len(stopped.split())}")
    expect(page.locator(".columns .is-streaming")).to_have_count(3)
    other = open_page(page.url, **width)
    expect(columns_of(other)).to_have_count(4)
    expect(other.locator(".columns .is-streaming")).to_have_count(3)
    for letter in "BCD":
        other.get_by_role("button", name=f"Stop {letter}").press("Enter")
    for each in (page, other):
        expect(each.locator(".columns .is-streaming")).to_have_count(0)
        texts = columns_of(each).locator(".answer")
        assert texts.all_inner_texts() == columns.locator(".answer").all_inner_texts()


def test_a_column_is_rated_and_flagged_with_a_reason_and_shows_its_numbers(
    open_page, product
):
    page = open_page("/")
    compare(page, 2)
    ask(page, "hello")
    columns = columns_of(page)
    first, second = columns.nth(0), columns.nth(1)
    expect(first.get_by_role("button", name="Copy", exact=True)).to_be_attached()
    first.get_by_role("button", name="Bad answer").click()
    first.get_by_role("textbox").fill("too short")
    first.locator(".remark button[type=submit]").click()
    second.get_by_role("button", name="Report").click()
    second.get_by_role("textbox").fill("not nice")
    second.locator(".remark button[type=submit]").click()
    expect(second.locator(".ending")).to_contain_text("Reported")
    second.get_by_role("button", name="Tokens, speed").click()
    expect(columns.locator(".measures")).to_have_count(2)
    expect(second.locator(".measures")).to_be_visible()
    page.evaluate(AXE.read_text())
    assert violations(page) == []
    page.reload()

    expect(first.get_by_role("button", name="Bad answer")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(second.locator(".ending")).to_contain_text("Reported")
    rows = product.query(
        "SELECT rating, rating_reason, flagged_at IS NOT NULL AS is_flagged FROM"
        " chat_message WHERE role = 'assistant' ORDER BY created_at DESC LIMIT 2"
    )
    assert [tuple(row.values()) for row in rows] == [
        (None, "", 1),
        (-1, "too short", 0),
    ]


def test_one_that_fails_says_so_in_its_column_and_is_asked_again_there(
    open_page, product
):
    with (
        running_mock_engine(models=("weak",), error_after=3) as weak,
        joined(product, weak),
    ):
        page = open_page("/")
        page.get_by_role("button", name="Side by side").click()
        page.get_by_label("Model", exact=True).last.select_option("weak")
        page.get_by_role("button", name="Ask these").click()
        ask(page, "hello [[tokens=60 interval_ms=50]]")
        columns = columns_of(page)
        card = columns.nth(1).locator(".card")
        expect(card).to_be_visible()
        expect(columns.nth(0)).to_have_class(re.compile("is-streaming"))

        card.get_by_role("button", name="Try again").click()
        expect(columns.nth(1).locator(".versions")).to_have_text("2 / 2")
        expect(columns.nth(0).locator(".answer")).to_have_text(words(60))
        expect(card).to_be_visible()


def test_answers_whose_process_died_go_on_each_in_its_column(
    browser, new_var_dir, engine
):
    var_dir, port = new_var_dir(), free_port()
    with (
        running_product(var_dir, port=port, env=ENVIRONMENT) as first,
        joined(first, engine, like="vllm"),
        browser.new_context(
            storage_state=sign_in(browser, first), base_url=first.url
        ) as context,
    ):
        page = context.new_page()
        page.goto("/")
        compare(page, 2)
        ask(page, "go on [[tokens=250 interval_ms=20]]")
        columns = columns_of(page)
        for index in range(2):
            expect(columns.nth(index)).to_contain_text("t20")
        first.process.kill()
        first.process.wait()

        with running_product(var_dir, port=port, env=ENVIRONMENT) as second:
            cards = page.locator(".columns .card-interrupted")
            expect(cards).to_have_count(2, timeout=60_000)
            left = columns.nth(0).locator(".answer").inner_text()
            wait_until_listed(second, "mock-1")
            cards.nth(1).get_by_role("button", name="Continue").click()

            expect(columns.nth(1).locator(".answer")).to_have_text(words(250))
            expect(columns.nth(0).locator(".answer")).to_have_text(left)
            expect(cards).to_have_count(1)
