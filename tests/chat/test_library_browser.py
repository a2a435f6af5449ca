"""The conversations' list, search, folders and links in a headless Chromium."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, manage, quick_product, wait_until

pytestmark = pytest.mark.browser

NUM_OLD = 230
ROWS = f"""
from datetime import timedelta
from django.utils.timezone import now
from chat import search
from chat.models import Conversation, Message
from controller.models import User
user = User.objects.get()
for number in range({NUM_OLD}):
    moment = now() - timedelta(days=30, minutes=number)
    talk = Conversation.objects.create(
        user=user, title=f"Old talk {{number}}", model="mock-1", updated_at=moment)
    if number >= 3:
        continue
    text = "Die Weiche 信号灯 number %d" % number
    message = Message.objects.create(
        conversation=talk, role="user", content=text, created_at=moment)
    search.index([message])
    talk.leaf = message
    talk.save()
"""


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    var_dir = new_var_dir()
    written = manage(var_dir, "shell", "--verbosity=0", "-c", ROWS)
    assert written.returncode == 0, written.stdout
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(var_dir, CHAT_UNATTENDED="1") as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture
def open_wide(open_page) -> Callable[..., Page]:
    """Open a page; a phone's drawer with the conversations is opened too."""

    def opened(path: str = "/", **options) -> Page:
        page = open_page(path, **options)
        if options.get("is_mobile"):
            page.get_by_role("button", name="Show conversations").click()
        return page

    return opened


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    # Exactly: while an answer is written, there is one that sends when it is complete.
    send = page.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_enabled()
    send.click()
    expect(page.locator(".message-assistant .answer").last).to_have_text("t0 t1 t2 t3")


def line(page: Page, title: str):
    return page.locator(".history li").filter(has=page.get_by_text(title, exact=True))


def choose(page: Page, title: str, label: str) -> None:
    """Pick from the menu of the conversation, by keyboard."""
    button = page.get_by_role("button", name=f"Options of “{title}”")
    button.focus()
    page.keyboard.press("Enter")
    menu = page.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    while (item := menu.get_by_role("menuitem", name=label)).evaluate(
        "each => each !== document.activeElement"
    ):
        page.keyboard.press("ArrowDown")
    expect(item).to_be_focused()
    page.keyboard.press("Enter")


@pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_list_grows_as_one_scrolls_until_all_are_there(open_wide, width):
    page = open_wide(**width)
    lines = page.locator(".history li").filter(has_text="Old talk")
    last = line(page, f"Old talk {NUM_OLD - 1}")
    expect(lines.first).to_be_visible()
    assert lines.count() < NUM_OLD

    more = page.get_by_role("button", name="Show more")
    while more.is_visible():
        page.locator(".history").evaluate("list => list.scrollTo(0, 1e6)")
        page.wait_for_timeout(20)

    expect(last).to_be_visible()
    assert lines.count() == NUM_OLD
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_was_said_is_found_and_opened(open_wide, width):
    page = open_wide(**width)
    field = page.get_by_role("searchbox", name="Search conversations")

    field.fill("信号 weich")

    hits = page.locator(".hit")
    expect(hits).to_have_count(3)
    expect(hits.first.locator("mark")).to_have_text(["Weich", "信号"])
    expect(page.locator(".history")).to_be_hidden()
    field.fill("信号 number 1")
    expect(hits).to_have_count(1)
    hits.first.click()
    expect(page).to_have_title("Old talk 1 · Switchyard")
    expect(page.locator(".bubble")).to_have_text("Die Weiche 信号灯 number 1")
    expect(page.locator(".message-user")).to_be_focused()


def test_search_says_when_nothing_is_found_and_escape_brings_the_list_back(open_wide):
    page = open_wide()
    field = page.get_by_role("searchbox", name="Search conversations")

    field.fill("xylophone")
    expect(page.locator("#search-status")).to_have_text("Nothing holds these words.")
    field.press("Escape")

    expect(page.locator(".history")).to_be_visible()
    expect(field).to_have_value("")


def test_rename_pin_file_archive_and_delete_by_keyboard(open_wide):
    page = open_wide()
    ask(page, "A fresh talk")
    expect(line(page, "A fresh talk")).to_be_visible()

    choose(page, "A fresh talk", "Rename")
    page.keyboard.type("A better name")
    page.keyboard.press("Enter")
    expect(page).to_have_title("A better name · Switchyard")

    choose(page, "A better name", "Pin")
    expect(page.locator(".history h2").first).to_have_text("Pinned")
    choose(page, "A better name", "Unpin")
    expect(page.locator(".history h2").first).to_have_text("Today")

    choose(page, "A better name", "Move to a folder")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name of the new folder").fill("Work")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".folder li")).to_have_text("A better name")

    page.reload()  # the folder of what is shown is open
    expect(page.locator(".folder li")).to_have_text("A better name")
    choose(page, "A better name", "Archive")
    expect(page.locator(".folder li")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".folder li")).to_have_text("A better name")

    choose(page, "A better name", "Delete")
    page.wait_for_url(re.compile(r"/$"))
    expect(line(page, "A better name")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Work", exact=True).click()
    expect(line(page, "A better name")).to_be_visible()


def test_the_focus_goes_to_the_next_line_where_one_leaves_the_list(open_wide):
    page = open_wide()

    choose(page, "Old talk 5", "Archive")

    expect(line(page, "Old talk 5")).to_have_count(0)
    expect(line(page, "Old talk 6").get_by_role("link")).to_be_focused()
    page.get_by_role("button", name="Undo").press("Enter")
    expect(line(page, "Old talk 5")).to_be_visible()
    expect(line(page, "Old talk 6").get_by_role("link")).to_be_focused()


def test_without_a_network_the_list_says_in_words_that_nothing_was_done(
    browser: Browser, product: Product, signed_in: dict
):
    with browser.new_context(
        storage_state=signed_in, base_url=product.url, service_workers="block"
    ) as context:
        page = context.new_page()
        page.goto("/")
        expect(line(page, "Old talk 4")).to_be_visible()
        context.set_offline(True)

        choose(page, "Old talk 4", "Archive")
        expect(page.locator(".toast")).to_contain_text("The server was not reached.")
        page.get_by_role("searchbox").fill("anything")
        status = page.locator("#search-status")
        expect(status).to_contain_text("The server was not reached.")


def test_a_link_is_read_without_an_account_until_it_is_revoked(
    open_wide, browser: Browser, product: Product
):
    page = open_wide()
    ask(page, "Share me")
    expect(page.get_by_role("link", name="Temporary chat")).to_have_count(0)
    choose(page, "Share me", "Share")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Make the link").click()
    address = dialog.get_by_label("Copy the link").first.input_value()

    with browser.new_context() as context:
        reader = context.new_page()
        reader.goto(address)
        expect(reader.get_by_role("heading", name="Share me")).to_be_visible()
        expect(reader.locator(".answer .block")).to_have_text("t0 t1 t2 t3")
        assert product.credentials.username not in reader.content()
        assert context.cookies() == []

        dialog.get_by_role("button", name="Revoke").click()
        expect(dialog.get_by_role("button", name="Revoke")).to_have_count(0)
        reader.reload()
        expect(reader.get_by_role("heading")).to_have_text("Page not found")


def test_a_link_is_copied_on_a_site_without_https_too(open_wide):
    page = open_wide(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    choose(page, "Old talk 0", "Share")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Make the link").click()
    address = dialog.get_by_label("Copy the link").first.input_value()

    dialog.get_by_role("button", name="Copy the link").click()

    copied = dialog.get_by_role("button", name="Copied")
    expect(copied).to_be_focused()
    assert page.evaluate("navigator.clipboard.readText()") == address


def test_the_menu_tells_who_can_read_a_conversation(open_wide):
    page = open_wide()

    choose(page, "Old talk 2", "Who can read this?")

    dialog = page.get_by_role("dialog", name="Who can read this conversation?")
    expect(dialog.get_by_role("heading", level=3)).to_have_text(
        ["People", "Where it was sent", "When it goes"]
    )
    expect(dialog).to_contain_text("Nobody else by a link")
    expect(dialog).to_contain_text("brought back for 24 hours")


def test_a_temporary_chat_is_gone_when_its_page_is_left(open_wide, product: Product):
    page = open_wide()
    page.get_by_role("link", name="Temporary chat").click()
    ask(page, "Forget this")
    ask(page, "And this")
    assert "/c/" not in page.url
    assert line(page, "Forget this").count() == 0
    kept = "SELECT id FROM chat_message WHERE content LIKE '%orget this%'"
    assert len(product.query(kept)) == 1

    page.goto("/")

    expect(line(page, "Old talk 0")).to_be_visible()
    assert wait_until(lambda: not product.query(kept), "the row to be gone")
