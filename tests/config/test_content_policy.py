"""What a browser is told that it may run and load, page by page."""

import re

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.core.cache import cache

from tests.controller.console import addresses, make_everything
from tests.factories import make_operator, make_user

PASSWORD = "correct horse battery"
# Below /accounts/.
FOR_STRANGERS = ["login/", "password/reset/"]
FOR_PEOPLE = [
    "password/change/",
    "email/",
    "2fa/",
    "2fa/totp/activate/",
    "2fa/webauthn/",
    "2fa/webauthn/add/",
    "2fa/recovery-codes/generate/",
    "sessions/",
    "reauthenticate/",
    "logout/",
]


def policy_of(response):
    """Each directive with its sources."""
    stated = response["Content-Security-Policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in stated)


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/accounts/login/", "/usage/"])
def test_every_page_has_a_policy(client, db, path):
    policy = policy_of(client.get(path))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in str(policy)


def assert_no_script_of_its_own(response):
    page = response.content.decode()
    assert response.status_code == 200
    scripts = re.findall(r"<script(.*?)>", page)
    assert all("src=" in each or "application/json" in each for each in scripts)
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", page)


@pytest.mark.parametrize("page", [*FOR_STRANGERS, *FOR_PEOPLE])
def test_pages_of_accounts_have_no_script_of_their_own(client, db, page):
    cache.clear()  # the counters of other tests' sign-ins
    user = make_user(password=PASSWORD)
    if page in FOR_PEOPLE:
        client.force_login(user)
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    assert_no_script_of_its_own(client.get(f"/accounts/{page}"))


def test_the_page_of_codes_has_no_script_of_its_own(client, db):
    user = make_user(password=PASSWORD)
    TOTP.activate(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    form = {"login": user.username, "password": PASSWORD}

    page = client.post("/accounts/login/", form, follow=True)

    assert page.redirect_chain[0][0] == "/accounts/2fa/authenticate/"
    assert_no_script_of_its_own(page)


def test_the_console_takes_nothing_from_other_sites_nor_from_within_pages(client, db):
    make_everything()
    client.force_login(make_operator())

    for name, address in addresses():
        response = client.get(address)
        policy = policy_of(response)
        assert policy["script-src"] == "'self' 'unsafe-eval'", name
        assert policy["connect-src"] == policy["form-action"] == "'self'", name
        assert policy["object-src"] == policy["base-uri"] == "'none'", name


@pytest.mark.parametrize("path", ["/usage/", "/accounts/2fa/", "/admin/", "/nowhere"])
def test_no_page_can_be_framed(client, db, path):
    client.force_login(make_operator())

    response = client.get(path)

    assert response["X-Frame-Options"] == "DENY"
    assert policy_of(response)["frame-ancestors"] == "'none'"


def test_a_form_may_lead_to_a_provider_of_sign_in_where_there_is_one(
    client, db, settings
):
    settings.SOCIALACCOUNT_PROVIDERS = {"github": {"APPS": [{"client_id": "1"}]}}

    assert "form-action" not in policy_of(client.get("/accounts/login/"))
    assert policy_of(client.get("/usage/"))["form-action"] == "'self'"
