"""The whole site below /switchyard/, behind a reverse proxy that takes that off."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import DESKTOP, note_complaints
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, running_product, set_up
from tests.proxies import PrefixProxy, running_proxy
from tests.servers import free_port

pytestmark = pytest.mark.browser

PREFIX = "/switchyard"
PATIENCE = 20_000


@pytest.fixture(scope="module")
def product_and_proxy(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Product, PrefixProxy, str]]:
    var_dir = tmp_path_factory.mktemp("prefix")
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    # A worker speaks to the product itself, which answers with and without the prefix.
    env = {"ROOT_PATH": PREFIX, "PUBLIC_URL": site, "TRUSTED_PROXIES": "127.0.0.1"}
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=8) as engine,
        running_product(var_dir, env=env) as product,
        joined(product, engine),
        running_proxy(product.url, PREFIX, port) as proxy,
    ):
        yield product, proxy, site


@pytest.fixture
def page(
    browser: Browser, product_and_proxy: tuple[Product, PrefixProxy, str]
) -> Iterator[Page]:
    """A page of the site, signed in at the form; its console must stay clean."""
    product, _, site = product_and_proxy
    complaints: list[str] = []
    with browser.new_context(base_url=site, **DESKTOP) as context:
        page = context.new_page()
        note_complaints(page, complaints)
        page.goto(f"{PREFIX}/")
        page.get_by_label("Login").fill(product.credentials.username)
        page.get_by_label("Password").fill(product.credentials.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Message", exact=True)).to_be_visible()
        yield page
    assert not complaints


def test_sign_in_chat_and_all_pages_work_below_a_prefix(page, product_and_proxy):
    product, proxy, site = product_and_proxy
    assert page.url == f"{site}{PREFIX}/"

    page.get_by_label("Message", exact=True).fill("Where am I?")
    page.get_by_role("button", name="Send", exact=True).click()
    answer = page.locator(".message-assistant").last
    expect(answer.locator(".measures")).to_be_attached(timeout=PATIENCE)
    assert f"{PREFIX}/c/" in page.url
    page.reload()
    expect(answer.locator(".measures")).to_be_attached(timeout=PATIENCE)
    for path in ("keys/", "limits/", "usage/", "accounts/email/", "admin/"):
        assert page.goto(f"{PREFIX}/{path}").status == 200
        expect(page.locator("h1").first).to_be_visible()

    page.goto(f"{PREFIX}/keys/")
    expect(page.locator("body")).to_contain_text(f"{site}{PREFIX}/v1")
    key = {"Authorization": f"Bearer {product.credentials.api_key}"}
    models = page.request.get(f"{PREFIX}/v1/models", headers=key).json()["data"]
    assert [model["id"] for model in models] == ["mock-1"]
    assert proxy.strays == []


def test_heavy_renderers_and_the_app_work_below_a_prefix(page, product_and_proxy):
    _, proxy, site = product_and_proxy
    page.evaluate(
        """async ([prefix, text]) => {
            const { Markdown } = await import(`${prefix}/static/chat/js/markdown.js`);
            new Markdown(document.getElementById("transcript")).show(text, true);
        }""",
        [
            PREFIX,
            "$$x^2$$\n\n```python\ndef f(): pass\n```\n\n"
            "```mermaid\nflowchart LR\n  A --> B\n```\n",
        ],
    )

    expect(page.locator(".formula-display")).to_be_attached(timeout=PATIENCE)
    expect(page.locator(".hljs-keyword").first).to_be_attached(timeout=PATIENCE)
    expect(page.get_by_role("img", name="Diagram")).to_be_visible(timeout=30_000)
    scope = page.evaluate("navigator.serviceWorker.ready.then(({ scope }) => scope)")
    assert scope == f"{site}{PREFIX}/"
    manifest = page.request.get(f"{PREFIX}/manifest.webmanifest").json()
    assert manifest["start_url"] == f"{PREFIX}/"
    assert proxy.strays == []
