"""A guest's whole way in a headless Chromium, on a phone: in by a link, a chat, and
out when an operator takes the link back."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chat.test_accessibility_browser import AXE, violations
from tests.chromium import PHONE, note_complaints
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with (
        running_mock_engine(models=("mock-1", "mock-2"), tokens=8) as engine,
        quick_product(new_var_dir()) as running,
        joined(running, engine),
    ):
        yield running


@pytest.fixture
def visit(browser: Browser, product: Product) -> Iterator[Callable[[str], Page]]:
    """Open a page in a phone's browser of its own; nothing may go wrong in it."""
    contexts, complaints = [], []

    def visited(path: str) -> Page:
        context = browser.new_context(
            base_url=product.url, service_workers="block", **PHONE
        )
        context.set_default_timeout(20_000)
        context.add_init_script(path=AXE)
        contexts.append(context)
        page = context.new_page()
        note_complaints(page, complaints)
        page.goto(path)
        return page

    yield visited
    for context in contexts:
        context.close()
    assert not complaints


def enter(page: Page) -> Page:
    page.get_by_role("button", name="Start chatting").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    return page


def test_a_guest_chats_on_a_phone_until_the_link_is_taken_back(visit, product):
    made = product.manage("guest_link", "--models=mock-1", "--note=fair").stdout
    path = re.search(r"/guest/\?link=\S+", made)[0]

    invitation = visit(path)
    assert violations(invitation) == []
    invitation.set_viewport_size(PHONE["viewport"])
    page = enter(invitation)
    page.get_by_label("Message", exact=True).fill("hello")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".answer")).to_contain_text("t7")
    page.wait_for_url("**/c/**")
    talk = page.url.removeprefix(product.url)
    expect(page.get_by_text("mock-2")).to_have_count(0)
    for closed in ("/keys/", "/admin/", "/accounts/password/change/", "/account/"):
        assert page.request.get(closed, max_redirects=0).status == 404, closed

    second = page.context.new_page()  # a tab of the same guest
    second.goto(talk)
    expect(second.locator(".answer")).to_contain_text("t7")
    other = enter(visit(path))
    expect(other.get_by_role("heading", level=1)).to_have_text("What can I help with?")
    assert other.request.get(talk).status == 404
    page.goto(path)  # the same browser again
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    page.goto(talk)
    expect(page.locator(".answer")).to_contain_text("t7")

    entry = product.ledger_row(face="chat", model="mock-1", finish_reason="stop")
    [link] = product.query("SELECT * FROM controller_guestlink")
    [first] = product.query(
        "SELECT * FROM controller_user WHERE guest_link_id IS NOT NULL"
        " ORDER BY id LIMIT 1"
    )
    assert (entry["user_id"], entry["team_id"]) == (first["id"], link["team_id"])
    assert link["num_guests"] == 2

    product.manage("guest_link", f"--revoke={link['prefix']}")
    for each in (page, second, other):
        heading = each.get_by_role("heading", name="Your time as a guest is over")
        expect(heading).to_be_visible(timeout=60_000)
    page.goto("/")
    expect(page.get_by_label("Login")).to_be_visible()
    assert page.request.get(path).status == 404
