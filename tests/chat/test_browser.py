"""The pages in a headless Chromium, phone and desktop wide, against a live `serve`."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.chromium import DESKTOP, PHONE, sign_in
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, running_product, set_up

pytestmark = pytest.mark.browser

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def product_and_engine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Product, MockEngine]]:
    var_dir = tmp_path_factory.mktemp("browser")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1", "mock-2"), tokens=8) as engine,
        running_product(var_dir) as product,
        joined(product, engine),
    ):
        yield product, engine


@pytest.fixture(scope="module")
def product(product_and_engine: tuple[Product, MockEngine]) -> Product:
    return product_and_engine[0]


@pytest.fixture
def engine(product_and_engine: tuple[Product, MockEngine]) -> MockEngine:
    product_and_engine[1].reset()
    return product_and_engine[1]


def ask(page: Page, text: str) -> None:
    prompt = page.get_by_label("Message", exact=True)
    prompt.fill(text)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Send", exact=True).click()


def last_answer(page: Page):
    return page.locator(".message-assistant").last


def words(count: int) -> str:
    return " ".join(f"t{number}" for number in range(count))


@WIDTHS
def test_a_question_is_answered_and_kept_under_an_address_of_its_own(
    open_page, engine, width
):
    page = open_page("/", **width)
    ask(page, "What is a switchyard?")

    expect(last_answer(page).locator(".answer")).to_have_text(words(8))
    expect(last_answer(page).locator(".measures")).to_contain_text("8 tokens")
    assert "/c/" in page.url
    expect(page).to_have_title("What is a switchyard? · Switchyard")

    page.reload()
    expect(last_answer(page).locator(".answer")).to_have_text(words(8))
    current = page.locator(".history [aria-current=page]")
    expect(current).to_have_text("What is a switchyard?")


@WIDTHS
def test_a_reload_in_mid_stream_loses_and_repeats_nothing(open_page, engine, width):
    page = open_page("/", **width)
    ask(page, "go on [[tokens=60 interval_ms=25]]")
    expect(last_answer(page)).to_contain_text("t9")

    page.reload()

    expect(last_answer(page)).to_contain_text("t10")
    expect(last_answer(page).locator(".answer")).to_have_text(words(60))


def test_a_lost_connection_is_made_again_and_the_stream_goes_on(open_page, engine):
    page = open_page("/")
    sockets = []

    def between(socket):
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket("**/ws/chat/", between)
    page.reload()
    ask(page, "go on [[tokens=60 interval_ms=80]]")
    expect(last_answer(page)).to_contain_text("t9")

    sockets[-1].close(code=1001)

    expect(last_answer(page).locator(".answer")).to_have_text(words(60))
    assert len(sockets) == 2


def test_a_question_asked_before_the_page_is_connected_is_sent_when_it_is(
    open_page, engine
):
    page = open_page("/")
    sockets = []

    def refused_once(socket):
        sockets.append(socket)
        if len(sockets) == 1:
            socket.close(code=1001)
        else:
            socket.connect_to_server()

    page.route_web_socket("**/ws/chat/", refused_once)
    page.reload()
    page.get_by_label("Message", exact=True).fill("Too early?")
    page.keyboard.press("Enter")

    expect(last_answer(page).locator(".answer")).to_have_text(words(8))


HANGING_ONCE = """
    let numHanging = 1;
    window.WebSocket = new Proxy(WebSocket, {
      construct(Socket, values) {
        if (numHanging-- <= 0) return new Socket(...values);
        return { readyState: Socket.CONNECTING, close() {} };
      },
    });
"""


def test_a_connection_that_never_opens_is_given_up_for_another_one(open_page, engine):
    page = open_page("/")
    page.clock.install()
    page.add_init_script(HANGING_ONCE)
    page.reload()
    page.get_by_label("Message", exact=True).fill("Anybody there?")
    page.keyboard.press("Enter")

    page.clock.fast_forward(12_000)

    expect(last_answer(page).locator(".answer")).to_have_text(words(8))


def test_stop_ends_the_answer_here_and_in_the_engine(open_page, engine):
    page = open_page("/")
    ask(page, "go on [[tokens=5000 interval_ms=10]]")
    expect(last_answer(page)).to_contain_text("t5")

    page.get_by_role("button", name="Stop").click()

    expect(last_answer(page).locator(".ending")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    engine.wait_for(cancelled=1)


def test_a_stop_without_a_connection_is_sent_when_there_is_one(open_page, engine):
    page = open_page("/")
    sockets: list[WebSocketRoute] = []

    def through(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.context.route_web_socket("**/ws/chat/", through)
    page.reload()
    ask(page, "go on [[tokens=5000 interval_ms=10]]")
    expect(last_answer(page)).to_contain_text("t5")

    sockets[-1].close()
    # At once: it comes back after 0.2 s.
    page.get_by_role("button", name="Stop").evaluate("button => button.click()")

    expect(last_answer(page).locator(".ending")).to_have_text("Stopped")
    engine.wait_for(cancelled=1)


def test_a_second_tab_sees_the_first_ones_question_and_answer(open_page, engine):
    first = open_page("/")
    ask(first, "one")
    expect(last_answer(first).locator(".measures")).to_be_attached()
    second = open_page(first.url)

    ask(first, "two [[tokens=30 interval_ms=20]]")

    expect(second.locator(".bubble").last).to_contain_text("two")
    expect(last_answer(second).locator(".answer")).to_have_text(words(30))


def test_a_failure_is_said_in_words_and_can_be_tried_again(open_page, engine):
    page = open_page("/")
    ask(page, "word " * 5000)
    card = last_answer(page).locator(".card")
    expect(card).to_contain_text("longer than this model can read")

    card.get_by_role("button", name="Try again").click()

    expect(last_answer(page).locator(".card")).to_contain_text("longer than")
    expect(page.locator(".message-assistant")).to_have_count(1)


def test_thinking_is_shown_before_the_first_token_and_nothing_jumps(open_page, engine):
    page = open_page("/")
    page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver((list) => {
              for (const entry of list.getEntries()) window.shifts += entry.value;
            }).observe({ type: "layout-shift", buffered: true });
        }"""
    )
    ask(page, "hm [[first_ms=700 tokens=200 interval_ms=2]]")
    expect(last_answer(page).locator(".thinking")).to_be_visible()
    expect(last_answer(page).locator(".answer")).to_have_text(words(200))

    assert page.evaluate("window.shifts") < 0.02


def test_the_reader_who_scrolls_up_is_left_in_peace_and_finds_back(open_page, engine):
    page = open_page("/", viewport={"width": 1000, "height": 420})
    ask(page, "go on [[tokens=1500 interval_ms=3]]")
    expect(last_answer(page)).to_contain_text("t400 ")
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -400)
    jump = page.get_by_role("button", name="Jump to the latest message")
    expect(jump).to_be_visible()
    top = page.evaluate("document.getElementById('scroller').scrollTop")

    expect(last_answer(page)).to_contain_text("t900 ")
    assert page.evaluate("document.getElementById('scroller').scrollTop") == top

    jump.click()
    expect(jump).to_be_hidden()
    expect(last_answer(page)).to_contain_text("t1499")
    assert page.evaluate(
        "() => { const s = document.getElementById('scroller');"
        " return s.scrollHeight - s.scrollTop - s.clientHeight < 2; }"
    )


def test_the_model_is_picked_by_keyboard_and_answers(open_page, engine):
    page = open_page("/")
    page.get_by_role("button", name="Model").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#model-name")).to_have_text("mock-2")

    page.get_by_label("Message", exact=True).fill("hello")
    page.keyboard.press("Enter")

    expect(last_answer(page).locator(".byline")).to_have_text("mock-2")
    expect(last_answer(page).locator(".answer")).to_have_text(words(8))


WRITTEN_IN = (
    "input:not([type=hidden], [type=checkbox], [type=radio], [type=file]),"
    " textarea, select"
)


def test_a_phone_does_not_zoom_into_the_page_when_one_writes_there(open_page):
    """Some do where letters are smaller than 16 pixels."""
    page = open_page("/", **PHONE)

    sizes = page.locator(WRITTEN_IN).evaluate_all(
        "fields => fields.map((each) => parseFloat(getComputedStyle(each).fontSize))"
    )

    assert len(sizes) > 5
    assert min(sizes) >= 16


def test_a_phone_shows_nothing_sideways_and_its_drawer_opens_and_closes(open_page):
    page = open_page("/", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    link = page.get_by_role("link", name="New chat").first

    page.get_by_role("button", name="Show conversations").click()
    expect(link).to_be_in_viewport()

    page.touchscreen.tap(380, 400)
    expect(link).not_to_be_in_viewport()


def test_a_long_models_name_makes_room_for_the_buttons_of_a_phone(open_page):
    page = open_page("/", **PHONE)
    page.locator("#model-name").evaluate(
        "name => { name.textContent = 'a-model-with-a-long-name-0.5b-instruct'; }"
    )

    name = page.locator("#model-button").bounding_box()
    beside = page.get_by_role("button", name="Side by side").bounding_box()
    assert name["x"] + name["width"] <= beside["x"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#model-button").tap()
    menu = page.locator("#model-picker .menu-items").bounding_box()
    assert 0 <= menu["x"] < menu["x"] + menu["width"] <= 390


def test_theme_and_language_are_chosen_and_stay(open_page):
    page = open_page("/")
    page.locator(".user-button").click()
    page.get_by_role("button", name="Dark").click()
    page.get_by_role("button", name="简体中文").click()

    expect(page.get_by_role("link", name="新对话").first).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == (
        "dark"
    )


HOSTILE = """# Title

<script>window.hit = 1</script> <img src=x onerror="window.hit = 1">
<svg onload="window.hit = 1"></svg><iframe src="javascript:parent.hit = 1"></iframe>

[one](javascript:window.hit=1) [two](JaVaScRiPt:window.hit=1)
[three](data:text/html,<script>parent.hit=1</script>) [fine](https://example.com)
![seen](https://evil.example/pixel.png "x\\" onerror=window.hit=1")

| a | b |
|:--|--:|
| <b onclick="window.hit=1">x</b> | 2 |

```html
<script>window.hit = 1</script>
```

- [x] done
- [ ] open

1. first
2. second

> <style>body { display: none }</style> quoted
"""


def test_hostile_markdown_harms_nothing_and_streams_to_the_same_page(open_page):
    """Shown whole and in steps of seven characters, the result is the same."""
    page = open_page("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    whole, grown, num_differing = page.evaluate(
        """async (text) => {
            const { Markdown } = await import("/static/chat/js/markdown.js");
            const make = () => document.body.appendChild(document.createElement("div"));
            const [one, two] = [make(), make()];
            new Markdown(one).show(text, true);
            const growing = new Markdown(two);
            let differing = 0;
            for (let at = 1; at < text.length; at += 7) {
              growing.show(text.slice(0, at), false);
              const fresh = document.createElement("div");
              new Markdown(fresh).show(text.slice(0, at), false);
              if (fresh.innerHTML !== two.innerHTML) differing += 1;
            }
            growing.show(text, true);
            for (const link of one.querySelectorAll("a")) link.click();
            await new Promise((resolve) => setTimeout(resolve, 200));
            return [one.innerHTML, two.innerHTML, differing];
        }""",
        HOSTILE,
    )

    assert whole == grown
    assert num_differing == 0
    assert page.evaluate("window.hit") is None
    assert not [url for url in asked if "evil.example" in url]
    for part in ("<script", "<img", "<svg><", "<iframe", "<style", "javascript:window"):
        assert part not in whole
    for part in ('align="right"', 'type="checkbox"', "https://example.com", "<ol>"):
        assert part in whole


SAID_BY_MODEL = (
    "[[echo=true interval_ms=5 tokens=500]] <script>window.hit=1</script>"
    ' <img src=x onerror="window.hit=1"> <svg onload="window.hit=1"></svg>'
    ' <iframe src="javascript:parent.hit=1"></iframe>'
    " <style>body{display:none}</style> [a](javascript:window.hit=1)"
    ' <a style="position:fixed;inset:0" href="https://evil.example/">b</a>'
    " ![p](https://evil.example/p.png) \u202e\u2067desrever\u2066 &#x202e;"
    " <form action=https://evil.example/><button>c</button></form>"
    " <details open ontoggle=window.hit=1> <math><mtext><script>hit=1</script>"
) + " and so on" * 60
# Written as rows: no engine here says so much.
HEAVY = """
from chat.answers import Draft, Ending, settle
from chat.conversations import begin_turn
from controller.models import User
user = User.objects.get(username="admin")
conversation = None
for text in ("x" * 1_000_000, "- " * 10_000 + "deep", "\\u202e\\u2067" * 5_000, "fine"):
    turn = begin_turn(user, conversation, "mock-1", "more")
    settle(turn.message_id, Draft(text), Ending("complete"))
    conversation = turn.conversation_id
print("written", conversation)
"""
LOOK = """() => {
    const tags = "script, style, iframe, img, svg, form, button, details, math";
    const found = [...document.querySelectorAll(".answer")].flatMap((answer) => [
        ...answer.querySelectorAll(tags),
        ...[...answer.querySelectorAll("*")].filter((each) =>
            [...each.attributes].some(({ name }) => /^on|^style$/.test(name))),
        ...[...answer.querySelectorAll("a")].filter((a) => !/^https?:/.test(a.href)),
    ]);
    return [window.hit ?? null, found.map((each) => each.outerHTML)];
}"""


LONGEST_TASK = """() => new Promise((resolve) => {
    new PerformanceObserver((list) => {
        resolve(Math.max(...list.getEntries().map((each) => each.duration)));
    }).observe({ type: "longtask", buffered: true });
    setTimeout(() => resolve(0), 2000);
})"""


def test_what_a_hostile_model_says_harms_nothing_as_it_streams_and_after_a_reload(
    open_page,
):
    page = open_page("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, SAID_BY_MODEL)
    streaming = page.locator(".message-assistant.is-streaming")
    expect(streaming).to_contain_text("<math>")
    assert page.evaluate(LOOK) == [None, []]
    expect(streaming).to_have_count(0)
    assert page.evaluate(LOOK) == [None, []]
    page.reload()

    expect(last_answer(page)).to_contain_text("<iframe src=")
    assert page.evaluate(LOOK) == [None, []]
    last_answer(page).get_by_role("button", name="Copy", exact=True).click(trial=True)
    assert not [url for url in asked if "evil.example" in url]


def test_a_conversation_of_what_is_made_to_freeze_the_page_opens(open_page, product):
    said = product.manage("shell", "-c", HEAVY).stdout
    conversation = said.rpartition("written ")[2].strip()

    page = open_page(f"/c/{conversation}/")
    while page.locator("#earlier").is_visible():
        page.evaluate("document.getElementById('scroller').scrollTop = 0")
        page.wait_for_function(
            "() => document.querySelectorAll('.message').length == 8"
        )
    expect(page.locator(".message")).to_have_count(8)

    expect(last_answer(page).locator(".answer")).to_have_text("fine")
    page.evaluate("document.getElementById('scroller').scrollTop = 1e9")
    ask(page, "still there?")
    # All that is too much for its model, as the page can say.
    expect(last_answer(page).locator(".card")).to_contain_text("longer than this model")
    assert page.evaluate(LONGEST_TASK) < 3000


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "*" * 200_000,
        "[" * 100_000,
        "- " * 10_000 + "deep",
        "> " * 10_000 + "deep",
        "|" * 50_000 + "\n" + "|-" * 25_000,
        "`" * 99_999 + " a",
        "_a" * 50_000,
        "a." * 50_000 + "@",
    ],
    ids=[
        "line",
        "stars",
        "brackets",
        "lists",
        "quotes",
        "table",
        "ticks",
        "underlines",
        "mail",
    ],
)
def test_markdown_made_to_freeze_the_page_does_not(open_page, text):
    page = open_page("/")

    seconds = page.evaluate(
        """async (text) => {
            const { Markdown } = await import("/static/chat/js/markdown.js");
            const began = performance.now();
            const view = new Markdown(document.createElement("div"));
            view.show(text.slice(0, text.length - 5), false);
            view.show(text, true);
            return (performance.now() - began) / 1000;
        }""",
        text,
    )

    assert seconds < 3


def test_an_answer_that_waits_in_line_shows_its_place_until_its_turn(
    browser, new_var_dir
):
    with (
        running_mock_engine(tokens=8) as engine,
        running_product(new_var_dir()) as product,
        joined(product, engine, max_concurrency=1),
        product.chat_connection("[[hang_after=0]]") as holder,
    ):
        engine.wait_for(started=1)
        context = browser.new_context(
            storage_state=sign_in(browser, product), base_url=product.url
        )
        page = context.new_page()
        page.goto("/")
        ask(page, "Is anybody there?")
        shown = last_answer(page).locator(".waiting")
        expect(shown).to_contain_text("Place 1 of 1 in line")
        page.reload()
        expect(shown).to_contain_text("Place 1 of 1 in line")

        holder.close()

        expect(last_answer(page).locator(".answer")).to_have_text(words(8))
        expect(shown).to_have_count(0)
        context.close()
