"""Code, formulas and diagrams in answers, in a headless Chromium."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.product import Product, running_product, set_up

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("rendering")
    set_up(var_dir)
    with running_product(var_dir) as product:
        yield product


SHOW = """async ([text, isWhole]) => {
    const { Markdown } = await import("/static/chat/js/markdown.js");
    const element = document.createElement("div");
    element.id = "shown";
    document.getElementById("transcript").append(element);
    document.getElementById("welcome").hidden = true;
    const began = performance.now();
    window.view = new Markdown(element);
    if (!isWhole) view.show(text.slice(0, text.length - 5), false);
    view.show(text, isWhole);
    return (performance.now() - began) / 1000;
}"""


def show(page: Page, text: str, is_whole: bool = True) -> Any:
    """Show the text as an answer's; the seconds that it took."""
    return page.evaluate(SHOW, [text, is_whole])


def test_code_is_coloured_in_its_language_and_copied_as_it_was(open_page):
    page = open_page("/", permissions=["clipboard-read", "clipboard-write"])
    code = "def f(x):\n    return 'a'  # \u202e note\n"

    show(page, f"```python\n{code}```\n\n```brainfuck\n+++\n```\n")

    shown = page.locator("#shown code")
    expect(shown.first.locator(".hljs-keyword")).to_have_text(["def", "return"])
    expect(shown.first).to_contain_text("[U+202E] note")
    expect(shown.last).to_have_text("+++")
    page.get_by_role("button", name="Copy code").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code.rstrip("\n")


def test_code_that_grows_is_coloured_to_its_end_and_languages_come_when_needed(
    open_page,
):
    page = open_page("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    show(page, "no code yet")
    assert not [url for url in asked if "/vendor/highlight/" in url]

    page.evaluate(
        """async () => {
            let text = "```js\\n";
            for (let line = 0; line < 60; line += 1) {
              text += `const a${line} = "x"; // c\\n`;
              view.show(text, false);
              await new Promise(requestAnimationFrame);
            }
        }"""
    )

    expect(page.locator("#shown .hljs-comment")).to_have_count(60)
    languages = [url for url in asked if "/vendor/highlight/languages/" in url]
    assert [url.rpartition("/")[2] for url in languages] == ["javascript.min.js"]


NO_FORMULAS = [
    "It costs $5 and $10.",
    "From US$100/month to US$200/month.",
    "$5-$10, $1,000+ and $2,000+",
    "echo $HOME/bin:$PATH and $USER",
    "a lone $ sign, and two $ of them",
    "$5 (about 4 euros in total) and US$",
    "\\$x = 1\\$",
    "`$x^2$`",
]


def test_what_is_no_formula_stays_text(open_page):
    page = open_page("/")

    show(page, "\n\n".join(NO_FORMULAS))

    shown = page.locator("#shown").inner_text().split("\n\n")
    plain = [text.replace("\\$", "$").strip("`") for text in NO_FORMULAS]
    assert [text.strip() for text in shown] == plain
    expect(page.locator("#shown .math, #shown .formula")).to_have_count(0)


def test_formulas_are_set_in_line_and_on_lines_of_their_own(open_page):
    page = open_page("/")
    text = (
        "Let $x$, $f(x)$ and $E = mc^2$ be; \\(a_1\\) too, $n$-th.\n\n"
        "$$\n\\int_0^1 x^2\\,dx = \\frac13\n$$\n\n\\[ \\sqrt{2} \\]\n\nIn it $$y$$ too."
    )

    show(page, text)

    expect(page.locator("#shown .formula")).to_have_count(5)
    expect(page.locator("#shown .formula-display")).to_have_count(3)
    expect(page.locator("#shown math")).to_have_count(8)  # for those who listen
    font = page.locator("#shown .katex").first.evaluate(
        "element => getComputedStyle(element).fontFamily"
    )
    assert "KaTeX_Main" in font


def test_a_formula_that_streams_is_its_source_until_it_is_whole(open_page):
    page = open_page("/")
    show(page, "So $$x^2 +", is_whole=False)
    expect(page.locator("#shown .formula-display")).to_have_count(0)

    page.evaluate("view.show('So $$x^2 + 1$$ and', false)")

    expect(page.locator("#shown .formula-display")).to_have_count(1)


def test_a_formula_that_fails_or_is_too_much_stays_as_its_source(open_page):
    page = open_page("/")
    bad = [
        "\\(\\frac{1\\)",
        "\\(\\def\\a{\\a\\a}\\a\\)",
        "\\(\\href{javascript:window.hit=1}{x}\\)",
        "\\(" + "{" * 1400 + "}" * 1400 + "\\)",
    ]
    harmless = [
        "\\(\\htmlData{x=1}{y}\\)",
        "\\(\\includegraphics{https://evil.example/a.png}\\)",
        "\\(\\text{<img src=x onerror=window.hit=1>}\\)",
        "\\(\\rule{100000em}{100000em}\\)",
    ]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    seconds = show(page, "\n\n".join(bad + harmless))

    assert seconds < 2
    expect(page.locator("#shown .formula").first).to_be_attached()
    expect(page.locator("#shown a, #shown img")).to_have_count(0)
    assert page.evaluate("window.hit") is None
    assert not [url for url in asked if "evil.example" in url]
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == page.viewport_size["width"]


MERMAID = "```mermaid\nflowchart LR\n  A[Ask] --> B{Busy?} -- yes --> C((Wait))\n```\n"


def test_a_diagram_is_drawn_once_it_is_whole_and_shows_its_source_on_request(
    open_page,
):
    page = open_page("/")
    show(page, MERMAID[:-5], is_whole=False)
    expect(page.locator("iframe")).to_have_count(0)

    page.evaluate("(text) => view.show(text, true)", MERMAID)

    picture = page.get_by_role("img", name="Diagram")
    expect(picture).to_be_visible(timeout=30_000)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
    page.get_by_role("button", name="Source").click()
    expect(page.locator("#shown pre")).to_contain_text("flowchart LR")
    expect(picture).to_be_hidden()


@pytest.fixture
def refusing_page(
    browser: Browser, product: Product, signed_in: dict
) -> Iterator[tuple[Page, list[str]]]:
    """A page whose console may say what was refused, and what it got from elsewhere."""
    reached: list[str] = []
    with browser.new_context(storage_state=signed_in, base_url=product.url) as context:
        # Only what the content policies let pass comes to a route.
        context.route(
            re.compile("evil|healthz"),
            lambda route: (reached.append(route.request.url), route.fulfill()),
        )
        page = context.new_page()
        page.goto("/")
        yield page, reached


def test_a_hostile_diagram_reaches_nothing_and_a_broken_one_is_its_source(
    refusing_page,
):
    page, reached = refusing_page
    directive = (
        '%%{init: {"securityLevel": "loose", "htmlLabels": true, "themeCSS":'
        ' "* { background: url(https://evil.example/a) }"}}%%'
    )
    hostile = (
        f"```mermaid\n{directive}\nflowchart LR\n"
        '  A["<img src=https://evil.example/b onerror=parent.hit=1>"] --> B\n'
        '  click A call alert("x")\n  click B "javascript:parent.hit=1"\n```\n'
    )

    show(page, f"```mermaid\nno diagram at all\n```\n\n{hostile}\n\n{MERMAID}")

    expect(page.get_by_role("img", name="Diagram").last).to_be_visible(timeout=30_000)
    expect(page.locator("#shown pre").first).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert reached == []


def test_the_frame_of_diagrams_has_neither_our_origin_nor_the_network(refusing_page):
    page, reached = refusing_page
    show(page, MERMAID)
    expect(page.get_by_role("img", name="Diagram")).to_be_visible(timeout=30_000)
    frame = page.frames[-1]

    assert frame.evaluate("origin") == "null"
    asking = "(url) => fetch(url).then(() => 'reached', () => 'refused')"
    assert frame.evaluate(asking, "/healthz") == "refused"
    assert frame.evaluate(asking, "https://evil.example/") == "refused"
    assert reached == []
    reading = "() => { try { return document.cookie } catch { return 'refused' } }"
    assert frame.evaluate(reading) == "refused"


@pytest.mark.parametrize(
    "text",
    [
        "```html\n" + "<" * 19_000 + "\n```",
        "```js\n" + "/" * 19_000 + "\n```",
        "```python\n" + "'\"" * 9_000 + "\n```",
        "```cpp\n" + "(" * 19_000 + "\n```",
        "```json\n" + "x" * 1_000_000 + "\n```",
        "$" * 100_000,
        "$a" * 50_000,
        "\\(" * 50_000,
        "$$\n" + "x^" * 1_400 + "\n$$",
        "$$\n" + "\\frac{1}{" * 250 + "}" * 250 + "\n$$",
        "$$\n" + "\\sqrt{" * 300 + "}" * 300 + "\n$$",
        "\n".join(f"$x_{{{number}}}$" for number in range(900)),
        "\u202e\u2067" * 5_000 + "abc",
        "<svg>" * 2_000 + "<style>*{display:none}</style>",
    ],
    ids=[
        *("tags", "slashes", "quotes", "parentheses", "long-line"),
        *(
            "dollars",
            "dollar-letters",
            "brackets",
            "powers",
            "fractions",
            "roots",
            "formulas",
        ),
        *("reordering", "svg"),
    ],
)
def test_nothing_a_model_writes_freezes_the_page(open_page, text):
    page = open_page("/")
    page.evaluate(
        """() => {
            window.longest = 0;
            new PerformanceObserver((list) => {
              for (const entry of list.getEntries())
                window.longest = Math.max(window.longest, entry.duration);
            }).observe({ type: "longtask" });
        }"""
    )

    seconds = show(page, text, is_whole=False)
    page.evaluate("(text) => view.show(text, true)", text)
    page.evaluate(
        """async () => {
            for (let turn = 0; turn < 20; turn += 1)
              await new Promise((done) => requestIdleCallback(done, { timeout: 50 }));
        }"""
    )

    assert seconds < 3
    assert page.evaluate("window.longest") < 3000
    assert page.evaluate("getComputedStyle(document.body).display") == "flex"
