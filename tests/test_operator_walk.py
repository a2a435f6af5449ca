"""A new operator's first day, by clicks alone: from an empty fleet to the audit log.

The agent is the real one, before a mock engine; the operator has the role of that name
and is no superuser. With SCREENSHOTS=1 each station's pictures are taken, in light and
in dark.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.chromium import DESKTOP, PHONE, note_complaints
from tests.pictures import camera
from tests.product import Product, quick_product, wait_until
from tests.typed_commands import running_command

pytestmark = pytest.mark.browser

PATIENCE = 30_000  # milliseconds
SCREENS = {"desktop": (DESKTOP, "light"), "phone": (PHONE, "dark")}
PASSWORD = "a bridge of eleven planks"
MAKE_OPERATOR = """
from django.contrib.auth.models import Group
from controller.models import User
user = User.objects.create_user("{name}", password="{password}", is_staff=True)
user.groups.add(Group.objects.get(name="Operators"))
"""


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir()) as running:
        yield running


@pytest.fixture(params=SCREENS)
def name(request: pytest.FixtureRequest, product: Product) -> str:
    """Of an operator, and of what they make: each screen has its own."""
    code = MAKE_OPERATOR.format(name=request.param, password=PASSWORD)
    done = product.manage("shell", "--command", code)
    assert done.returncode == 0, done.stdout
    return request.param


@pytest.fixture
def page(name: str, browser: Browser, product: Product) -> Iterator[Page]:
    """Nobody is signed in; nothing may go wrong in its JavaScript console."""
    screen, scheme = SCREENS[name]
    complaints = []
    with browser.new_context(
        base_url=product.url, color_scheme=scheme, **screen
    ) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        note_complaints(page, complaints)
        yield page
    assert not complaints


@pytest.fixture
def show(page: Page, name: str) -> Callable[[str], None]:
    """Picture a station of the walk on this screen; its own colours come last."""
    _, own = SCREENS[name]
    schemes = sorted(("light", "dark"), key=own.__eq__)

    def shown(station: str) -> None:
        if not camera.is_for_the_documentation():
            return
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            picture = f"{station}-{name}-{scheme}.png"
            camera.take_picture(page, camera.KEPT / "walk" / picture)

    return shown


def sign_in(page: Page, name: str) -> None:
    page.goto("/admin/")
    page.get_by_label("Login").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="What needs attention")).to_be_visible()


def open_sidebar(page: Page) -> Locator:
    """The console's, which a phone hides behind a button."""
    sidebar = page.locator("#nav-sidebar-inner")
    if not sidebar.is_visible():
        page.get_by_text("dock_to_right").locator("visible=true").click()
    expect(sidebar).to_be_visible()
    return sidebar


def follow(page: Page, title: str) -> None:
    """A link of the console's sidebar."""
    link = open_sidebar(page).get_by_role("link", name=title)
    link.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert fits(page), title


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def add(page: Page, list_title: str) -> None:
    follow(page, list_title)
    page.locator("a.addlink").click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_visible()
    assert fits(page), list_title


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()


def pick(page: Page, field: Locator, text: str) -> None:
    """Find the row in a field with search, and choose it."""
    field.locator("xpath=..").locator(".select2-selection").click()
    page.locator("input.select2-search__field").last.fill(text)
    page.locator(".select2-results__option", has_text=text).click()


def added_command(page: Page) -> str:
    """What is to be typed where the model is."""
    follow(page, "Live view")
    page.get_by_role("link", name="Add a worker").click()
    page.get_by_label("Model").fill("tiny")
    page.get_by_role("button", name="Make the command").click()
    return page.locator("#command").inner_text()


def see_it_join(page: Page) -> None:
    arrival = page.locator("#arrival")
    expect(arrival).to_have_attribute("data-state", "arrived", timeout=PATIENCE)
    arrival.get_by_role("link", name="Show the worker").click()
    expect(page.locator(".fleet-card [data-field=state]")).to_have_text("live")


def decide(page: Page, button: str, state: str) -> None:
    page.locator(".fleet-card").get_by_role("button", name=button).click()
    page.get_by_role("dialog").locator("[data-part=confirm]").click()
    expect(page.locator(".fleet-card [data-field=state]")).to_have_text(state)


def make_team(page: Page, name: str) -> None:
    add(page, "Teams")
    page.locator("#id_name").fill(f"Team {name}")
    page.get_by_role("link", name=re.compile("Add another")).click()
    pick(page, page.locator("#id_memberships-0-user"), name)
    save(page)


def make_limit(page: Page, name: str) -> None:
    add(page, "Limits")
    pick(page, page.locator("#id_team"), f"Team {name}")
    page.get_by_label("What it limits").select_option(label="tokens per day")
    page.get_by_label("Amount").fill("123456")
    save(page)


def make_rule(page: Page, name: str, word: str, show: Callable[[str], None]) -> None:
    """Tried before it is saved."""
    add(page, "Rules")
    page.locator("#id_name").fill(f"Projects of {name}")
    page.get_by_label("Category").fill("trade-secrets")
    page.get_by_label("Terms").fill(word)
    page.locator("#id_action").select_option("block")
    page.locator("#id_trial_text").fill(f"Tell me of {word.upper()}.")
    page.get_by_role("button", name="Try on this text").click()
    expect(page.locator(".trial-match")).to_have_text(word.upper())
    expect(page.locator(".trial-match")).to_be_in_viewport()
    show("6-rule-tried")
    save(page)


def go_to_the_chat(page: Page, name: str) -> None:
    open_sidebar(page).get_by_text(name, exact=True).click()
    page.get_by_role("link", name="View site").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def go_to_the_console(page: Page) -> None:
    opener = page.locator("#open-sidebar")
    if opener.is_visible():
        opener.click()
    page.locator(".user-button").click()
    page.get_by_role("link", name="Admin console").click()
    expect(page.get_by_role("heading", name="What needs attention")).to_be_visible()


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def be_refused(page: Page, word: str) -> None:
    """The rule holds within a moment in every process; until then it is answered."""
    refused = page.locator(".card", has_text="This message was not sent")
    answers = page.get_by_text("t0 t1 t2 t3", exact=True)

    def is_refused() -> bool:
        num_answers = answers.count()
        ask(page, f"What is {word}?")
        expect(refused.or_(answers.nth(num_answers))).to_be_visible()
        return refused.is_visible()

    wait_until(is_refused, "the rule to hold")


def release(
    page: Page, name: str, product: Product, show: Callable[[str], None]
) -> None:
    found = "SELECT * FROM controller_moderationflag WHERE verdict = 'open'"
    wait_until(lambda: product.query(found), "the flag")
    follow(page, "Review queue")
    row = page.locator("#result_list tr", has_text=f"Projects of {name}")
    row.get_by_role("link").first.click()
    page.wait_for_url("**/change/**")
    show("8-flag")
    act(page, "Release")
    page.get_by_label("Note").fill("They may ask.")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("The flag is released.")).to_be_visible()


def act(page: Page, title: str) -> None:
    """A link above the page's content, which a phone has in a menu."""
    link = page.get_by_role("link", name=title).locator("visible=true")
    menu = page.get_by_text("more_horiz").locator("visible=true")
    expect(link.or_(menu).first).to_be_visible()
    if not link.is_visible():
        menu.first.click()
    link.click()


def read_the_log(page: Page, name: str, address: str) -> None:
    """Who did what, with what it was before and after."""
    follow(page, "Audit log")
    for action, kind, what, change in (
        ("signed in", "user", name, ""),
        ("create", "join token", "Add a worker", ""),
        ("Drained.", "worker", address, ""),
        ("Resumed.", "worker", address, ""),
        ("create", "team", f"Team {name}", f"name: Team {name}"),
        ("create", "membership", name, ""),
        ("create", "limit", "", "123456"),
        ("create", "moderation rule", f"Projects of {name}", "trade-secrets"),
        ("released: They may ask.", "moderation flag", f"Projects of {name}", ""),
    ):
        row = page.locator("#result_list tr", has_text=action)
        for part in (kind, what, change, name):
            row = row.filter(has_text=re.compile(re.escape(part), re.IGNORECASE))
        expect(row.first, f"{action} {kind}").to_be_visible()


def test_a_new_operator_runs_the_site_by_clicks(
    page: Page,
    name: str,
    product: Product,
    show: Callable[[str], None],
    tmp_path: Path,
):
    word = f"Falcon{name}"
    sign_in(page, name)
    show("1-first-page")
    command = added_command(page)
    show("2-command")
    with running_command(command, tmp_path, "--answering"):
        see_it_join(page)
        show("3-joined")
        address = page.locator(".fleet-card [data-field=address]").inner_text()
        decide(page, "Drain", "draining")
        show("4-drained")
        decide(page, "Resume", "live")

        make_team(page, name)
        make_limit(page, name)
        show("5-limit")
        make_rule(page, name, word, show)
        go_to_the_chat(page, name)
        be_refused(page, word)
        show("7-refused")

        go_to_the_console(page)
        release(page, name, product, show)
        read_the_log(page, name, address)
        show("9-audit-log")
