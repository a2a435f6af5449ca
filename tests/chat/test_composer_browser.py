"""Where one writes, in a headless Chromium: picker, parameters, and what goes along."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.chat.pdfs import make_pdf
from tests.chat.test_attachments import PNG
from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, quick_product, set_up

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
PDF = make_pdf("About cats.")
MODELS = tuple(f"mock-{number}" for number in range(1, 9))


@pytest.fixture(scope="module")
def engine() -> Iterator[MockEngine]:
    with running_mock_engine(models=MODELS, tokens=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def seer() -> Iterator[MockEngine]:
    with running_mock_engine(models=("seer",), tokens=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def product(
    engine: MockEngine, seer: MockEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("composer")
    set_up(var_dir)
    with (
        quick_product(var_dir) as product,
        joined(product, engine),
        joined(product, seer, modalities=["text", "image"]),
    ):
        yield product


@pytest.fixture(autouse=True)
def patience() -> None:
    """Machines that run tests are busy."""
    expect.set_options(timeout=20_000)


def prompt(page: Page):
    return page.get_by_label("Message", exact=True)


def ask(page: Page, text: str) -> None:
    prompt(page).fill(text)
    send = page.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_enabled()
    send.click()


def answers(page: Page):
    return page.locator(".message-assistant .measures")


def last_body(engine: MockEngine) -> dict:
    return engine.requests()[-1].body


def open_setup(page: Page) -> None:
    page.get_by_role("button", name="Instructions and parameters").click()


@WIDTHS
def test_parameters_are_checked_in_words_kept_and_sent(open_page, engine, width):
    page = open_page("/", **width)
    open_setup(page)
    page.get_by_label("Instructions (system prompt)").fill("Be brief.")
    page.get_by_label("Temperature").fill("3")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("A number from 0 to 2.")).to_be_visible()
    expect(page.get_by_label("Temperature")).to_be_focused()

    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#setup")).to_be_hidden()
    ask(page, "hello")
    expect(answers(page)).to_have_count(1)
    assert last_body(engine)["temperature"] == 0.5
    assert last_body(engine)["messages"][0]["content"] == "Be brief."

    page.reload()
    open_setup(page)
    expect(page.get_by_label("Temperature")).to_have_value("0.5")
    page.get_by_role("button", name="Empty all").click()
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#setup")).to_be_hidden()
    ask(page, "again")
    expect(answers(page)).to_have_count(2)
    assert "temperature" not in last_body(engine)


def test_a_model_is_found_by_words_and_by_the_address(open_page):
    page = open_page("/?model=mock-3")
    expect(page.locator("#model-name")).to_have_text("mock-3")

    page.get_by_role("button", name="Model").click()
    search = page.get_by_role("searchbox", name="Find a model")
    expect(search).to_be_focused()
    search.fill("ock-7")
    expect(page.get_by_role("option")).to_have_count(1)
    expect(page.get_by_role("option")).to_contain_text("4,096 tokens of context")
    search.fill("nothing like it")
    expect(page.get_by_text("No model is found by these words.")).to_be_visible()
    search.fill("7")
    search.press("Enter")
    expect(page.locator("#model-name")).to_have_text("mock-7")


def file(name: str, content: bytes, kind: str = "text/plain") -> dict:
    return {"name": name, "mimeType": kind, "buffer": content}


def attach(page: Page, *files: dict) -> None:
    page.locator("#files").set_input_files(list(files))


def tray(page: Page):
    return page.locator("#tray .chip")


@WIDTHS
def test_documents_go_along_and_what_fits_is_told(open_page, engine, width):
    page = open_page("/", **width)
    attach(page, file("notes.py", b"print('hello')\n" * 40), file("a.pdf", PDF))
    expect(tray(page)).to_have_count(2)
    expect(page.locator("#fit")).to_contain_text("they fit")
    attach(page, file("long.txt", b"word " * 4000))
    expect(page.locator("#fit")).to_contain_text("the rest is left out")
    page.get_by_role("button", name="Remove long.txt").click()
    attach(page, file("program", b"\x7fELF\x00"))
    refused = page.locator(".chip.is-refused")
    expect(refused).to_contain_text("Only text and code in UTF-8")
    page.get_by_role("button", name="Remove program").click()
    expect(tray(page)).to_have_count(2)

    ask(page, "What is it?")

    expect(answers(page)).to_have_count(1)
    told = last_body(engine)["messages"][0]["content"]
    assert "print('hello')" in told
    assert "About cats." in told
    links = page.locator(".message-user .chip")
    expect(links).to_have_count(2)
    page.reload()
    expect(links).to_have_count(2)
    with page.expect_download() as download:
        links.first.click()
    assert download.value.suggested_filename == "notes.py"


def test_a_picture_is_not_sent_to_a_model_that_does_not_see(open_page, seer):
    page = open_page("/?model=mock-1")
    attach(page, file("cat.png", PNG, "image/png"))
    expect(page.locator("#fit")).to_contain_text("mock-1 does not see images")
    prompt(page).fill("Look.")
    prompt(page).press("Enter")
    expect(page.locator("#refusal")).to_contain_text("does not see images")
    expect(page.locator(".bubble")).to_have_count(0)

    page.get_by_role("button", name="Model").click()
    page.get_by_role("option", name="seer").click()
    expect(page.locator("#fit")).to_be_hidden()
    ask(page, "Look.")

    expect(answers(page)).to_have_count(1)
    parts = last_body(seer)["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    expect(page.locator(".message-user .chip-image")).to_have_js_property(
        "naturalWidth", 1
    )


PASTE = """([kind, content]) => {
    const data = new DataTransfer();
    if (kind === "text") data.setData("text/plain", content);
    else data.items.add(new File([content], "shot.txt", { type: "text/plain" }));
    const target = document.getElementById(kind === "drop" ? "stage" : "prompt");
    const event = kind === "drop"
      ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
      : new ClipboardEvent("paste", {
          clipboardData: data, bubbles: true, cancelable: true,
        });
    target.dispatchEvent(event);
}"""


def test_what_is_pasted_or_dropped_is_attached(open_page):
    page = open_page("/")

    page.evaluate(PASTE, ["file", "pasted"])
    expect(tray(page)).to_have_count(1)
    page.evaluate(PASTE, ["text", "long " * 2000])
    expect(tray(page).last).to_contain_text("Pasted text.txt")
    page.evaluate(PASTE, ["drop", "dropped"])
    expect(tray(page)).to_have_count(3)
    page.evaluate(PASTE, ["text", "short"])

    expect(tray(page)).to_have_count(3)
    for _ in range(3):
        page.get_by_role("button", name="Remove").first.click()
    expect(page.locator("#tray")).to_be_hidden()


def test_a_prompt_is_sent_when_its_files_are_there(open_page):
    page = open_page("/")
    held = []
    page.route("**/attachments/", lambda route: held.append(route))
    attach(page, file("notes.txt", b"notes"))
    expect(page.locator(".chip.is-going")).to_have_count(1)
    prompt(page).fill("What is it?")
    prompt(page).press("Enter")
    expect(prompt(page)).to_have_value("What is it?")
    expect(page.locator(".bubble")).to_have_count(0)

    held[0].continue_()

    expect(answers(page)).to_have_count(1)
    expect(page.locator(".message-user .chip")).to_contain_text("notes.txt")


def test_a_prompt_is_not_sent_without_the_file_that_it_waited_for(open_page):
    page = open_page("/")
    held: list[Route] = []
    page.route("**/attachments/", lambda route: held.append(route))
    attach(page, file("notes.txt", b"notes"))
    expect(page.locator(".chip.is-going")).to_have_count(1)
    prompt(page).fill("What is it?")
    prompt(page).press("Enter")

    held[0].fulfill(status=400, body="<html>from a proxy</html>")

    expect(page.locator(".chip.is-refused")).to_contain_text("That did not work.")
    expect(prompt(page)).to_have_value("What is it?")
    expect(page.locator(".bubble")).to_have_count(0)
    page.get_by_role("button", name="Remove notes.txt").click()
    expect(page.locator(".bubble")).to_have_count(0)
    prompt(page).press("Enter")
    expect(answers(page)).to_have_count(1)


def test_a_draft_is_kept_with_its_files_until_it_is_sent(open_page):
    page = open_page("/")
    prompt(page).fill("Half a thought")
    attach(page, file("notes.txt", b"notes"))
    expect(tray(page)).to_contain_text("about 2 tokens")

    page.reload()

    expect(prompt(page)).to_have_value("Half a thought")
    expect(tray(page)).to_contain_text("notes.txt")
    ask(page, "A whole thought")
    expect(answers(page)).to_have_count(1)
    page.goto("/")
    expect(page.locator("#model-name")).to_contain_text("mock")
    expect(prompt(page)).to_have_value("")
    expect(page.locator("#tray")).to_be_hidden()


def test_what_is_begun_in_a_temporary_chat_is_kept_nowhere(open_page):
    page = open_page("/?temporary")
    prompt(page).fill("Half a secret")

    page.goto("/")

    expect(page.get_by_role("link", name="Temporary chat")).to_be_visible()
    expect(prompt(page)).to_have_value("")
    assert "secret" not in page.evaluate("JSON.stringify({ ...localStorage })")


def test_a_refused_prompt_comes_first_where_another_one_was_begun(open_page):
    page = open_page("/")
    refused: list[tuple[WebSocketRoute, int]] = []

    def between(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def pass_on(text: str | bytes) -> None:
            message = json.loads(text)
            if message["type"] == "send" and not refused:
                refused.append((socket, message["ref"]))
            else:
                server.send(text)

        socket.on_message(pass_on)

    page.route_web_socket("**/ws/chat/", between)
    page.reload()
    ask(page, "one")
    prompt(page).fill("half of another")
    socket, ref = refused[0]
    error = {"type": "error", "ref": ref, "code": "too_many_questions", "message": ""}
    socket.send(json.dumps(error))

    expect(page.locator("#refusal")).to_contain_text("You ask faster")
    expect(page.locator("#queue li")).to_have_text("one")
    expect(prompt(page)).to_have_value("half of another")
    expect(page.locator(".bubble")).to_have_count(0)

    page.get_by_role("button", name="Send them").click()
    expect(answers(page)).to_have_count(1)
    expect(page.locator(".bubble")).to_have_text("one")


def test_prompts_wait_in_order_for_the_answer_to_end(open_page, engine):
    page = open_page("/")
    ask(page, "one [[tokens=5000 interval_ms=10]]")
    expect(page.locator(".answer").last).to_contain_text("t3")
    for text in ("two", "not this one", "three"):
        prompt(page).fill(text)
        prompt(page).press("Enter")
    waiting = page.locator("#queue li")
    expect(waiting).to_have_count(3)
    waiting.nth(1).get_by_role("button", name="Do not send").click()
    page.reload()
    expect(waiting).to_have_text(["two", "three"])

    page.get_by_role("button", name="Stop").click()

    expect(page.locator(".bubble")).to_have_text(
        ["one [[tokens=5000 interval_ms=10]]", "two", "three"]
    )
    expect(answers(page)).to_have_count(3)
    expect(page.locator("#queue")).to_be_hidden()


def test_what_waits_is_held_back_after_a_failure(open_page):
    page = open_page("/")
    ask(page, "one [[tokens=60 interval_ms=60 cut_after=40]]")
    expect(page.locator(".answer").last).to_contain_text("t3")
    prompt(page).fill("two")
    page.get_by_role("button", name="Send when the answer is complete").click()
    expect(page.locator("#queue")).to_contain_text("Held back")
    expect(page.locator(".bubble")).to_have_count(1)
    page.reload()
    expect(page.locator("#queue")).to_contain_text("Held back")

    page.get_by_role("button", name="Send them").click()

    expect(page.locator(".bubble")).to_have_count(2)
    expect(page.locator("#queue")).to_be_hidden()


def save_prompt(page: Page, name: str, text: str) -> None:
    page.goto("/saved/prompts/new/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


@WIDTHS
def test_a_saved_prompt_is_inserted_by_its_name_and_asks_for_its_variables(
    open_page, width
):
    page = open_page("/", **width)
    name = f"sum-{width['viewport']['width']}"
    save_prompt(page, name, "Sum up {{text}} for {{who}}, {{text}}!")
    page.goto("/")

    prompt(page).press_sequentially("/pro")
    expect(page.locator(".slash-option")).to_have_count(1)
    prompt(page).press("Tab")
    expect(prompt(page)).to_have_value("/prompt ")
    prompt(page).press_sequentially(name)
    expect(page.locator(".slash-option").first).to_contain_text("Yours")
    prompt(page).press("Enter")
    page.get_by_label("text", exact=True).fill("this")
    page.get_by_label("who", exact=True).fill("me")
    page.get_by_role("button", name="Insert").click()

    expect(prompt(page)).to_have_value("Sum up this for me, this!")
    expect(prompt(page)).to_be_focused()


def test_commands_do_what_they_say_and_are_never_sent(open_page, engine):
    page = open_page("/")
    prompt(page).press_sequentially("/model ock-4")
    expect(page.locator(".slash-option")).to_have_count(1)
    prompt(page).press("Enter")
    expect(page.locator("#model-name")).to_have_text("mock-4")

    prompt(page).fill("/system Speak like a pirate.")
    prompt(page).press("Enter")
    expect(page.locator("#open-setup")).to_have_class("icon-button open-setup is-set")
    prompt(page).fill("/model nothing like it")
    prompt(page).press("Enter")
    expect(prompt(page)).to_have_value("/model nothing like it")
    prompt(page).fill("/help")
    prompt(page).press("Enter")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".bubble")).to_have_count(0)

    ask(page, "/usr/bin is a folder")
    expect(answers(page)).to_have_count(1)
    messages = last_body(engine)["messages"]
    assert [each["content"] for each in messages] == [
        "Speak like a pirate.",
        "/usr/bin is a folder",
    ]
    prompt(page).fill("/new york is what?")
    prompt(page).press("Enter")
    expect(page.locator(".bubble").last).to_have_text("/new york is what?")


def test_a_preset_is_kept_from_the_panel_and_sets_up_another_chat(open_page):
    page = open_page("/?model=mock-2")
    open_setup(page)
    page.get_by_label("Temperature").fill("0.1")
    page.get_by_text("Keep these as a preset").click()
    page.get_by_label("Name of the preset").fill("cool")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text("It is kept.")).to_be_visible()
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.locator("#setup-name-error")).to_be_visible()

    page.goto("/")
    prompt(page).press_sequentially("/preset coo")
    expect(page.locator(".slash-option").first).to_contain_text("cool")
    prompt(page).press("Enter")
    expect(page.locator("#open-setup")).to_have_class("icon-button open-setup is-set")
    open_setup(page)
    expect(page.get_by_label("Temperature")).to_have_value("0.1")
    page.get_by_role("button", name="Empty all").click()
    page.get_by_label("Preset", exact=True).select_option(label="cool (Yours)")
    expect(page.get_by_label("Temperature")).to_have_value("0.1")


def test_the_list_of_shortcuts_opens_by_key_and_they_work(open_page):
    page = open_page("/")
    prompt(page).press("?")
    expect(prompt(page)).to_have_value("?")
    page.get_by_role("button", name="Instructions and parameters").focus()
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.get_by_label("The key ? alone opens this list").uncheck()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Instructions and parameters").focus()
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_hidden()

    page.keyboard.press("Control+Shift+M")
    expect(page.get_by_role("searchbox", name="Find a model")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+Y")
    expect(prompt(page)).to_be_focused()
    page.keyboard.press("Control+/")
    expect(page.locator("#shortcuts")).to_be_visible()


def test_the_list_of_shortcuts_has_every_key_of_messages(open_page):
    page = open_page("/")
    page.keyboard.press("Control+/")
    expect(page.get_by_role("heading", name="On a message")).to_be_visible()

    keys, listed = page.evaluate(
        """async () => {
            const { MESSAGE_KEYS } = await import("/static/chat/js/message_keys.js");
            const listed = document.querySelectorAll("#shortcuts [data-key]");
            return [
              Object.keys(MESSAGE_KEYS),
              [...listed].map((each) => each.dataset.key),
            ];
        }"""
    )

    assert sorted(listed) == sorted(keys)


@pytest.mark.parametrize("keys", [["Enter"], ["Enter", "Enter"]])
def test_what_is_entered_before_the_scripts_ran_is_sent(open_page, keys):
    page = open_page("/offline/")
    held: list[Route] = []
    page.route("**/js/page.js", lambda route: held.append(route))
    page.goto("/", wait_until="commit")
    prompt(page).click()
    page.keyboard.type("so early")
    for key in keys:
        page.keyboard.press(key)
    expect(prompt(page)).to_have_value("so early" + "\n" * len(keys))

    held.pop().continue_()

    expect(page.locator(".bubble")).to_have_text("so early")
    expect(page.locator(".message-assistant .answer")).to_have_text("t0 t1 t2 t3")


def test_what_is_written_before_the_scripts_ran_stays(open_page):
    page = open_page("/offline/")
    held: list[Route] = []
    page.route("**/js/page.js", lambda route: held.append(route))
    page.goto("/", wait_until="commit")
    prompt(page).click()
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")

    held.pop().continue_()

    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    expect(prompt(page)).to_have_value("one\ntwo")
    prompt(page).press("Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
