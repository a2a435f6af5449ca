"""Asking for more of a limit in a headless Chromium, and the answer in the console."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, manage, quick_product, set_up, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("limits")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(var_dir) as product,
        joined(product, engine),
    ):
        yield product


def make_key(product: Product, name: str, *flags: str) -> str:
    user = product.credentials.username
    said = manage(product.var_dir, "create_key", "--user", user, "--name", name, *flags)
    return said.stdout.split()[-1]


def line_of(page: Page, name: str):
    return page.locator(".key").filter(has_text=f"your key “{name}”")


def is_answered(product: Product, key: str) -> bool:
    content = {"model": "mock-1", "messages": [{"role": "user", "content": "Hi"}]}
    return product.call("POST", "/v1/chat/completions", key, content).status == 200


def test_what_an_operator_approves_acts_at_once_and_is_read_on_the_page(
    open_page, product
):
    key = make_key(product, "slow", "--rpm", "1")
    wait_until(lambda: is_answered(product, key), "the key's one request")
    assert not is_answered(product, key)

    home = open_page("/")
    home.locator("[data-menu-button][aria-controls=user-items]").click()
    link = home.get_by_role("link", name="Limits", exact=True)
    expect(link).to_have_attribute("href", "/limits/")
    page = open_page("/limits/")
    line_of(page, "slow").get_by_role("link", name="Ask for more").click()
    page.get_by_label("Wished amount").fill("900")
    page.get_by_label("What for").fill("the demo on Friday")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(line_of(page, "slow")).to_contain_text("You asked for 900.")

    console = open_page("/admin/controller/limitrequest/")
    console.locator("#result_list tbody th a").first.click()
    console.get_by_role("link", name="Approve").click()
    console.get_by_label("Amount").fill("500")
    console.get_by_label("Answer").fill("until Monday")
    console.get_by_role("button", name="Approve").click()
    expect(console.locator("#result_list")).to_contain_text("500")

    wait_until(lambda: is_answered(product, key), "the new limit")
    page.reload()
    expect(line_of(page, "slow")).to_contain_text("and were given 500.")
    expect(line_of(page, "slow")).to_contain_text("until Monday")


@pytest.mark.parametrize(
    "options",
    [DESKTOP, PHONE, {"color_scheme": "dark", "locale": "zh-CN"}],
    ids=["desktop", "phone", "dark and Chinese"],
)
def test_the_page_fits_the_screen(open_page, product, options):
    make_key(product, "bounded", "--tokens-per-day", "2000000")

    page = open_page("/limits/", **options)

    expect(page.locator("progress").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
