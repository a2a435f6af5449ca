"""A page of another origin calls `/v1` from a real browser, as OpenAI's client does."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.mock_engine import MockEngine
from tests.product import Product, joined, manage, quick_product

pytestmark = pytest.mark.browser

# What the client of npm's `openai` sends: a JSON body, the key, and headers of its own.
CALL = """
async ([base, key, stream]) => {
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: "POST",
    headers: {
      accept: "application/json",
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "x-stainless-arch": "unknown",
      "x-stainless-lang": "js",
      "x-stainless-os": "Unknown",
      "x-stainless-package-version": "6.0.0",
      "x-stainless-retry-count": "0",
      "x-stainless-runtime": "browser:chrome",
      "x-stainless-timeout": "600",
    },
    body: JSON.stringify({
      model: "mock-1", stream, messages: [{ role: "user", content: "Hi" }],
    }),
  }).catch((error) => ({ error: String(error) }));
  if (response.error) return response;
  return {
    status: response.status,
    id: response.headers.get("x-request-id"),
    text: await response.text(),
  };
}
"""


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web site that is not ours, by any name of this machine."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title>")
    handler = partial(Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def product(
    engine: MockEngine, new_var_dir: Callable[[], Path], site: int
) -> Iterator[Product]:
    flag = f"--allowed-origins=http://127.0.0.1:{site},http://*.localhost:{site}"
    with quick_product(new_var_dir(), flag) as product, joined(product, engine):
        yield product


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


@pytest.mark.parametrize("host", ["127.0.0.1", "app.localhost"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_page_of_an_allowed_site_reads_the_answer(
    product: Product, page: Page, site: int, host: str, stream: bool
):
    page.goto(f"http://{host}:{site}/")

    answer = page.evaluate(CALL, [product.url, product.credentials.api_key, stream])

    assert answer["status"] == 200
    assert ("data: [DONE]" in answer["text"]) is stream
    assert len(answer["id"]) == 24


def test_a_page_of_an_allowed_site_reads_a_refusal(
    product: Product, page: Page, site: int
):
    page.goto(f"http://127.0.0.1:{site}/")

    answer = page.evaluate(CALL, [product.url, "sy-wrong", False])

    assert answer["status"] == 401
    assert "invalid_api_key" in answer["text"]


@pytest.mark.parametrize("host", ["localhost", "a.b.localhost"])
def test_a_page_of_another_site_reads_nothing_and_calls_nothing(
    product: Product, engine: MockEngine, page: Page, site: int, host: str
):
    page.goto(f"http://{host}:{site}/")
    num_before = len(engine.requests())

    answer = page.evaluate(CALL, [product.url, product.credentials.api_key, False])

    assert "Failed to fetch" in answer["error"]
    assert len(engine.requests()) == num_before  # the preflight already failed


def test_a_publishable_key_works_on_its_own_site_alone(
    product: Product, page: Page, site: int
):
    origin = f"http://app.localhost:{site}"
    command = f"create_key --user admin --name page --publishable --origins {origin}"
    key = manage(product.var_dir, *command.split()).stdout.split()[-1]

    statuses = []
    for host in ("app.localhost", "other.localhost"):
        page.goto(f"http://{host}:{site}/")
        statuses.append(page.evaluate(CALL, [product.url, key, False])["status"])

    assert statuses == [200, 403]
