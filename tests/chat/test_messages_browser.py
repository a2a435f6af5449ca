"""What readers do to messages, in a headless Chromium against a live `serve`."""

import re
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, running_product, set_up

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def product_and_engine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Product, MockEngine]]:
    var_dir = tmp_path_factory.mktemp("messages")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1", "mock-2"), tokens=8) as engine,
        running_product(var_dir) as product,
        joined(product, engine, like="vllm"),
    ):
        yield product, engine


@pytest.fixture(scope="module")
def product(product_and_engine: tuple[Product, MockEngine]) -> Product:
    return product_and_engine[0]


@pytest.fixture(autouse=True)
def engine(product_and_engine: tuple[Product, MockEngine]) -> MockEngine:
    product_and_engine[1].reset()
    return product_and_engine[1]


def ask(page: Page, text: str) -> None:
    prompt = page.get_by_label("Message", exact=True)
    prompt.fill(text)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Send", exact=True).click()


def prompts(page: Page):
    return page.locator(".message-user")


def answers(page: Page):
    return page.locator(".message-assistant")


def last(page: Page):
    """The last answer, once it is whole."""
    expect(answers(page).last).not_to_have_class("is-streaming")
    return answers(page).last


def press(message, name: str) -> None:
    message.hover()
    message.get_by_role("button", name=name, exact=True).click()


def words(begin: int, end: int) -> str:
    return " ".join(f"t{number}" for number in range(begin, end))


def answer_is(page: Page, text: str) -> None:
    expect(answers(page).last.locator(".answer")).to_have_text(text)


@WIDTHS
def test_a_prompt_is_edited_and_both_versions_are_kept(open_page, width):
    page = open_page("/", **width)
    ask(page, "one [[tokens=3]]")
    answer_is(page, words(0, 3))
    press(prompts(page).last, "Edit")
    page.get_by_label("Edit the message").fill("two [[tokens=5]]")
    prompts(page).last.get_by_role("button", name="Send", exact=True).click()

    answer_is(page, words(0, 5))
    expect(prompts(page)).to_have_count(1)
    expect(prompts(page).last.locator(".versions")).to_have_text("2 / 2")
    press(prompts(page).last, "Previous version")
    answer_is(page, words(0, 3))
    expect(prompts(page).last.locator(".bubble")).to_have_text("one [[tokens=3]]")

    page.reload()
    answer_is(page, words(0, 3))
    expect(prompts(page).last.locator(".versions")).to_have_text("1 / 2")


def test_an_answer_is_made_again_by_another_model(open_page):
    page = open_page("/")
    ask(page, "hello")
    answer_is(page, words(0, 8))
    last(page).get_by_role("button", name="Regenerate with another model").click()
    page.get_by_role("menuitem", name="mock-2").click()

    expect(answers(page).last.locator(".byline")).to_have_text("mock-2")
    answer_is(page, words(0, 8))
    expect(answers(page).last.locator(".versions")).to_have_text("2 / 2")


def test_a_stopped_answer_is_continued_in_place(open_page, engine):
    page = open_page("/")
    ask(page, "go on [[tokens=60 interval_ms=60]]")
    expect(answers(page).last).to_contain_text("t5")
    press(prompts(page).last, "Edit")
    prompts(page).last.get_by_role("button", name="Send", exact=True).click()
    refusal = page.get_by_text("Wait for the answer in progress, or stop it first.")
    expect(refusal).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop").click()
    expect(refusal).to_be_hidden()
    expect(answers(page).last.locator(".ending")).to_have_text("Stopped")

    answers(page).last.get_by_role("button", name="Continue").click()

    answer_is(page, words(0, 60))
    expect(answers(page)).to_have_count(1)
    expect(prompts(page)).to_have_count(1)
    expect(answers(page).last.locator(".ending")).to_have_count(0)


def test_what_a_model_thinks_is_folded_above_its_answer(open_page):
    page = open_page("/")
    ask(page, "hm [[reasoning=40 tokens=48 interval_ms=100]]")
    thoughts = answers(page).last.locator("details")
    expect(thoughts.locator("summary")).to_have_text("Thinking…")
    expect(thoughts.locator(".reasoning-text")).to_be_hidden()
    thoughts.locator("summary").click()
    expect(thoughts.locator(".reasoning-text")).to_contain_text("t9")
    page.reload()

    answer_is(page, words(40, 48))
    expect(thoughts.locator("summary")).to_have_text(re.compile(r"Thought for \d+ s"))
    thoughts.locator("summary").click()
    expect(thoughts.locator(".reasoning-text")).to_have_text(words(0, 40))


def test_a_branch_is_deleted_and_brought_back(open_page):
    page = open_page("/")
    ask(page, "one")
    answer_is(page, words(0, 8))
    ask(page, "two [[tokens=3]]")
    answer_is(page, words(0, 3))
    press(prompts(page).last, "Delete")
    expect(prompts(page)).to_have_count(1)

    page.get_by_role("button", name="Undo").click()

    expect(prompts(page)).to_have_count(2)
    answer_is(page, words(0, 3))


def test_an_answer_is_rated_with_a_reason_and_reported(open_page):
    page = open_page("/")
    ask(page, "hello")
    answer_is(page, words(0, 8))
    press(answers(page).last, "Bad answer")
    page.get_by_label("What is good or bad").fill("It only counts.")
    answers(page).last.locator("form").get_by_role(
        "button", name="Send", exact=True
    ).click()
    press(answers(page).last, "Report to the moderators")
    answers(page).last.locator("form").get_by_role(
        "button", name="Send", exact=True
    ).click()
    expect(answers(page).last.locator(".ending")).to_have_text(
        "Reported to the moderators"
    )

    page.reload()
    bad = answers(page).last.get_by_role("button", name="Bad answer")
    expect(bad).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "false")


def test_numbers_are_shown_once_they_are_asked_for(open_page):
    page = open_page("/")
    ask(page, "hello there")
    answer_is(page, words(0, 8))
    measures = answers(page).last.locator(".measures")
    expect(measures).to_be_hidden()

    press(answers(page).last, "Tokens, speed and cost")

    expect(measures).to_be_visible()
    expect(measures).to_contain_text("8 tokens")
    page.reload()
    expect(measures).to_be_visible()
    expect(page.get_by_role("meter")).to_contain_text("10 of 4,096 tokens")


def test_a_message_that_was_found_on_another_branch_is_shown(open_page, product):
    page = open_page("/")
    ask(page, "one [[tokens=3]]")
    answer_is(page, words(0, 3))
    press(last(page), "Regenerate")
    expect(last(page).locator(".versions")).to_have_text("2 / 2")
    answer_is(page, words(0, 3))
    answered = product.query(
        "SELECT id FROM chat_message WHERE role = 'assistant' ORDER BY created_at"
    )

    page.goto(f"{page.url}?message={uuid.UUID(answered[-2]['id'])}")

    expect(last(page).locator(".versions")).to_have_text("1 / 2")
    expect(last(page)).to_be_focused()


def test_messages_are_reached_and_worked_on_by_keyboard_alone(open_page):
    page = open_page("/")
    ask(page, "one [[tokens=3]]")
    answer_is(page, words(0, 3))
    page.keyboard.press("Alt+ArrowUp")
    expect(answers(page).last).to_be_focused()
    page.keyboard.press("r")
    expect(answers(page).last.locator(".versions")).to_have_text("2 / 2")
    answer_is(page, words(0, 3))

    page.get_by_label("Message", exact=True).focus()
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("ArrowLeft")
    previous = answers(page).last.get_by_role("button", name="Previous version")
    expect(answers(page).last.locator(".versions")).to_have_text("1 / 2")
    expect(previous).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(answers(page).last.locator(".versions")).to_have_text("2 / 2")

    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("e")
    expect(page.get_by_label("Edit the message")).to_be_focused()
    page.keyboard.type(" and more")
    page.keyboard.press("Control+Enter")
    expect(prompts(page).last.locator(".bubble")).to_contain_text("and more")
    expect(answers(page).last.locator("[data-action=delete]")).to_be_attached()
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.get_by_role("region", name="Messages")).to_be_focused()
    answer_is(page, words(0, 3))
