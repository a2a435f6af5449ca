"""Two people, two browsers, twenty conversations: nobody gets at another's by any
address, id or message, while an answer streams to each of them.

Addresses, messages of the socket and changes of the library are found where they are
declared, so a new one cannot be forgotten: one that names what has no sample here fails
the test.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from django.urls import get_resolver
from playwright.sync_api import Browser, Page, expect

from chat import library_api, protocol
from tests.chat.test_accessibility_browser import PARAMETER, named_patterns
from tests.chromium import DESKTOP
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, wait_until

pytestmark = pytest.mark.browser

PASSWORD = "a bridge of eleven planks"
WORDS = {"ann": "amber", "bob": "cobalt"}
NUM_EACH = 10
MAKE_PEOPLE = f"""
from tests.chat.people import make_person
for name, word in {WORDS!r}.items():
    make_person(name, word, {PASSWORD!r}, {NUM_EACH} - 1)
"""
CALLS = """async (calls) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const headers = {"X-CSRFToken": token, "Content-Type": "application/json"};
    const answers = [];
    for (const [method, path, body] of calls) {
        const sent = body === null ? {} : {body: JSON.stringify(body)};
        const options = {method, headers, redirect: "manual", ...sent};
        const answer = await fetch(path, options);
        answers.push([answer.status, await answer.text()]);
    }
    return answers;
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
        quick_product(new_var_dir(), CHAT_MAX_QUESTIONS="10000") as running,
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


def call(page: Page, calls: list[tuple[str, str, Any]]) -> list[list[Any]]:
    """[status, text] of each of the page's calls; 0: the answer leads elsewhere."""
    return page.evaluate(CALLS, calls)


def samples_of(product: Product, name: str) -> dict[str, Any]:
    """What addresses and bodies name, of this person."""
    said = product.manage(
        "shell", "-c", f"from tests.chat.people import *; print_samples({name!r})"
    ).stdout
    found = re.search(r"samples (\{.*\})", said)
    assert found, said
    return json.loads(found[1])


# By what parameters name one thing, which here is another's.
PLAIN = {"kind", "show", "shelf"}
# Whoever has the secret or the id may read these: that is what they are for.
BEARER = {"chat:shared", "chat:receipt"}
# Lists that are empty for what is another's.
EMPTY = {"chat:links_of": '{"links": []}'}
METHODS = ("GET", "POST", "PUT", "DELETE")


def patterns() -> list[tuple[str, str]]:
    found = list(named_patterns(get_resolver("chat.urls").url_patterns, space="chat:"))
    assert len(found) > 40
    return found


def addresses_of(route: str, samples: dict[str, Any]) -> list[str]:
    """The route with every sample of each parameter in its place."""
    route = route.replace("^", "").replace("$", "").replace("\\.", ".")
    parameter = PARAMETER.search(route)
    if parameter is None:
        return ["/" + route]
    name = parameter[1] or parameter[2]
    assert name in samples, f"{route}: give a sample of {name} in tests/chat/people.py"
    values = samples[name] if isinstance(samples[name], list) else [samples[name]]
    return [
        address
        for value in values
        for address in addresses_of(
            route[: parameter.start()] + str(value) + route[parameter.end() :], samples
        )
    ]


def is_of_somebody(route: str) -> bool:
    return any((each[1] or each[2]) not in PLAIN for each in PARAMETER.finditer(route))


PLAIN_FIELDS = {
    "model": "mock-1",
    "text": "x",
    "slots": [{"model": "mock-1"}, {"model": "mock-1"}],
    "rating": 1,
    "outcome": "tie",
    "title": "x",
    "name": "x",
    "is_pinned": True,
    "is_archived": True,
    "link": 0,
}


def bodies_of(union: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
    """A body of every struct of the union that names somebody's, with the samples."""
    bodies = []
    for struct in get_args(union):
        body: dict[str, Any] = {}
        for each in msgspec.structs.fields(struct):
            known = samples | PLAIN_FIELDS
            is_named = each.name in samples
            assert is_named or each.name in PLAIN_FIELDS or not each.required, (
                f"{struct.__name__}: give a sample of {each.name}"
            )
            if each.name in known and (is_named or each.required):
                body[each.name] = known[each.name]
        config = struct.__struct_config__
        if body.keys() & samples.keys():
            bodies.append({config.tag_field: config.tag, **body})
    return bodies


@pytest.mark.parametrize(("owner", "stranger"), [("ann", "bob"), ("bob", "ann")])
def test_nobody_gets_at_anothers_conversations(
    pages: dict[str, Page], product: Product, owner: str, stranger: str
):
    page, word = pages[stranger], WORDS[owner]
    theirs, own = samples_of(product, owner), samples_of(product, stranger)
    rows = rows_of(product, owner)
    conversations = {dashed(row["conversation"]) for row in rows}
    assert len(conversations) >= NUM_EACH
    before = rows, belongings_of(product)

    # -- by address
    theirs["conversation_id"] = sorted(conversations)
    named = [
        (name, method, address)
        for name, route in patterns()
        if is_of_somebody(route) and name not in BEARER
        for address in addresses_of(route, theirs)
        for method in METHODS
    ]
    answers = call(
        page, [(method, path, body_for(method)) for _, method, path in named]
    )
    for (name, method, path), (status, text) in zip(named, answers, strict=True):
        is_empty = method == "GET" and status == 200 and EMPTY.get(name) == text
        assert status in (404, 405) or is_empty, (method, path, status)

    # -- by what a body names
    changes = [
        *bodies_of(
            library_api.Change,
            {
                "conversation": theirs["conversation"],
                "conversations": [theirs["conversation"]],
                "folder": theirs["folder"],
            },
        ),
        {"do": "move", "conversations": [theirs["conversation"]], "folder": None},
        {
            "do": "move",
            "conversations": [own["conversation"]],
            "folder": theirs["folder"],
        },
    ]
    assert {each["do"] for each in changes} >= {"rename_folder", "end_temporary"}
    calls = [("POST", "/library/api/change/", each) for each in changes]
    calls.append(
        ("POST", "/library/api/share/", {"conversation": theirs["conversation"]})
    )
    calls.append(("POST", "/library/api/revoke/", {"link": theirs["link"]}))
    for sent, (status, text) in zip(calls, call(page, calls), strict=True):
        assert status == 404, (sent, text)

    # -- by the socket
    said = [
        body
        for row in rows
        for body in bodies_of(protocol.AnyMessage, named_by_socket(row))
    ]
    assert {each["type"] for each in said} >= {"attach", "vote", "compare", "stop"}
    said += [
        {
            "type": "send",
            "model": "mock-1",
            "text": "x",
            "attachments": [theirs["attachment_id"]],
        },
        {
            "type": "vote",
            "prompt": own["prompt"],
            "outcome": "winner",
            "winner": theirs["answer"],
        },
        {
            "type": "earlier",
            "conversation": own["conversation"],
            "before": theirs["answer"],
        },
    ]
    heard = page.evaluate(SAY, said)
    assert heard == [["error", "not_found"]] * len(said)

    # -- in what is shown of everything
    shown = [
        ("GET", address, None)
        for name, route in patterns()
        if not is_of_somebody(route)
        for address in addresses_of(route, theirs)
    ]
    shown.append(("GET", f"/library/api/search/?q={word}", None))
    shown.append(
        ("GET", f"/library/api/conversations/?folder={theirs['folder']}", None)
    )
    for (_, path, _), (status, text) in zip(shown, call(page, shown), strict=True):
        assert status < 500, path
        assert word not in text, path
    [(status, text)] = call(
        pages[owner], [("GET", "/library/conversations.json", None)]
    )
    assert f"so {word}" in text
    expect(page.locator("body")).not_to_contain_text(word)
    assert (rows_of(product, owner), belongings_of(product)) == before


def body_for(method: str) -> Any:
    return {"title": "x"} if method in ("POST", "PUT") else None


def named_by_socket(row: dict[str, Any]) -> dict[str, Any]:
    message = dashed(row["id"])
    return {
        "conversation": dashed(row["conversation"]),
        "message": message,
        "before": message,
        "prompt": message,
    }


BELONGINGS = (
    "SELECT id, name FROM chat_folder",
    "SELECT id, conversation_id FROM chat_attachment",
    "SELECT id, revoked_at FROM chat_sharedlink",
    "SELECT id, name, system_prompt FROM chat_preset",
    "SELECT id, name, text FROM chat_savedprompt",
    "SELECT id, outcome, answers FROM chat_comparison",
    "SELECT id, revoked_at FROM controller_apikey",
    "SELECT id, state FROM controller_limitrequest",
    "SELECT id, role FROM controller_membership",
)


def belongings_of(product: Product) -> list[list[dict[str, Any]]]:
    """What everybody has besides conversations."""
    return [product.query(f"{each} ORDER BY id") for each in BELONGINGS]


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
