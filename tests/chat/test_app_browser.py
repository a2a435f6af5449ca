"""The site as an app: what its first page weighs, what is there without a network."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, running_product, set_up

pytestmark = pytest.mark.browser

LARGEST_FIRST_PAGE = 150_000


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("app")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=8) as engine,
        running_product(var_dir) as product,
        joined(product, engine),
    ):
        yield product


def installed(page: Page) -> None:
    """Return when the page's service worker holds what it keeps."""
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    # Not `wait_for_function`: where that waits, the page's policy forbids its `eval`.
    page.evaluate(
        """async () => {
            const workers = navigator.serviceWorker;
            if (workers.controller) return;
            await new Promise((resolve) => {
              workers.addEventListener("controllerchange", resolve, { once: true });
            });
        }"""
    )


def test_the_first_page_is_light_and_brings_no_heavy_renderer(open_page):
    page = open_page("/accounts/", service_workers="block")
    page.wait_for_load_state("networkidle")  # what comes late is not the first page's
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    weights: list[float] = []
    addresses: list[str] = []
    session.on(
        "Network.loadingFinished",
        lambda event: weights.append(event["encodedDataLength"]),
    )
    page.on("request", lambda request: addresses.append(request.url))

    page.goto("/", wait_until="networkidle")

    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    assert 20_000 < sum(weights) < LARGEST_FIRST_PAGE
    assert len(weights) == len(addresses)
    assert not re.search("katex|highlight/|mermaid", " ".join(addresses))
    # What scripts import is asked for at once, and nothing besides.
    links = page.locator("link[rel=modulepreload]")
    preloaded = links.evaluate_all("links => links.map((link) => link.href)")
    own = {each for each in addresses if "/chat/js/" in each}
    entries = {each for each in own if re.search("/(theme|install|page).js$", each)}
    assert set(preloaded) == own - entries
    assert len(preloaded) == len(set(preloaded)) > 50


def test_the_manifest_says_how_to_install_the_site(open_page):
    page = open_page("/")
    address = page.locator("link[rel=manifest]").get_attribute("href")
    manifest = page.request.get(address).json()

    assert manifest["start_url"] == manifest["scope"] == "/"
    sizes = {icon["sizes"] for icon in manifest["icons"]}
    assert {"192x192", "512x512"} <= sizes
    assert [each for each in manifest["icons"] if each.get("purpose") == "maskable"]
    for icon in manifest["icons"]:
        answer = page.request.get(icon["src"])
        assert answer.headers["content-type"].startswith(icon["type"])


def test_without_a_network_a_page_of_ours_says_so_and_comes_back_by_itself(
    browser, product, signed_in
):
    with browser.new_context(storage_state=signed_in, base_url=product.url) as context:
        page = context.new_page()
        page.goto("/")
        installed(page)
        context.set_offline(True)
        page.goto("/usage/")
        expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour != "rgba(0, 0, 0, 0)"  # its style sheet is there too

        context.set_offline(False)

        expect(page.get_by_role("heading", name="Usage").first).to_be_visible()
        assert page.url.endswith("/usage/")


def test_nothing_of_anybodys_is_kept_for_the_time_without_a_network(open_page):
    page = open_page("/")
    installed(page)
    page.get_by_label("Message", exact=True).fill("A private question")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".message-assistant .measures")).to_be_attached()
    page.reload()
    expect(page.locator(".message-assistant .measures")).to_be_attached()

    kept = page.evaluate(
        """async () => {
            const found = {};
            for (const name of await caches.keys()) {
              const cache = await caches.open(name);
              for (const request of await cache.keys()) {
                const answer = await cache.match(request);
                found[new URL(request.url).pathname] = await answer.text();
              }
            }
            return found;
        }"""
    )

    assert "/offline/" in kept
    assert all(path == "/offline/" or path.startswith("/static/") for path in kept)
    assert not any("private" in text or "admin" in text for text in kept.values())


@pytest.mark.parametrize(
    "path", ["/limits/", "/usage/", "/accounts/logout/", "/admin/"]
)
def test_going_to_another_page_by_a_click_leaves_the_console_clean(open_page, path):
    page = open_page("/")
    page.evaluate(
        """(path) => {
            const link = document.createElement("a");
            link.href = path;
            link.id = "go";
            link.textContent = "go";
            document.querySelector("main").prepend(link);
        }""",
        path,
    )

    page.locator("#go").click()

    page.wait_for_url(f"**{path}")
    page.wait_for_load_state("networkidle")


def test_static_files_and_pages_are_compressed_for_who_takes_it(product):
    accepting = {"Accept-Encoding": "gzip"}
    path = "/static/chat/vendor/marked/marked.esm.js"

    packed = product.call("GET", path, headers=accepting)
    plain = product.call("GET", path, headers={"Accept-Encoding": "identity"})
    page = product.call("GET", "/accounts/login/", headers=accepting)

    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert len(packed.body) < len(plain.body) / 2
    assert "content-encoding" not in plain.headers
    assert page.headers["content-encoding"] == "gzip"
