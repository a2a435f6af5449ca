"""Second factors, sessions and new accounts in a headless Chromium, as people use them.

Passkeys are made by Chromium's own virtual authenticator.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import DESKTOP, PHONE, sign_in
from tests.product import Product, manage, quick_product, set_up
from tests.totp import code_of

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
NEW_PASSWORD = "eleven planks of oak"
CODE = re.compile("[Cc]ode")
WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    var_dir = tmp_path_factory.mktemp("accounts")
    set_up(var_dir)
    with quick_product(var_dir, SIGN_UP="approval") as product:
        yield product


@pytest.fixture
def visit(browser: Browser, product: Product) -> Iterator:
    """Open a page in a browser of its own, in which nobody is signed in."""
    contexts = []

    def visited(path: str = "/accounts/login/", **options) -> Page:
        # Passkeys are bound to names: an address in numbers has none.
        base = product.url.replace("127.0.0.1", "localhost")
        context = browser.new_context(base_url=base, **DESKTOP | options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield visited
    for context in contexts:
        context.close()


def make_person(product: Product, name: str, **fields: object) -> str:
    """A person who signs in with PASSWORD."""
    code = f"""
from controller.models import User
user = User(username={name!r}, email={name + "@example.org"!r}, **{fields!r})
user.set_password({PASSWORD!r})
user.save()
"""
    done = manage(product.var_dir, "shell", "--command", code)
    assert done.returncode == 0, done.stdout
    return name


def enter(page: Page, name: str, password: str = PASSWORD) -> Page:
    """Type name and password into the sign-in form."""
    page.get_by_label("Login").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_label("Password")).to_be_hidden()
    return page


def sign_up(page: Page, name: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Email").fill(f"{name}@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password (again)").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()


def leave(page: Page) -> None:
    page.goto("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Login")).to_be_visible()


def confirm_password(page: Page) -> None:
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def enter_code(page: Page, secret: str) -> None:
    """Type what the app shows. A code ends with its half minute, perhaps on its way:
    then the next one."""
    chat = page.get_by_label("Message", exact=True)
    refused = page.get_by_text("Incorrect code")
    for _ in range(2):
        page.get_by_label(CODE).fill(code_of(secret))
        page.get_by_role("button", name="Sign In").click()
        expect(chat.or_(refused)).to_be_visible()
        if chat.is_visible():
            return
    pytest.fail("the code of the app was refused")


@pytest.fixture(scope="module")
def operator(browser: Browser, product: Product) -> dict:
    """The operator's cookies."""
    return sign_in(browser, product, "/admin/")


@pytest.fixture
def console(browser: Browser, product: Product, operator: dict) -> Iterator[Page]:
    with browser.new_context(storage_state=operator, base_url=product.url) as context:
        yield context.new_page()


def add_virtual_authenticator(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@WIDTHS
def test_an_app_guards_the_account_and_a_recovery_code_replaces_it(
    visit, product, width
):
    name = make_person(product, f"totp{width['viewport']['width']}")
    page = enter(visit(**width), name)
    page.goto("/accounts/2fa/")
    assert fits(page)
    page.get_by_role("link", name="Activate").click()
    confirm_password(page)
    secret = page.locator("#authenticator_secret").input_value()
    assert fits(page)
    page.get_by_label("Authenticator code").fill(code_of(secret))
    page.get_by_role("button", name="Activate").click()
    codes = page.get_by_label("Unused codes").input_value().split()
    assert len(codes) == 10
    assert fits(page)

    leave(page)
    enter(page, name)
    expect(page.get_by_text("Please enter an authenticator code")).to_be_visible()
    assert fits(page)
    enter_code(page, secret)

    leave(page)
    enter(page, name)
    page.get_by_label(CODE).fill(codes[0])
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_a_forgotten_password_is_replaced_by_a_letter(visit, product):
    name = make_person(product, "forgetful")
    page = visit()
    page.get_by_role("link", name="Forgot").click()
    page.get_by_label("Email").fill(f"{name}@example.org")
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url("**/reset/done/")
    letters = product.log.read_text().split(f"To: {name}@example.org")
    [link] = re.findall(r"/accounts/password/reset/key/\S+", letters[-1])

    page.goto(link)
    for label in ("New password", "New password (again)"):
        page.get_by_label(re.compile(re.escape(label) + "$", re.I)).fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change Password").click()
    page.wait_for_url("**/reset/key/done/")

    page.goto("/accounts/login/")
    enter(page, name, NEW_PASSWORD)
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_a_passkey_signs_in_without_a_password(visit, product):
    name = make_person(product, "passkey")
    page = visit()
    add_virtual_authenticator(page)
    enter(page, name)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Add").click()
    confirm_password(page)
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Unused codes")).to_be_visible()

    leave(page)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()

    leave(page)
    enter(page, name)
    page.get_by_role("button", name="Use a security key").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_signing_out_elsewhere_closes_the_pages_there(visit, product):
    name = make_person(product, "sessions")
    here, there = enter(visit(), name), enter(visit(), name)
    expect(there.get_by_label("Message", exact=True)).to_be_visible()
    here.goto("/accounts/sessions/")
    expect(here.locator(".account-list li")).to_have_count(2)

    here.get_by_role("button", name="Sign Out Other Sessions").click()

    expect(here.locator(".account-list li")).to_have_count(1)
    there.wait_for_url("**/accounts/login/**")  # its socket was closed


def test_a_new_account_waits_until_an_operator_lets_it_in(visit, console):
    page = visit("/accounts/signup/")
    sign_up(page, "newcomer")
    expect(page.get_by_role("heading", name="waits for approval")).to_be_visible()

    console.goto("/admin/controller/user/?approval=waits")
    row = console.locator("#result_list tr", has_text="newcomer")
    row.locator("input[name=_selected_action]").check()
    console.locator("select[name=action]").select_option("approve")
    console.locator("button[name=index]").click()
    expect(console.get_by_text("1 account let in.")).to_be_visible()

    page.goto("/accounts/login/")
    enter(page, "newcomer")
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_an_operators_invitation_makes_an_account(visit, console):
    console.goto("/admin/controller/invitation/add/")
    console.get_by_label("Email").fill("guest@example.org")
    console.get_by_role("button", name="Save").click()
    link = console.locator("#secret").inner_text()

    address = urlsplit(link)
    page = visit(f"{address.path}?{address.query}")
    sign_up(page, "guest")

    expect(page.get_by_label("Message", exact=True)).to_be_visible()


@WIDTHS
def test_an_account_is_taken_home_and_deleted_with_a_receipt(visit, product, width):
    name = make_person(product, f"leaver{width['viewport']['width']}")
    page = enter(visit(**width), name)
    page.goto("/account/")
    assert fits(page)
    page.get_by_role("link", name="Delete the account").click()
    confirm_password(page)
    page.get_by_label("Your username").fill(name)
    assert fits(page)
    page.get_by_role("button", name="Delete for good").click()

    expect(page.get_by_role("heading", name="Your account is deleted")).to_be_visible()
    assert fits(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the receipt").click()
    assert '"sha256"' in download.value.path().read_text()
    page.goto("/")
    expect(page.get_by_label("Login")).to_be_visible()
