"""axe-core on every page of the site but the console, as WCAG 2.2 AA asks.

The pages are found by walking the URL patterns, so a new one cannot be forgotten: an
address with a parameter that has no sample fails the test.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Browser, Page, expect

from tests.axe import AXE, complaints_of
from tests.chromium import DESKTOP, PHONE
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, manage, running_product, set_up

pytestmark = pytest.mark.browser

CONTRAST = ["color-contrast"]

# What no plain GET shows, by view or parameter, and why.
NOT_SHOWN = {
    "chat:diagrams": "the hidden frame of diagrams, which no reader meets",
    "chat:receipt": "a file",
    "chat:attachment": "a file",
    "chat:export": "a file",
    "chat:export_all": "a file",
    "account_confirm_email": "the key is in a letter",
    "mfa_remove_webauthn": "needs a security key",
    "mfa_edit_webauthn": "needs a security key",
    "openid_connect_login": "leads to another site",
    "openid_connect_callback": "comes from another site",
}
# Parameters whose samples are no rows.
PLAIN_SAMPLES = {"kind": "csv", "shelf": "prompts", "uidb36": "1", "key": "no-such-key"}


def named_patterns(
    patterns: list[URLPattern | URLResolver], prefix: str = "", space: str = ""
) -> Iterator[tuple[str, str]]:
    """(view's name, route) of every page below these patterns but the console's."""
    for each in patterns:
        route = prefix + str(each.pattern)
        if route.startswith("admin/"):
            continue
        if isinstance(each, URLResolver):
            inner = f"{space}{each.namespace}:" if each.namespace else space
            yield from named_patterns(each.url_patterns, route, inner)
        else:
            yield f"{space}{each.name}", route


PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^()]*\)")


def address_of(name: str, route: str, samples: dict[str, str]) -> str:
    """The route with a sample in each parameter's place."""

    def sample(found: re.Match[str]) -> str:
        parameter = found[1] or found[2]
        assert parameter in samples, (
            f"{name}: give a sample of {parameter} in page_samples.py, or say in"
            " NOT_SHOWN why it has no page"
        )
        return samples[parameter]

    plain = route.replace("^", "").replace("$", "").replace("\\.", ".")
    return "/" + PARAMETER.sub(sample, plain)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("accessibility")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=8) as engine,
        running_product(var_dir, env={"SIGN_UP": "open"}) as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture(scope="module")
def samples(product: Product) -> dict[str, str]:
    code = "from tests.chat.page_samples import *; print_samples('admin')"
    said = manage(product.var_dir, "shell", "-c", code).stdout
    found = re.search(r"samples (\{.*\})", said)
    assert found, said
    return {**PLAIN_SAMPLES, **json.loads(found[1])}


def opened(browser: Browser, product: Product, state: Any) -> Page:
    context = browser.new_context(
        storage_state=state, base_url=product.url, service_workers="block", **DESKTOP
    )
    context.add_init_script(path=AXE)
    # What fades in would be looked at half transparent.
    page = context.new_page()
    page.emulate_media(reduced_motion="reduce")
    return page


def violations(page: Page) -> list[str]:
    """What axe finds: light on a desktop, dark on a phone, and the other colours."""
    found = []
    for viewport, rules in (
        (DESKTOP["viewport"], (("light", None), ("dark", CONTRAST))),
        (PHONE["viewport"], (("dark", None), ("light", CONTRAST))),
    ):
        page.set_viewport_size(viewport)
        for scheme, only in rules:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            where = f"{scheme}, {viewport['width']} px"
            found += [f"{where}: {each}" for each in complaints_of(page, only)]
    page.set_viewport_size(DESKTOP["viewport"])
    return found


@pytest.mark.parametrize("who", ["signed in", "a stranger"])
def test_every_page_passes_axe(browser, product, signed_in, samples, who):
    page = opened(browser, product, signed_in if who == "signed in" else None)
    found: dict[str, list[str]] = {}
    shown = []

    for name, route in named_patterns(get_resolver().url_patterns):
        if name in NOT_SHOWN:
            continue
        address = address_of(name, route, samples)
        answer = page.request.get(address, max_redirects=0)
        assert answer.status < 500, f"{name}: {answer.status} of {address}"
        is_sample = who == "signed in" and PARAMETER.search(route)
        assert not is_sample or answer.status != 404, f"{name}: no {address}"
        is_page = answer.headers.get("content-type", "").startswith("text/html")
        is_elsewhere = 300 <= answer.status < 400 or answer.status in (404, 405)
        if is_elsewhere or not is_page:
            continue
        page.goto(address)
        shown.append(name)
        if complaints := violations(page):
            found[name] = complaints

    page.context.close()
    assert found == {}, json.dumps(found, indent=1)
    expected = "chat:conversation" if who == "signed in" else "account_login"
    assert expected in shown


def test_what_opens_on_the_chat_page_passes_axe(browser, product, signed_in, samples):
    page = opened(browser, product, signed_in)
    page.goto(f"/c/{samples['conversation_id']}/")
    expect(page.locator(".formula")).to_have_count(1, timeout=20_000)
    expect(page.locator(".hljs-keyword").first).to_be_attached(timeout=20_000)

    found = {"rendered": violations(page)}
    for button in page.locator("[data-menu-button]").all():
        if button.is_visible():
            button.click()
            found[button.get_attribute("id") or "menu"] = complaints_of(page)
            page.keyboard.press("Escape")
    page.set_viewport_size(PHONE["viewport"])
    page.get_by_role("button", name="Show conversations").click()
    found["drawer"] = complaints_of(page)

    page.context.close()
    assert not any(found.values()), json.dumps(found, indent=1)


def test_a_page_that_is_not_there_passes_axe(browser, product, signed_in):
    page = opened(browser, product, signed_in)
    page.goto("/no-such-page/")

    assert page.get_by_role("heading", name="Page not found").is_visible()
    assert violations(page) == []
    page.context.close()
