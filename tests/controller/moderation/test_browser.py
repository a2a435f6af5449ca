"""Moderation from the console to the chat and back, in a headless Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.chromium import DESKTOP, PHONE, note_complaints, sign_in
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, set_up, wait_until

pytestmark = pytest.mark.browser

PATIENCE = 20_000  # milliseconds
RULES = "/admin/controller/moderationrule/"
QUEUE = "/admin/controller/moderationflag/?verdict__exact=open"
SCREENS = {"desktop": DESKTOP, "phone": PHONE}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("moderated")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        quick_product(var_dir) as running,
        joined(running, engine),
    ):
        yield running


@pytest.fixture(params=SCREENS)
def page(request, browser: Browser, product: Product) -> Iterator[Page]:
    """The operator's; nothing may go wrong in its JavaScript console."""
    complaints = []
    with browser.new_context(
        storage_state=sign_in(browser, product, "/admin/"),
        base_url=product.url,
        **SCREENS[request.param],
    ) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        note_complaints(page, complaints)
        yield page
    assert not complaints


def ask(page: Page, text: str) -> None:
    page.goto("/")
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def answered(page: Page) -> Locator:
    return page.get_by_text("t0 t1 t2 t3", exact=True)


def refused(page: Page) -> Locator:
    return page.locator(".card", has_text="This message was not sent")


def test_a_rule_is_tried_saved_obeyed_and_its_flag_released(
    page: Page, product: Product, request: pytest.FixtureRequest
):
    screen = request.node.callspec.params["page"]
    word = f"Falcon{screen}"
    ask(page, f"What is {word}?")
    expect(answered(page)).to_be_visible(timeout=PATIENCE)

    page.goto(f"{RULES}add/")
    page.locator("[name=name]").fill(f"Projects {screen}")
    page.locator("[name=category]").fill("trade-secrets")
    page.locator("[name=terms]").fill(word)
    page.locator("[name=action]").select_option("block")
    page.locator("[name=trial_text]").fill(f"Tell me of {word.upper()}.")
    page.get_by_role("button", name="Try on this text").click()
    expect(page.locator(".trial-match")).to_have_text(word.upper())
    page.get_by_role("button", name="Dry run over recent chats").click()
    expect(page.get_by_text("1 message", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("[name=on_failure]")).to_be_hidden()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible(timeout=PATIENCE)

    page.goto(f"{RULES}bench")
    page.locator("[name=text]").fill(f"Tell me of {word}.")
    page.get_by_role("button", name="Try this text").click()
    tried = page.get_by_role("status").filter(has_text=f"“Projects {screen}”")
    expect(tried).to_contain_text("a rule of this site about trade-secrets")

    def is_blocked() -> bool:
        ask(page, f"More of {word}!")
        expect(answered(page).or_(refused(page))).to_be_visible(timeout=PATIENCE)
        return refused(page).is_visible()

    wait_until(is_blocked, "the rule to hold")
    waiting = "SELECT * FROM controller_moderationflag WHERE verdict = 'open'"
    wait_until(lambda: product.query(waiting), "a flag")

    page.goto(QUEUE)
    page.locator("#result_list a[href*=moderationflag]").first.click()
    # A phone has it in a menu.
    release = page.locator("a[href$='/release/']").first.get_attribute("href")
    page.goto(release or "")
    page.get_by_label("Note").fill("They may ask.")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("The flag is released.")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#result_list a[href*=moderationflag]")).to_have_count(0)
