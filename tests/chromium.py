"""A headless Chromium for tests of pages, and how people sign in with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from chat.checks import PARSER
from tests.product import ROOT, Product

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
# A busy machine is slow; what is there sooner is not waited for.
expect.set_options(timeout=20_000)
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """The browser; skips the test where none is installed.

    Not longer than a module: a running Playwright keeps the thread's event loop.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    # Not by the system check: the benchmark has no settings.
    assert (ROOT / "chat/static" / PARSER).exists(), (
        "the pages' third-party scripts are missing: python -m deploy.frontend --dev"
    )
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=FLAGS) as browser,
    ):
        yield browser


def sign_in(browser: Browser, product: Product, path: str = "/") -> Any:
    """The cookies of a session of the operator's that began at the sign-in form."""
    with browser.new_context(base_url=product.url) as context:
        page = context.new_page()
        page.goto(path)
        page.get_by_label("Login").fill(product.credentials.username)
        page.get_by_label("Password").fill(product.credentials.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Password")).to_be_hidden()
        return context.storage_state()


# The browser's own notes that no reader misses anything by: of a form that the server
# refused, and of a page that a busy machine shows without its transition.
HARMLESS = ("with a status of 400", "ViewTransition")


def note_complaints(page: Page, complaints: list[str]) -> None:
    """Append what goes wrong on the page, as its console tells it from now on."""

    def note(text: str) -> None:
        if not any(harmless in text for harmless in HARMLESS):
            complaints.append(text)

    page.on("pageerror", lambda error: note(str(error)))
    page.on("console", lambda said: said.type == "error" and note(said.text))
