"""The pages of usage in a headless Chromium, phone and desktop wide."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, set_up, wait_until

pytestmark = pytest.mark.browser

EACH = pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/usage/", DESKTOP),
        ("/usage/", PHONE),
        ("/usage/", {"color_scheme": "dark", "locale": "zh-CN"}),
        ("/admin/usage/", DESKTOP),
        ("/admin/usage/", PHONE),
    ],
)
HAS_INK = """canvas => {
  const all = [0, 0, canvas.width, canvas.height];
  const { data } = canvas.getContext("2d").getImageData(...all);
  const [r, g, b] = getComputedStyle(
    canvas.closest("figure").querySelector("[data-series]")).color.match(/[\\d.]+/g);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    found += data[at] == r && data[at + 1] == g && data[at + 2] == b;
  return found;
}"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("usage")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(var_dir) as product,
        joined(product, engine),
    ):
        product.chat()
        wait_until(product.ledger, "a ledger row")
        yield product


@EACH
def test_the_page_fits_and_its_plots_are_drawn(open_page, path, options):
    page = open_page(path, **options)

    expect(page.locator("figure canvas")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if path == "/usage/":  # whose colours are plain ones
        assert page.locator("figure canvas").first.evaluate(HAS_INK) > 50


def test_the_day_under_the_pointer_is_read_out(open_page):
    page = open_page("/usage/?days=7")
    plot = page.locator("figure .u-over").first
    box = plot.bounding_box()

    plot.hover(position={"x": box["width"] - 5, "y": 20})

    expect(page.locator("[data-readout]").first).to_contain_text("Prompt tokens 1 ")


def test_the_file_is_downloaded(open_page):
    page = open_page("/usage/")

    with page.expect_download() as download:
        page.get_by_role("link", name="Every request as CSV").click()

    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("time,request_id,")
    assert "mock-1" in lines[1]
