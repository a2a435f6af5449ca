"""axe-core on every page of the console, as WCAG 2.2 AA asks, and the console by keys.

The pages are those of the admin site's registry and URLs, so a new one is covered by
itself: on a desktop in light colours, and on a phone in dark ones.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Locator, Page, Response, expect

from tests.axe import AXE, complaints_of
from tests.chromium import DESKTOP, PHONE, note_complaints, running_chromium, sign_in
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product

pytestmark = pytest.mark.browser

WRITE = """
import json
from tests.controller.console import addresses, make_everything
make_everything()
print("addresses", json.dumps(list(addresses())))
"""
# Of Django's pages about one row, alike for every model, one of each is enough.
ALIKE = {"_history", "_delete"}
# Part of a page, which the page asks for.
PARTS = {"search"}
# Pages for sure, or refusals.
OF_MODELS = ("_changelist", "_add", "_change", "_history", "_delete")
MOST_TABS = 150  # more than a page has between its beginning and what is wanted
# What only a mouse could reach: elements that Alpine makes clickable.
OUT_OF_REACH = """() => [...document.querySelectorAll("[x-on\\\\:click]")]
    .filter((each) => each.checkVisibility() && each.tabIndex < 0)
    .filter((each) => !each.querySelector("a[href], button, input"))
    .map((each) => `keyboard: ${each.outerHTML.slice(0, 160)}`)"""


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    """With a live worker, whose card has all that a card can have."""
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(new_var_dir()) as running,
        joined(running, engine),
    ):
        yield running


@pytest.fixture(scope="module")
def addresses(product: Product) -> dict[str, str]:
    """Those of the console's pages, by name."""
    said = product.manage("shell", "--verbosity=0", "--command", WRITE).stdout
    found = re.search(r"addresses (\[.*\])", said)
    assert found, said
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def page(product: Product) -> Iterator[Page]:
    with (
        running_chromium() as browser,
        browser.new_context(
            storage_state=sign_in(browser, product, "/admin/"),
            base_url=product.url,
            reduced_motion="reduce",
            **DESKTOP,
        ) as context,
    ):
        context.add_init_script(path=AXE)
        page, complaints = context.new_page(), []
        note_complaints(page, complaints)
        yield page
    assert not [each for each in complaints if "Content Security Policy" in each]


def opens(page: Page, name: str, address: str) -> bool:
    """Whether there is a page to look at; not a file, a refusal or data."""
    if not name.endswith(OF_MODELS) and not is_page(page.request.get(address)):
        return False  # the browser would begin to download
    return is_page(page.goto(address))


def is_page(answer: APIResponse | Response) -> bool:
    kind = answer.headers.get("content-type", "")
    return answer.status == 200 and kind.startswith("text/html")


def complaints(page: Page, known: Sequence[str]) -> list[str]:
    """Of axe and about keys, on a desktop in the light and on a phone in the dark."""
    found = []
    for screen, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        page.set_viewport_size(screen["viewport"])
        page.emulate_media(color_scheme=scheme)
        is_dark = "isDark => document.documentElement.matches('.dark') === isDark"
        page.wait_for_function(is_dark, arg=scheme == "dark")
        listed = [*complaints_of(page, known=known), *page.evaluate(OUT_OF_REACH)]
        found += [f"{scheme}: {each}" for each in listed]
    return found


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until this has the focus, and has a ring that shows it."""
    expect(wanted).to_be_visible()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            break
    expect(wanted).to_be_focused()
    expect(wanted).not_to_have_css("outline-style", "none")


def press(page: Page, wanted: Locator, key: str = "Enter") -> None:
    tab_to(page, wanted)
    page.keyboard.press(key)


def test_every_page_passes_axe_and_is_reached_by_keys(page: Page, addresses):
    found = {}
    seen: set[str] = set()
    known: list[str] = []
    for name, address in addresses.items():
        ending = name[name.rfind("_") :]
        if name in PARTS or ending in seen or not opens(page, name, address):
            continue
        seen.update({ending} & ALIKE)
        if listed := complaints(page, known):
            found[name] = listed
        known = ["#nav-sidebar"]  # alike on every page

    assert seen == ALIKE
    assert found == {}, json.dumps(found, indent=1)


@pytest.fixture
def desktop(page: Page, addresses) -> Page:
    page.set_viewport_size(DESKTOP["viewport"])
    page.emulate_media(color_scheme="light")
    return page


def test_the_frame_of_the_console_is_used_by_keys(desktop: Page):
    desktop.goto("/admin/")
    sidebar = desktop.locator("#nav-sidebar-inner")
    toggle = desktop.get_by_role("button", name="Show or hide the navigation")
    press(desktop, toggle)
    expect(sidebar).to_be_hidden()
    desktop.keyboard.press("Space")
    expect(sidebar).to_be_visible()

    press(desktop, sidebar.get_by_role("button", name="admin"))
    press(desktop, desktop.get_by_role("button", name="Dark"), "Space")
    expect(desktop.locator("html.dark")).to_be_attached()
    press(desktop, desktop.get_by_role("button", name="System"))
    expect(desktop.locator("html.dark")).not_to_be_attached()


def test_a_worker_is_drained_by_keys(desktop: Page):
    desktop.goto("/admin/fleet/")
    card = desktop.locator(".fleet-card", has_text="mock-1")
    for name in ("Weight", "Change key", "Remove"):
        tab_to(desktop, card.get_by_role("button", name=name))
    desktop.reload()
    press(desktop, card.get_by_role("button", name="Drain"))
    press(desktop, desktop.get_by_role("dialog").locator("[data-part=confirm]"))
    expect(card.locator("[data-field=state]")).to_have_text("draining")

    press(desktop, card.get_by_role("link").first)
    tab_to(desktop, desktop.get_by_role("button", name="Show the last lines"))


def test_a_flag_is_decided_by_keys(desktop: Page):
    desktop.goto("/admin/controller/moderationflag/")
    press(desktop, desktop.get_by_role("button", name="Filters"))
    filters = desktop.locator("#changelist-filter")
    expect(filters).to_be_visible()
    desktop.keyboard.press("Escape")
    expect(filters).to_be_hidden()

    press(desktop, desktop.locator("#result_list tbody a").first)
    press(desktop, desktop.get_by_role("link", name="Release"))
    press(desktop, desktop.get_by_role("button", name="Release"))
    expect(desktop.get_by_text("The flag is released.")).to_be_visible()
