"""The console in a headless Chromium, against a live `serve` with a worker."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import note_complaints, sign_in
from tests.mock_engine import running_mock_engine
from tests.product import (
    Product,
    joined,
    listed_models,
    running_product,
    set_up,
    wait_until,
)

pytestmark = pytest.mark.browser

PAGES = [
    "",
    "controller/worker/",
    "controller/servedmodel/",
    "controller/servedmodel/add/",
    "controller/jointoken/add/",
    "controller/apikey/",
    "controller/apikey/add/",
    "controller/invitation/",
    "controller/user/",
    "controller/user/1/change/",
    "auth/group/add/",
    "controller/ledgerentry/",
]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("console")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        running_product(var_dir) as running,
        joined(running, engine),
    ):
        yield running


@pytest.fixture(scope="module")
def signed_in(browser: Browser, product: Product) -> dict:
    """The cookies of an operator who came in by the console's address."""
    return sign_in(browser, product, "/admin/")


@pytest.fixture(params=[(1280, 800), (390, 844)], ids=["desktop", "phone"])
def console(request, browser, product, signed_in) -> Iterator[Page]:
    """A page of the operator's; nothing may go wrong in its JavaScript console."""
    width, height = request.param
    complaints = []
    with browser.new_context(
        storage_state=signed_in,
        base_url=product.url,
        viewport={"width": width, "height": height},
        permissions=["clipboard-read", "clipboard-write"],
    ) as context:
        page = context.new_page()
        note_complaints(page, complaints)
        yield page
    assert not complaints


def is_accepted(product, key):
    return product.call("GET", "/v1/models", key).status == 200


def run_action(page, row_text, action):
    row = page.locator("#result_list tr", has_text=row_text)
    row.locator("input[name=_selected_action]").check()
    page.locator("select[name=action]").select_option(action)
    page.locator("button[name=index]").click()


def test_every_page_fits_the_screen(console):
    for path in PAGES:
        console.goto(f"/admin/{path}")

        overflow = "document.documentElement.scrollWidth > window.innerWidth"
        assert not console.evaluate(overflow), path


def test_a_key_is_copied_used_and_revoked(console, product, request):
    name = f"key of {request.node.name}"
    console.goto("/admin/controller/apikey/add/")
    console.locator("input[name=name]").fill(name)
    console.get_by_role("button", name="Save").click()
    console.get_by_role("button", name="Copy").first.click()
    expect(console.get_by_role("button", name="Copied")).to_be_visible()
    key = console.evaluate("navigator.clipboard.readText()")

    assert key == console.locator("#secret").inner_text()
    assert is_accepted(product, key)

    console.goto("/admin/controller/apikey/")
    run_action(console, name, "revoke")
    expect(console.get_by_text("A revoked key never works again.")).to_be_visible()
    assert is_accepted(product, key)
    console.get_by_role("button", name="Yes, go on").click()
    expect(console.get_by_text("1 key revoked.")).to_be_visible()
    wait_until(lambda: not is_accepted(product, key), "the key is refused", 2)


def test_an_announcement_is_put_away_in_the_console(console, request):
    text = f"Upgrade at noon, on a {request.node.callspec.id}"
    console.goto("/admin/controller/announcement/add/")
    console.locator("[name=text]").fill(text)
    console.get_by_role("button", name="Save", exact=True).click()
    line = console.get_by_role("status").filter(has_text=text)
    expect(line).to_be_visible()

    line.get_by_role("button", name="Put away").click()
    expect(line).to_have_count(0)

    console.reload()
    expect(console.locator("#result_list")).to_contain_text(text)
    expect(line).to_have_count(0)


def test_a_drained_worker_is_no_longer_dispatched_to(console, product):
    console.goto("/admin/controller/worker/")
    run_action(console, "mock-1", "drain")
    expect(console.get_by_text("1 worker: Drained.")).to_be_visible()
    expect(console.locator("#result_list")).to_contain_text("draining")
    wait_until(lambda: listed_models(product) == [], "it is not listed", 2)

    run_action(console, "mock-1", "resume")
    expect(console.get_by_text("1 worker: Resumed.")).to_be_visible()
    wait_until(lambda: listed_models(product) == ["mock-1"], "it is listed again", 2)
