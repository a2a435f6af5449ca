"""A conversation of 2,000 messages in a headless Chromium."""

import re
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from chat.paging import PAGE_MESSAGES
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, manage, running_product, set_up

pytestmark = pytest.mark.browser

WRITE = """
from controller.models import User
from tests.chat.long_conversations import make_long_conversation
user = User.objects.get(username="admin")
for num_messages in (2000, 300):
    print("written", make_long_conversation(user, num_messages).id)
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("long")
    set_up(var_dir)
    with (
        running_mock_engine(
            models=("mock-1",), tokens=8, context_length=1_000_000
        ) as engine,
        running_product(var_dir) as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture(scope="module")
def addresses(product: Product) -> list[str]:
    """The pages of a conversation of 2,000 messages and of one of 300."""
    written = manage(product.var_dir, "shell", "-c", WRITE).stdout
    found = re.findall(r"written (\S+)", written)
    assert len(found) == 2, written
    return [f"/c/{each}/" for each in found]


@pytest.fixture
def long(addresses: list[str]) -> str:
    return addresses[0]


SHIFTS = """() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries())
        if (!entry.hadRecentInput) window.shifts += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
}"""
PATIENCE = 30_000


def test_it_opens_at_its_end_and_goes_on_without_a_jump(open_page, long):
    page = open_page(long)
    expect(page.locator(".message")).to_have_count(PAGE_MESSAGES)
    expect(page.locator(".message").last).to_be_in_viewport()
    page.evaluate(SHIFTS)
    opening = page.evaluate("window.shifts")

    page.get_by_label("Message", exact=True).fill("on [[tokens=300 interval_ms=3]]")
    page.get_by_role("button", name="Send", exact=True).click()

    expect(page.locator(".message").last).to_contain_text("t299", timeout=PATIENCE)
    expect(page.locator(".message")).to_have_count(PAGE_MESSAGES + 2)
    assert opening < 0.01
    assert page.evaluate("window.shifts") - opening < 0.02


def test_scrolling_up_brings_what_came_before_and_the_reader_stays_in_place(
    open_page, long
):
    page = open_page(long)
    expect(page.locator(".message")).to_have_count(PAGE_MESSAGES)
    first = page.locator(".message").first.element_handle()

    first.scroll_into_view_if_needed()
    expect(page.locator(".message")).not_to_have_count(PAGE_MESSAGES, timeout=PATIENCE)

    box, scroller = first.bounding_box(), page.locator("#scroller").bounding_box()
    assert scroller["y"] - 5 <= box["y"] < scroller["y"] + scroller["height"]


def test_a_message_that_was_found_is_shown_however_far_above_it_is(
    open_page, product, addresses
):
    conversation = uuid.UUID(addresses[1].split("/")[2]).hex
    [row] = product.query(
        "SELECT id FROM chat_message WHERE content = 'Question 40?'"
        f" AND conversation_id = '{conversation}'"
    )

    page = open_page(f"{addresses[1]}?message={uuid.UUID(row['id'])}")

    found = page.locator(".message", has_text=re.compile(r"Question 40\?"))
    expect(found).to_be_focused()
    expect(found).to_be_in_viewport()
    assert page.url.endswith(addresses[1])
    jump = page.get_by_role("button", name="Jump to the latest message")
    expect(jump).to_be_visible()


def test_one_gets_to_the_first_message_and_back_to_the_last(open_page, addresses):
    page = open_page(addresses[1])
    first = page.locator(".bubble", has_text=re.compile(r"^Question 0\?$"))
    expect(page.locator(".message")).to_have_count(50)

    page.evaluate(
        """async () => {
            const scroller = document.getElementById("scroller");
            while (!document.getElementById("earlier").hidden) {
              scroller.scrollTop = 0;
              await new Promise(requestAnimationFrame);
            }
            scroller.scrollTop = 0;
        }"""
    )

    expect(page.locator(".message")).to_have_count(300)
    expect(first).to_be_in_viewport()
    # Far from there are the words alone, to be found by; near, there is all.
    far = page.locator(".message", has_text="Answer 151: it **depends**.")
    expect(far.locator(".plain")).to_be_attached()
    expect(far.get_by_role("button")).to_have_count(0)
    expect(page.locator(".message").nth(1).locator("strong")).to_have_text("depends")
    assert page.evaluate("document.querySelectorAll('#transcript *').length") < 4500
    far.evaluate("message => message.scrollIntoView()")
    found = page.locator(".message", has_text="Answer 151: it depends.")
    expect(found.locator("strong")).to_be_in_viewport()
    expect(found.get_by_role("button", name="Copy", exact=True)).to_be_attached()
    page.get_by_role("button", name="Jump to the latest message").click()
    expect(page.locator(".message").last).to_be_in_viewport()
    page.get_by_label("Message", exact=True).fill("still quick?")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".message").last.locator(".measures")).to_be_attached(
        timeout=PATIENCE
    )
