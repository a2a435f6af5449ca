"""The pages of API keys in a headless Chromium, phone and desktop wide."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, set_up, wait_until

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("keys")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(var_dir) as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture
def open_keys(open_page):
    """Open the list of keys, on which secrets can be copied."""
    clipboard = ("clipboard-read", "clipboard-write")
    return partial(open_page, "/keys/", clipboard)


def create(page: Page, name: str) -> str:
    """The secret of a key that was made by the form."""
    page.get_by_text("Create a key", exact=True).click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create the key").click()
    return page.locator("#secret").inner_text()


def key_named(page: Page, name: str):
    return page.locator(".key").filter(has=page.get_by_role("heading", name=name))


def status_with(product: Product, secret: str) -> int:
    return product.call("GET", "/v1/models", secret).status


def is_as_wide_as_its_window(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@WIDTHS
def test_a_key_is_made_copied_rotated_and_revoked(open_keys, product, width):
    page = open_keys(**width)
    name = f"laptop {width['viewport']['width']}"
    first = create(page, name)
    assert is_as_wide_as_its_window(page)

    page.locator(".secret").get_by_role("button", name="Copy").click()
    expect(page.locator(".secret").get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == first
    assert status_with(product, first) == 200

    key_named(page, name).get_by_role("link", name="Rotate").click()
    page.get_by_role("button", name="Rotate").click()
    second = page.locator("#secret").inner_text()
    assert (status_with(product, first), status_with(product, second)) == (200, 200)
    assert is_as_wide_as_its_window(page)

    page.goto("/keys/")
    expect(page.get_by_text(second)).to_have_count(0)
    expect(key_named(page, name)).to_contain_text("rotating")
    key_named(page, name).get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    for secret in (first, second):
        expect_refused(product, secret)


def expect_refused(product: Product, secret: str) -> None:
    wait_until(lambda: status_with(product, secret) == 401, "the refusal", seconds=1)


def test_the_examples_are_shown_one_at_a_time_by_arrow_keys_too(open_keys):
    page = open_keys()
    secret = create(page, "examples")
    panels = page.locator(".snippet")
    expect(panels.nth(0)).to_be_visible()
    expect(panels.nth(1)).to_be_hidden()

    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(panels.nth(0)).to_be_hidden()
    expect(panels.nth(1)).to_contain_text(f'api_key="{secret}"')
    page.locator(".snippet:visible").get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("# pip install openai")


def test_a_key_is_made_by_keyboard_alone(open_keys):
    page = open_keys()
    page.locator(".fold > summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")

    expect(
        page.get_by_role("heading", name="The secret of “by keyboard”")
    ).to_be_focused()


def test_the_pages_wear_the_chosen_colours(open_keys):
    light = open_keys(color_scheme="light")
    dark = open_keys(color_scheme="dark")
    chosen = open_keys(color_scheme="light")
    chosen.evaluate("localStorage.setItem('switchyard.theme', 'dark')")
    chosen.reload()

    colours = [
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        for page in (light, dark, chosen)
    ]

    assert colours[0] != colours[1] == colours[2]


def test_the_python_example_works_as_it_stands(open_keys, product, tmp_path):
    page = open_keys()
    create(page, "python")
    script = tmp_path / "example.py"
    script.write_text(page.locator("#snippet-python").text_content())

    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "t0 t1 t2 t3\n"


def test_the_curl_example_works_as_it_stands(open_keys, product):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    page = open_keys()
    create(page, "curl")
    command = page.locator("#snippet-curl").text_content()

    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True)

    assert '"content":"t0 t1 t2 t3"' in ran.stdout.replace(": ", ":")
