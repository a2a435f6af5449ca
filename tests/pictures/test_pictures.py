"""The pictures of README and docs: with SCREENSHOTS=1 they are taken anew.

Without it they go to a temporary folder, so that each scene is known to open.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import PHONE, sign_in
from tests.mock_engine import running_mock_engine
from tests.pictures import camera, texts
from tests.product import Product, joined, manage, quick_product

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LOW = {"viewport": {"width": 1280, "height": 560}}
HIGH = {"viewport": {"width": 1280, "height": 1080}}
WRITE = "from tests.pictures.scenes import write_all; write_all()"
CHAT = ["chat", "completions"]
# (model, its tasks, host, requests running and waiting)
WORKERS = (
    ("qwen3-32b", CHAT, "127.0.0.2", 21, 3),
    ("qwen3-32b", CHAT, "127.0.0.2", 17, 0),
    ("llama-3.1-8b", CHAT, "127.0.0.3", 6, 0),
    ("bge-m3", ["embeddings"], "127.0.0.3", 2, 0),
)


def load(running: int, waiting: int) -> dict[str, Any]:
    """What an engine under so much work reports: each request makes 30 tokens/s."""
    return {
        "running": running,
        "waiting": waiting,
        "kv_cache_usage": running / 30,
        "prefix_cache_queries_total": 41_000_000,
        "prefix_cache_hits_total": 26_200_000,
        "generation_tokens_total": int(30 * running * time.monotonic()),
    }


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    var_dir = new_var_dir()
    with (
        quick_product(var_dir, HEARTBEAT_INTERVAL="1") as product,
        ExitStack() as stack,
    ):
        for model, tasks, host, *requests in WORKERS:
            engine = stack.enter_context(
                running_mock_engine(models=(model,), host=host, context_length=32_768)
            )
            worker = joined(product, engine, "vllm", max_concurrency=64, tasks=tasks)
            stack.enter_context(worker).load = partial(load, *requests)
        written = manage(var_dir, "shell", "--verbosity=0", "-c", WRITE)
        assert written.returncode == 0, written.stdout
        yield product


@pytest.fixture(scope="module")
def states(browser: Browser, product: Product) -> dict[str, Any]:
    """Cookies: of the operator, who reads English, and of a reader of Chinese."""
    operator = sign_in(browser, product)
    with browser.new_context(base_url=product.url) as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Login").fill("mei")
        page.get_by_label("Password").fill("pictures-only")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Message", exact=True)).to_be_visible()
        return {"en-GB": operator, "zh-CN": context.storage_state()}


@pytest.fixture
def open_page(browser: Browser, product: Product, states: Any) -> Iterator[Any]:
    """Open a page as a device, colour scheme and language show it."""
    with ExitStack() as stack:

        def opened(
            path: str,
            scheme: str = "light",
            device: dict[str, Any] = DESKTOP,
            locale: str = "en-GB",
        ) -> Page:
            context = browser.new_context(
                base_url=product.url,
                storage_state=states[locale],
                color_scheme=scheme,
                locale=locale,
                reduced_motion="reduce",
                service_workers="block",
                **device,
            )
            page = stack.enter_context(context).new_page()
            page.goto(path)
            return page

        yield opened


@pytest.fixture
def take(tmp_path: Path) -> Callable[[Page, str], None]:
    """Save a picture, once its fonts and what is drawn late are there."""
    folder = camera.KEPT if camera.is_for_the_documentation() else tmp_path

    def taken(page: Page, name: str) -> None:
        camera.take_picture(page, folder / f"{name}.png")

    return taken


def address_of(product: Product, title: str) -> str:
    rows = product.query("SELECT id, title FROM chat_conversation")
    [found] = [row["id"] for row in rows if row["title"] == title]
    return f"/c/{uuid.UUID(found)}/"


def show_answer(page: Page) -> None:
    """Wait for what is drawn late, and begin at the beginning."""
    expect(page.locator(".formula").first).to_be_attached()
    expect(page.locator(".hljs-keyword").first).to_be_attached()
    page.locator("#scroller").evaluate("each => each.scrollTo(0, 0)")


@pytest.mark.parametrize(
    ("name", "scheme", "device", "locale", "title"),
    [
        ("chat-light", "light", DESKTOP, "en-GB", texts.TITLE),
        ("chat-dark-zh", "dark", DESKTOP, "zh-CN", texts.TITLE_ZH),
        ("chat-phone", "dark", PHONE, "en-GB", texts.TITLE),
        ("chat-phone-zh", "light", PHONE, "zh-CN", texts.TITLE_ZH),
    ],
)
def test_a_conversation(open_page, product, take, name, scheme, device, locale, title):
    page = open_page(address_of(product, title), scheme, device, locale)
    show_answer(page)
    take(page, name)


def test_answers_side_by_side(open_page, product, take):
    page = open_page(address_of(product, texts.COMPARED_TITLE), device=LOW)
    expect(page.locator(".columns .message")).to_have_count(2)
    expect(page.locator(".columns")).to_contain_text("talking stick")
    take(page, "side-by-side")


def test_search_finds_words(open_page, product, take):
    page = open_page(address_of(product, texts.TITLE), "dark")
    show_answer(page)
    page.get_by_role("searchbox", name="Search conversations").fill("index")
    expect(page.locator("#search-list li")).to_have_count(len(texts.SAID))
    take(page, "search")


def test_conversations_in_chinese(open_page, take):
    page = open_page("/library/", locale="zh-CN")
    expect(page.get_by_text(texts.TITLE_ZH)).to_be_visible()
    take(page, "library-zh")


def test_parameters_and_an_attachment(open_page, product, take):
    page = open_page(address_of(product, "Why is my query slow?"))
    plan = {"name": "plan.txt", "mimeType": "text/plain", "buffer": b"Seq Scan\n" * 400}
    page.locator("#files").set_input_files(plan)
    expect(page.locator("#fit")).to_contain_text("they fit")
    page.get_by_label("Message", exact=True).fill("Here is the plan. What do you see?")
    page.get_by_role("button", name="Instructions and parameters").click()
    expect(page.get_by_label("Temperature")).to_have_value("0.2")
    take(page, "parameters")


@pytest.mark.parametrize(
    ("name", "path", "scheme", "device", "locale"),
    [
        ("usage-zh", "/usage/?days=7", "light", DESKTOP, "zh-CN"),
        ("keys-phone", "/keys/", "light", PHONE, "en-GB"),
    ],
)
def test_ones_own_pages(open_page, take, name, path, scheme, device, locale):
    page = open_page(path, scheme, device, locale)
    expect(page.locator("h1").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    take(page, name)


@pytest.mark.parametrize(
    ("name", "scheme", "device", "language"),
    [
        ("console-dashboard", "light", HIGH, "en"),
        ("console-dashboard-phone", "dark", PHONE, "en"),
        ("console-dashboard-zh", "light", HIGH, "zh-hans"),
    ],
)
def test_the_consoles_first_page(open_page, take, name, scheme, device, language):
    page = open_page("/", scheme, device)
    # The operator's browser asks for English; what was picked goes before that.
    cookie = {"name": "django_language", "value": language, "url": page.url}
    page.context.add_cookies([cookie])
    page.goto("/admin/?days=7")
    expect(page.locator(".usage-plot canvas").first).to_be_attached()
    take(page, name)


def test_the_fleet(open_page, take):
    page = open_page("/admin/fleet/", "dark", HIGH)
    expect(page.locator(".fleet-card")).to_have_count(len(WORKERS))
    expect(page.locator("#fleet-link")).to_have_text("live")
    expect(page.locator(".fleet-card").first).not_to_contain_text("–")
    take(page, "console-fleet")


def test_adding_a_worker(open_page, take):
    page = open_page("/admin/fleet/add/", device=LOW)
    page.get_by_label("Model").fill("/models/Qwen3-32B")
    page.get_by_role("button", name="Make the command").click()
    expect(page.locator("#arrival")).to_contain_text("Nothing has used this token yet")
    take(page, "console-add-worker")


def test_a_rule_on_the_bench(open_page, take):
    page = open_page("/admin/controller/moderationrule/")
    page.get_by_role("link", name="Unreleased products").click()
    page.locator("[name=trial_text]").fill("What is new in project falcon?")
    page.get_by_role("button", name="Try on this text").click()
    expect(page.locator(".trial-match")).to_be_visible()
    page.locator("[name=trial_text]").scroll_into_view_if_needed()
    take(page, "console-rule")


def test_the_review_queue(open_page, take):
    page = open_page("/admin/controller/moderationflag/", "dark")
    expect(page.locator("#result_list")).to_contain_text("Unreleased products")
    take(page, "console-review")


def test_a_models_page(open_page, take):
    page = open_page("/admin/controller/servedmodel/", device=HIGH)
    page.get_by_role("link", name="qwen3-32b", exact=True).click()
    expect(page.get_by_text("How it is asked")).to_be_visible()
    take(page, "console-model")
