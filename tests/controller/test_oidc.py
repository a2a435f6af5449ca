"""Signing in by a provider, against a real OpenID Connect server."""

import json
import urllib.request
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from config import social
from controller.accounts.invitations import invitation_path
from controller.models import User
from tests.factories import make_invitation, make_user
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, running_oidc_provider

LOGIN = "/accounts/oidc/corp/login/"


@pytest.fixture(scope="module")
def running():
    with running_oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(running, settings, monkeypatch, db):
    """Configured as the environment would, with open sign-up by it."""
    cache.clear()
    entry = {
        "id": "corp",
        "name": "Corp",
        "issuer": running.url,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    monkeypatch.setenv("OIDC_PROVIDERS", json.dumps([entry]))
    settings.SOCIALACCOUNT_PROVIDERS = social.providers()[0]
    settings.SOCIAL_SIGN_UP = "open"
    return running


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args):
        return None


def follow(client):
    """The page that the browser ends on, having been to the provider."""
    there = client.post(LOGIN)
    try:
        urllib.request.build_opener(_Stay).open(there.url, timeout=20)
    except HTTPError as redirect:
        back = urlsplit(redirect.headers["Location"])
        redirect.close()
    return client.get(f"{back.path}?{back.query}")


def test_the_sign_in_page_offers_the_provider(client, provider):
    page = client.get(reverse("account_login")).text

    assert f'action="{LOGIN}' in page
    assert ">Corp</button>" in page


def test_whom_the_provider_knows_gets_an_account_and_is_signed_in(client, provider):
    answer = follow(client)

    user = User.objects.get()
    assert answer.status_code == 302
    assert (user.username, user.email) == ("ann", "ann@example.org")
    assert not user.has_usable_password()
    assert client.session["_auth_user_id"] == str(user.pk)

    client.logout()
    follow(client)
    assert User.objects.count() == 1
    assert client.session["_auth_user_id"] == str(user.pk)


def test_an_address_that_is_taken_already_takes_over_no_account(client, provider):
    make_user(username="other", email="ann@example.org", is_staff=True)

    follow(client)

    assert "_auth_user_id" not in client.session


def test_sign_up_by_a_provider_takes_an_invitation_where_that_is_set(
    client, provider, settings
):
    settings.SIGN_UP = settings.SOCIAL_SIGN_UP = "invitation"
    follow(client)
    assert not User.objects.exists()

    invitation, secret = make_invitation()
    client.get(invitation_path(secret))
    follow(client)

    invitation.refresh_from_db()
    assert invitation.accepted_by == User.objects.get()


def test_an_invitation_for_an_address_makes_no_other_account_by_a_provider_either(
    client, provider, settings
):
    settings.SIGN_UP = settings.SOCIAL_SIGN_UP = "invitation"
    for address, is_let_in in (("bob@example.org", False), ("Ann@example.org", True)):
        invitation, secret = make_invitation(email=address)
        client.get(invitation_path(secret))
        follow(client)

        invitation.refresh_from_db()
        assert (invitation.accepted_by is not None) is is_let_in
        assert User.objects.exists() is is_let_in


def test_sign_up_by_a_provider_waits_for_approval_where_that_is_set(
    client, provider, settings
):
    settings.SOCIAL_SIGN_UP = "approval"

    page = follow(client)

    assert "waits for approval" in page.text
    assert not User.objects.get().is_active
    assert "_auth_user_id" not in client.session


def test_a_state_of_somebody_else_signs_nobody_in(client, provider):
    client.post(LOGIN)

    client.get("/accounts/oidc/corp/login/callback/", {"code": "x", "state": "stolen"})

    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"OIDC_PROVIDERS": "{"}, "not JSON"),
        ({"OIDC_PROVIDERS": '[{"id": "corp"}]'}, "id, issuer, client_id"),
        ({"OIDC_ISSUER": "https://a.example"}, "OIDC_CLIENT_ID is not"),
        ({"GITHUB_CLIENT_ID": "x"}, "GITHUB_CLIENT_SECRET is not"),
    ],
)
def test_a_wrong_provider_is_named_at_the_start(monkeypatch, variables, complaint):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=complaint):
        social.providers()


def test_providers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OIDC_ISSUER", "https://id.example/")
    monkeypatch.setenv("OIDC_CLIENT_ID", "one")
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "two")
    monkeypatch.setenv("GITHUB_CLIENT_ID", "three")
    monkeypatch.setenv("GITHUB_CLIENT_SECRET", "four")

    providers, apps = social.providers()

    (oidc,) = providers["openid_connect"]["APPS"]
    assert (oidc["provider_id"], oidc["name"]) == ("oidc", "Single sign-on")
    assert oidc["settings"] == {"server_url": "https://id.example"}
    assert providers["github"]["APPS"] == [{"client_id": "three", "secret": "four"}]
    assert apps == ["allauth.socialaccount.providers.github"]
