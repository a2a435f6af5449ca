"""The chat's pages with real engines: what is shown is what the engine said."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    WebSocketRoute,
    expect,
)

from chat.titles import title_in
from tests.chromium import DESKTOP, sign_in
from tests.product import wait_until
from tests.whole_line.lines import MODELS, Line

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]

TRANSFORMERS, VLLM = MODELS["transformers"], MODELS["vllm"]
STORY = "Tell me a story about a railway in the mountains."
PATIENCE = 120_000  # milliseconds; two engines share a machine's cores


@pytest.fixture(scope="module")
def signed_in(browser: Browser, line: Line) -> Any:
    return sign_in(browser, line.product)


class Network:
    """Between the pages and the product. Chromium's own way of being offline leaves
    sockets open that were."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._sockets: list[WebSocketRoute] = []
        self._is_cut = False
        context.route_web_socket("**/ws/chat/", self._bridge)

    def _bridge(self, socket: WebSocketRoute) -> None:
        if self._is_cut:
            socket.close(code=1001)
            return
        self._sockets.append(socket)
        socket.connect_to_server()

    def cut(self) -> None:
        self._is_cut = True
        self._context.set_offline(True)
        for socket in self._sockets:
            socket.close(code=1001)
        self._sockets.clear()

    def mend(self) -> None:
        self._is_cut = False
        self._context.set_offline(False)


@pytest.fixture
def context(browser, line, signed_in) -> Iterator[BrowserContext]:
    with browser.new_context(
        base_url=line.product.url, storage_state=signed_in, **DESKTOP
    ) as context:
        yield context


@pytest.fixture
def network(context) -> Network:
    return Network(context)


@pytest.fixture
def open_chat(context) -> Callable[..., Page]:
    """Opens a new chat with a model, whose answers are what it holds likeliest."""

    def opened(model: str, max_tokens: int) -> Page:
        page = context.new_page()
        page.goto(f"/?model={model}")
        page.get_by_role("button", name="Instructions and parameters").click()
        page.get_by_label("Temperature", exact=True).fill("0")
        page.get_by_label("Longest answer", exact=True).fill(str(max_tokens))
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("#setup")).to_be_hidden()
        return page

    return opened


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Send", exact=True).click()


def answers(page: Page) -> Locator:
    return page.locator(".message-assistant .answer")


def wait_for_words(page: Page, number: int) -> None:
    some = re.compile(rf"(\w+\W+){{{number}}}")
    expect(answers(page).last).to_contain_text(some, timeout=PATIENCE)


def settled(line: Line, page: Page, num_rows: int = 1, begun: str = "") -> Any:
    """The newest of so many answers in the page's conversation, once it is complete
    there and here, and has more text than it had `begun` with."""

    def row() -> dict[str, Any] | None:
        rows = rows_of(line, page)
        if len(rows) < num_rows or rows[-1]["state"] != "complete":
            return None
        return rows[-1] if rows[-1]["content"] != begun else None

    found = wait_until(row, "the whole answer", PATIENCE / 1000)
    expect(page.locator(".is-streaming")).to_have_count(0, timeout=PATIENCE)
    return found


def rows_of(line: Line, page: Page) -> list[dict[str, Any]]:
    conversation = page.url.rpartition("/c/")[2].strip("/").replace("-", "")
    return line.product.query(
        "SELECT * FROM chat_message WHERE role = 'assistant'"
        f" AND conversation_id = '{conversation}' ORDER BY created_at"
    )


def words_in(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def assert_shows(answer: Locator, text: str) -> None:
    """All its words and no others: the marks of Markdown are not on the page."""
    assert words_in(answer.inner_text()) == words_in(text)


def test_reload_second_tab_and_ten_seconds_offline_lose_and_repeat_nothing(
    line, open_chat, network
):
    pages = {TRANSFORMERS: open_chat(TRANSFORMERS, 200), VLLM: open_chat(VLLM, 40)}
    for page in pages.values():
        ask(page, STORY)
    for page in pages.values():
        wait_for_words(page, 5)
        page.reload()
        wait_for_words(page, 5)
    tabs = {model: page.context.new_page() for model in pages}
    for model, tab in tabs.items():
        tab.goto(pages[model].url)
        wait_for_words(tab, 8)

    network.cut()
    expect(page.get_by_text("You are offline")).to_be_visible()
    page.wait_for_timeout(10_000)  # what is tried here is the absence itself
    network.mend()

    for model, page in pages.items():
        row = settled(line, page)
        expect(tabs[model].locator(".is-streaming")).to_have_count(0)
        assert row["content"] == line.said_by(model)[-1]
        assert_shows(answers(page), row["content"])
        assert_shows(answers(tabs[model]), row["content"])
        assert len(words_in(row["content"])) > 20


def test_stop_ends_the_engines_work(line, open_chat):
    pages = {model: open_chat(model, 1500) for model in MODELS.values()}
    for page in pages.values():
        ask(page, STORY)
    for model, page in pages.items():
        wait_for_words(page, 5)
        wait_until(lambda model=model: line.running(model) == 1, "its heartbeat")

    for page in pages.values():
        page.get_by_role("button", name="Stop").click()

    for model, page in pages.items():
        expect(page.locator(".ending")).to_have_text("Stopped")
        line.wait_until_idle(model)
        [row] = rows_of(line, page)
        assert row["state"] == "stopped"
        assert line.said_by(model)[-1].startswith(row["content"])
        assert_shows(answers(page), row["content"])


def test_two_engines_side_by_side_then_another_model_then_the_rest_of_a_cut_answer(
    line, open_chat
):
    page = open_chat(TRANSFORMERS, 12)
    page.get_by_role("button", name="Side by side").click()
    for slot, model in zip(page.locator(".slot").all(), MODELS.values(), strict=True):
        slot.get_by_label("Model", exact=True).select_option(model)
        slot.get_by_text("Parameters").click()
        slot.get_by_label("Longest answer, in tokens").fill("16")
    page.get_by_role("button", name="Ask these").click()
    ask(page, STORY)
    columns = page.locator(".columns .message")
    expect(columns).to_have_count(2)
    settled(line, page, num_rows=2)
    rows = {row["model"]: row for row in rows_of(line, page)}
    for column, model in zip(columns.all(), MODELS.values(), strict=True):
        assert rows[model]["content"] == line.said_by(model)[-1]
        assert_shows(column.locator(".answer"), rows[model]["content"])
    columns.nth(1).get_by_role("button", name="Continue with this").click()
    expect(columns.nth(1)).to_have_class("message message-assistant is-chosen")
    page.get_by_role("button", name="Side by side").click()
    page.get_by_role("button", name="Ask one model only").click()

    ask(page, "Where does it go?")
    settled(line, page, num_rows=3)
    page.get_by_role("button", name="Regenerate with another model").last.click()
    page.get_by_role("menuitem", name=VLLM).click()
    again = settled(line, page, num_rows=4)
    expect(page.locator(".versions").last).to_have_text("2 / 2")
    assert again["model"] == VLLM
    assert again["content"] == line.said_by(VLLM)[-1]

    page.get_by_role("button", name="Continue", exact=True).last.click()
    whole = settled(line, page, num_rows=4, begun=again["content"])
    assert whole["content"] == again["content"] + line.said_by(VLLM)[-1]
    assert_shows(answers(page).last, whole["content"])


def test_who_waits_in_line_is_told_a_wait_that_comes_true(line, open_chat):
    page = open_chat(TRANSFORMERS, 8)

    def ask_by_api(_number: int) -> None:
        line.client().chat.completions.create(
            model=TRANSFORMERS,
            messages=[{"role": "user", "content": STORY}],
            max_tokens=80,
            extra_body={"ignore_eos": True},
        )

    with ThreadPoolExecutor(5) as threads:
        others = [threads.submit(ask_by_api, number) for number in range(5)]
        wait_until(lambda: sum(each.done() for each in others) >= 3, "three turns", 120)
        ask(page, "Hi")
        shown = page.locator(".message-assistant .waiting")
        expect(shown).to_contain_text(
            re.compile(r"Place \d of \d in line · about \d+ s")
        )
        began, told = time.monotonic(), shown.inner_text()
        expect(shown).to_have_count(0, timeout=PATIENCE)
        waited = time.monotonic() - began

    place, length, seconds = map(int, re.findall(r"\d+", told))
    print(f"{told}: {waited:.1f} s")
    assert place == 1 < length  # who chats comes before who sends many requests
    assert waited <= 4 * seconds + 2
    said = line.recorders[TRANSFORMERS].answer_to("Hi")
    assert settled(line, page)["content"] == said


def test_a_server_that_ends_in_mid_stream_makes_nothing_up(line, open_chat):
    # Long enough that neither has ended when the slower one begins to speak.
    pages = {TRANSFORMERS: open_chat(TRANSFORMERS, 60), VLLM: open_chat(VLLM, 120)}
    for page in pages.values():
        ask(page, STORY)
    for page in pages.values():
        wait_for_words(page, 4)
    line.product.process.send_signal(signal.SIGKILL)
    line.product.process.wait()
    begun = {model: line.said_by(model)[-1] for model in pages}
    line.start_again(CHAT_TITLES="1")

    rows = {}
    for model, page in pages.items():
        expect(page.locator(".card-interrupted")).to_be_visible(timeout=PATIENCE)
        [rows[model]] = rows_of(line, page)
        assert rows[model]["state"] == "interrupted"
        assert begun[model].startswith(rows[model]["content"])
        assert_shows(answers(page), rows[model]["content"])
    for page in pages.values():
        page.get_by_role("button", name="Continue").click()
    for model, page in pages.items():
        whole = settled(line, page, begun=rows[model]["content"])
        again = line.recorders[model].answer_to(STORY)
        assert whole["content"] == rows[model]["content"] + again
        assert_shows(answers(page), whole["content"])


def test_the_model_makes_the_title(line, open_chat):
    if line.settings.get("CHAT_TITLES") != "1":
        line.restart(CHAT_TITLES="1")
    page = open_chat(TRANSFORMERS, 16)
    question = "Which animals live in the sea?"
    ask(page, question)
    expect(page).to_have_title(f"{question} · Switchyard")

    expect(page).not_to_have_title(f"{question} · Switchyard", timeout=PATIENCE)

    said = line.recorders[TRANSFORMERS].answer_to("Write a title")
    expect(page).to_have_title(f"{title_in(said)} · Switchyard")
    expect(page.locator(".history [aria-current=page]")).to_have_text(title_in(said))
