"""Two people, two browsers, twenty conversations: nobody gets at another's by any
address, id or message, while an answer streams to each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import DESKTOP
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, wait_until

pytestmark = pytest.mark.browser

PASSWORD = "a bridge of eleven planks"
WORDS = {"ann": "amber", "bob": "cobalt"}
NUM_EACH = 10
MAKE_PEOPLE = f"""
from chat.answers import Draft, Ending, settle
from chat.conversations import begin_turn
from controller.models import User
for name, word in {WORDS!r}.items():
    user = User.objects.create_user(name, password={PASSWORD!r})
    for number in range({NUM_EACH} - 1):
        turn = begin_turn(user, None, "mock-1", f"{{word}} {{number}}")
        settle(turn.message_id, Draft(f"so {{word}}"), Ending("complete"))
"""
CALL = """async ([method, path, body]) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const headers = {"X-CSRFToken": token, "Content-Type": "application/json"};
    const sent = body === null ? {} : {body: JSON.stringify(body)};
    const answer = await fetch(path, {method, headers, ...sent});
    return [answer.status, await answer.text()];
}"""
# What a socket of the page hears when it says all this, until each has had its error;
# the list of models, which is told to every page, is left out.
SAY = """async (messages) => {
    const address = location.origin.replace("http", "ws") + "/ws/chat/";
    const socket = new WebSocket(address);
    const heard = [];
    await new Promise((resolve, reject) => {
        socket.onopen = () => {
            for (const each of messages) socket.send(JSON.stringify(each));
        };
        socket.onmessage = (event) => {
            const said = JSON.parse(event.data);
            if (said.type !== "models") heard.push(said);
            const errors = heard.filter((each) => each.type === "error");
            if (errors.length === messages.length) resolve();
        };
        socket.onclose = () => reject(new Error(JSON.stringify(heard)));
    });
    socket.onclose = null;
    socket.close();
    return heard.map((each) => [each.type, each.code]);
}"""


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with (
        running_mock_engine() as engine,
        quick_product(new_var_dir()) as running,
        joined(running, engine),
    ):
        made = running.manage("shell", "--command", MAKE_PEOPLE)
        assert made.returncode == 0, made.stdout
        yield running


@pytest.fixture
def pages(browser: Browser, product: Product) -> Iterator[dict[str, Page]]:
    """Each person's, signed in, with an answer that streams."""
    opened = {}
    for name, word in WORDS.items():
        page = browser.new_context(base_url=product.url, **DESKTOP).new_page()
        page.goto("/")
        page.get_by_label("Login").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        prompt = page.get_by_label("Message", exact=True)
        prompt.fill(f"{word} live [[tokens=5000 interval_ms=50]]")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator(".is-streaming")).to_have_count(1)
        opened[name] = page
    yield opened
    for page in opened.values():
        page.context.close()


def dashed(key: str) -> str:
    """A key as addresses have it; SQLite stores it without."""
    return "-".join([key[:8], key[8:12], key[12:16], key[16:20], key[20:]])


def rows_of(product: Product, name: str) -> list[dict[str, Any]]:
    """The person's messages, but for what a stream writes."""
    return product.query(
        "SELECT m.id, m.conversation_id AS conversation, m.role, m.state, m.rating,"
        " m.deleted_at, m.flagged_at, m.stop_requested_at, c.title, c.leaf_id,"
        " c.deleted_at AS gone, c.pinned_at, c.archived_at FROM chat_message m"
        " JOIN chat_conversation c ON c.id = m.conversation_id"
        " JOIN controller_user u ON u.id = c.user_id"
        f" WHERE u.username = '{name}' ORDER BY m.id"
    )


def call(page: Page, method: str, path: str, body: Any = None) -> tuple[int, str]:
    status, text = page.evaluate(CALL, [method, path, body])
    return status, text


def attempts_by_address(conversation: str) -> list[tuple[str, str, Any]]:
    one, some = {"conversation": conversation}, {"conversations": [conversation]}
    changes = [
        {"do": "rename", **one, "title": "x"},
        {"do": "pin", **some, "is_pinned": True},
        {"do": "archive", **some, "is_archived": True},
        {"do": "move", **some, "folder": None},
        {"do": "delete", **some},
        {"do": "restore", **some},
        {"do": "end_temporary", **one},
    ]
    return [
        ("GET", f"/c/{conversation}/", None),
        ("GET", f"/c/{conversation}/export.md", None),
        ("GET", f"/c/{conversation}/export.json", None),
        ("GET", f"/c/{conversation}/setup/", None),
        ("POST", "/library/api/share/", one),
        *(("POST", "/library/api/change/", change) for change in changes),
    ]


def attempts_by_socket(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Every message of the protocol that names what is somebody's."""
    conversation, message = dashed(row["conversation"]), dashed(row["id"])
    slots = [{"model": "mock-1"}, {"model": "mock-1"}]
    ask = {"model": "mock-1", "text": "x"}
    return [
        {"type": "attach", "conversation": conversation},
        {"type": "earlier", "conversation": conversation, "before": message},
        {"type": "send", "conversation": conversation, **ask},
        {
            "type": "compare",
            "conversation": conversation,
            "text": "x",
            "slots": slots,
        },
        {"type": "stop", "message": message},
        {"type": "retry", "message": message},
        {"type": "edit", "message": message, **ask},
        {"type": "continue", "message": message, "text": "x"},
        {"type": "choose", "message": message},
        {"type": "delete", "message": message},
        {"type": "restore", "message": message},
        {"type": "rate", "message": message, "rating": 1},
        {"type": "flag", "message": message},
        {"type": "vote", "prompt": message, "outcome": "tie"},
    ]


@pytest.mark.parametrize(("owner", "stranger"), [("ann", "bob"), ("bob", "ann")])
def test_nobody_gets_at_anothers_conversations(
    pages: dict[str, Page], product: Product, owner: str, stranger: str
):
    page, word = pages[stranger], WORDS[owner]
    before = rows_of(product, owner)
    conversations = {dashed(row["conversation"]) for row in before}
    assert len(conversations) >= NUM_EACH

    for conversation in conversations:
        for attempt in attempts_by_address(conversation):
            assert call(page, *attempt)[0] == 404, attempt
        links = call(page, "GET", f"/library/api/links/{conversation}/")
        assert links == (200, '{"links": []}')
    said = [message for row in before for message in attempts_by_socket(row)]
    heard = page.evaluate(SAY, said)

    assert heard == [["error", "not_found"]] * len(said)
    for path in (
        f"/library/api/search/?q={word}",
        "/library/api/conversations/",
        "/library/conversations.json",
        "/library/",
    ):
        status, text = call(page, "GET", path)
        assert (status, word in text) == (200, False), path
    assert f"so {word}" in call(pages[owner], "GET", "/library/conversations.json")[1]
    expect(page.locator("body")).not_to_contain_text(word)
    assert rows_of(product, owner) == before


def test_a_stop_of_ones_own_leaves_the_others_stream(
    pages: dict[str, Page], product: Product
):
    pages["bob"].get_by_role("button", name="Stop").click()
    expect(pages["bob"].locator(".is-streaming")).to_have_count(0)

    answer = pages["ann"].locator(".message-assistant .answer").last
    num_words = len(answer.inner_text().split())
    wait_until(
        lambda: len(answer.inner_text().split()) > num_words + 5, "more of the answer"
    )
    expect(pages["ann"].locator(".is-streaming")).to_have_count(1)
