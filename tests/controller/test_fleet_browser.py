"""An operator adds a worker, watches it come, drains and removes it, in a headless
Chromium; the agent is the real one, before an engine without a model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import DESKTOP, PHONE, note_complaints, sign_in
from tests.product import Product, quick_product, wait_until_listed
from tests.typed_commands import running_command

pytestmark = pytest.mark.browser

PATIENCE = 30_000  # milliseconds
LOADING = "Loading weights:  43%|####\n"


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir()) as running:
        yield running


@pytest.fixture(
    params=[(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone in the dark"]
)
def console(request, browser, product) -> Iterator[Page]:
    """A page of the operator's; nothing may go wrong in its JavaScript console."""
    screen, scheme = request.param
    complaints = []
    with browser.new_context(
        storage_state=sign_in(browser, product, "/admin/"),
        base_url=product.url,
        color_scheme=scheme,
        **screen,
    ) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        note_complaints(page, complaints)
        yield page
    assert not complaints


def confirm(page: Page, button: str) -> None:
    """Ask for it on the card, and say yes."""
    page.locator(".fleet-card").get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.locator("[data-part=confirm]").click()
    expect(dialog).to_be_hidden(timeout=PATIENCE)


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_worker_is_added_watched_drained_and_removed(
    console: Page, product: Product, tmp_path: Path
):
    (tmp_path / "loading").write_text(LOADING)
    console.goto("/admin/fleet/add/")
    console.get_by_label("Model").fill("tiny")
    console.get_by_role("button", name="Make the command").click()
    arrival = console.locator("#arrival")
    expect(arrival).to_contain_text("Nothing has used this token yet")
    assert fits(console)
    command = console.locator("#command").inner_text()

    with running_command(command, tmp_path):
        expect(arrival).to_contain_text("The engine is not ready yet", timeout=PATIENCE)
        (tmp_path / "loading").unlink()
        expect(arrival).to_have_attribute("data-state", "arrived", timeout=PATIENCE)
        wait_until_listed(product, "tiny")
        arrival.get_by_role("link", name="Show the worker").click()

        state = console.locator(".fleet-card [data-field=state]")
        expect(state).to_have_text("live", timeout=PATIENCE)
        expect(console.locator("#fleet-link")).to_have_text("live", timeout=PATIENCE)
        assert fits(console)
        confirm(console, "Drain")
        expect(state).to_have_text("draining", timeout=PATIENCE)
        confirm(console, "Resume")
        expect(state).to_have_text("live", timeout=PATIENCE)

        console.get_by_role("button", name="Show the last lines").click()
        log = console.locator("#fleet-log")
        expect(log).to_contain_text("Joined http://", timeout=PATIENCE)
        token = command.split("=")[1].split()[0]
        assert token not in log.inner_text()

        console.get_by_role("link", name="All workers").click()
        card = console.locator(".fleet-card")
        expect(card).to_have_count(1, timeout=PATIENCE)
        card.get_by_role("button", name="Weight").click()
        console.get_by_label("Weight").fill("2.5")
        console.locator("[data-part=confirm]").click()
        expect(card.locator("[data-field=weight]")).to_have_text(
            "2.5", timeout=PATIENCE
        )
        assert fits(console)
        confirm(console, "Remove")
        expect(card).to_have_count(0, timeout=PATIENCE)


def test_a_join_that_is_refused_says_why(
    console: Page, product: Product, tmp_path: Path
):
    console.goto("/admin/fleet/add/")
    console.get_by_role("button", name="Make the command").click()
    command = console.locator("#command").inner_text().replace("PATH_OR_NAME", "tiny")

    # TEST-NET: nothing is there, and the controller may not look.
    wrong = f"{command} --worker-address http://192.0.2.1:1"
    with running_command(wrong, tmp_path):
        arrival = console.locator("#arrival")
        expect(arrival).to_have_attribute("data-state", "unreached", timeout=PATIENCE)
        expect(arrival).to_contain_text("192.0.2.1")
