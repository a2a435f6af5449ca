"""Guests on the chat's pages and sockets: in by a link, bounded, and out at its end."""

import asyncio
import logging
import re
from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from channels.db import database_sync_to_async
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, get_resolver
from django.utils.timezone import now

from chat.generations import generations
from chat.models import Conversation, Message
from controller.gateway import gateway
from controller.guests import bounds, links
from controller.models import (
    GuestLink,
    LedgerEntry,
    Membership,
    TermsConsent,
    TermsVersion,
    User,
)
from tests.chat.pages import Page
from tests.chat.talks import client_of, said
from tests.factories import make_guest, make_guest_link, make_user

pytestmark = pytest.mark.django_db
SLOW = "[[tokens=400 interval_ms=50]]"


@pytest.fixture(autouse=True)
def no_counters():
    cache.clear()  # of the sign-in limits


@pytest.fixture
async def guest(transactional_db):
    def make():
        link, _secret = make_guest_link(limits={"requests_per_minute": 2})
        return make_guest(link, username="guest-1-abc")

    return await database_sync_to_async(make)()


def invited(secret, client=None):
    """Open the link and press its button; (the client, the last answer)."""
    client = client or client_of()
    page = client.get(links.path_of(secret))
    assert page.status_code == 200, page
    return client, client.post("/guest/", {"link": secret})


def end(link):
    GuestLink.objects.filter(pk=link.pk).update(expires_at=now())


# -- in -------------------------------------------------------------------------------


def test_looking_at_a_link_makes_nobody_and_the_button_makes_a_guest():
    link, secret = make_guest_link()

    client = client_of()
    page = client.get(links.path_of(secret))

    assert b"You are invited to chat as a guest" in page.content
    assert "sessionid" not in page.cookies
    assert not User.objects.exists()
    answer = client.post("/guest/", {"link": secret})
    guest = User.objects.get()
    assert (answer.status_code, answer.url) == (302, "/")
    assert guest.guest_link == link
    assert not guest.has_usable_password()
    assert not Membership.objects.exists()
    assert client.get("/library/").context["user"] == guest
    expiry = client.session.get_expiry_date()
    assert expiry == link.expires_at + links.TOLD_FOR
    assert UserSession.objects.get().user == guest


def test_another_sites_form_makes_no_guest():
    _link, secret = make_guest_link()
    client = client_of()
    client.handler.enforce_csrf_checks = True

    assert client.post("/guest/", {"link": secret}).status_code == 403
    assert not User.objects.exists()


def test_the_same_browser_goes_on_with_the_same_guest():
    link, secret = make_guest_link(max_guests=1)
    client, _answer = invited(secret)

    again = client.get(links.path_of(secret))
    pressed = client.post("/guest/", {"link": secret})

    assert (again.url, pressed.url) == ("/", "/")
    link.refresh_from_db()
    assert link.num_guests == User.objects.count() == 1


def test_who_is_signed_in_needs_no_guest_account():
    _link, secret = make_guest_link()
    client = client_of(make_user(username="ada"))

    for answer in (
        client.get(links.path_of(secret)),
        client.post("/guest/", {"link": secret}),
    ):
        assert b"You are signed in as ada" in answer.content
    other = client_of(make_guest(make_guest_link()[0]))
    assert b"by another link" in other.get(links.path_of(secret)).content
    assert User.objects.count() == 2


def test_all_that_opens_nothing_is_answered_alike():
    (ended, of_ended), (revoked, of_revoked) = make_guest_link(), make_guest_link()
    full, of_full = make_guest_link(max_guests=1)
    make_guest(full)
    end(ended)
    links.revoke(revoked)
    unknown = of_ended[:-1] + ("x" if of_ended[-1] != "x" else "y")

    secrets = (of_ended, of_revoked, of_full, unknown, "")
    answers = [client_of().get(links.path_of(secret)) for secret in secrets]
    posts = [client_of().post("/guest/", {"link": secret}) for secret in secrets]

    assert {answer.status_code for answer in (*answers, *posts)} == {404}
    pages = {without_tokens(answer) for answer in answers}
    assert b"Ask whoever gave you the link for a new one." in answers[0].content
    assert len(pages) == 1
    assert User.objects.count() == 1


def without_tokens(answer):
    """The page but for the form of the language, which repeats the address."""
    lines = answer.content.decode().splitlines()
    words = ("csrfmiddlewaretoken", 'name="next"')
    return "\n".join(each for each in lines if not any(word in each for word in words))


def test_guesses_and_newcomers_are_limited_by_address(settings):
    assert settings.ACCOUNT_RATE_LIMITS["guest"]
    settings.ACCOUNT_RATE_LIMITS = {"guest": "2/m/ip", "guest_link_failed": "3/m/ip"}
    _link, secret = make_guest_link()

    guesses = [client_of().get("/guest/?link=x") for _ in range(4)]
    newcomers = [client_of().post("/guest/", {"link": secret}) for _ in range(3)]

    assert [each.status_code for each in guesses] == [404, 404, 404, 429]
    assert [each.status_code for each in newcomers] == [302, 302, 429]
    assert b"Wait a minute, then try again" in newcomers[-1].content
    assert client_of().get(links.path_of(secret)).status_code == 200
    assert User.objects.count() == 2


def test_the_page_is_left_by_search_engines_and_no_log_has_the_secret(caplog):
    link, secret = make_guest_link()
    caplog.set_level(logging.DEBUG)

    page = client_of().get(links.path_of(secret))
    invited(secret)
    links.revoke(link)
    client_of().get(links.path_of(secret))

    assert page["X-Robots-Tag"] == "noindex, nofollow, noarchive"
    assert page["Referrer-Policy"] == "same-origin"
    assert "no-store" in page["Cache-Control"]
    assert caplog.records
    assert secret not in caplog.text.replace("SELECT", "")


def test_terms_are_shown_to_guests_as_to_anyone():
    TermsVersion.objects.create(version="1", text="Be kind.")
    _link, secret = make_guest_link()
    client, _answer = invited(secret)

    assert client.get("/").url.startswith("/terms/")
    client.post("/terms/", {"version": "1"})

    assert client.get("/library/").status_code == 200
    assert TermsConsent.objects.get().user == User.objects.get()


# -- what they may ---------------------------------------------------------------------


def pages(patterns, prefix="", space=""):
    for each in patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield f"{space}{each.name}", route
        else:
            inner = f"{space}{each.namespace}:" if each.namespace else space
            yield from pages(each.url_patterns, route, inner)


def test_what_is_not_the_chat_does_not_exist_for_a_guest(site_urls):
    guest = make_guest(make_guest_link()[0])
    client = client_of(guest)
    open_to = bounds.FOR_ALL | bounds.FOR_GUESTS
    wrong = []

    for name, address in site_urls:
        if name in open_to:
            continue
        answers = client.get(address), client.post(address)
        statuses = {answer.status_code for answer in answers}
        if statuses != {404}:
            wrong.append((name, statuses))

    assert wrong == []
    names = {name for name, _address in site_urls}
    assert open_to <= names
    assert {"chat:keys", "admin:index", "account_change_password"} <= names


@pytest.fixture
def site_urls():
    """(name, address) of every page, with something in each argument's place."""
    samples = {"uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "int": "1"}
    found = []
    for name, route in pages(get_resolver().url_patterns):
        address = re.sub(r"<(\w+):\w+>", lambda m: samples.get(m[1], "x"), route)
        address = re.sub(r"\(\?P<show>[^)]*\)", "archived", address)
        address = re.sub(
            r"\(\?P<kind>[^)]*\)", "csv" if "csv" in address else "md", address
        )
        address = re.sub(r"\(\?P<url>\.\*\)", "x", address)
        address = re.sub(r"\(\?P<\w+>[^)]*\)", samples["uuid"], address)
        address = address.replace("\\.", ".").replace("^", "").replace("$", "")
        found.append((name, "/" + address))
    return found


def test_another_guest_sees_nothing_of_the_first():
    link, secret = make_guest_link()
    first, _answer = invited(secret)
    other, _answer = invited(secret)
    talk = said(User.objects.order_by("pk")[0], "a secret question").conversation_id

    mine = first.get(f"/c/{talk}/export.md").status_code
    others = [
        other.get(f"/c/{talk}/").status_code,
        other.get(f"/c/{talk}/export.md").status_code,
        other.get(f"/library/api/readers/{talk}/").status_code,
    ]

    readers = first.get(f"/library/api/readers/{talk}/").json()
    assert (mine, others) == (200, [404, 404, 404])
    assert readers["goes_at"] == (link.expires_at + timedelta(days=1)).isoformat()
    assert b"a secret question" not in other.get("/library/").content
    listed = other.get("/library/api/conversations/").json()
    assert listed["conversations"] == []


@pytest.mark.django_db(transaction=True)
async def test_a_guests_page_offers_no_more_than_there_is(guest, site):
    def read():
        client = client_of(guest)
        where = ("/", "/library/", "/accounts/logout/")
        return [client.get(each).content.decode() for each in where]

    page, library, leave = await database_sync_to_async(read)()

    for address in ("/keys/", "/usage/", "/limits/", "/saved/", "/accounts/2fa/"):
        assert address not in page
    assert '"canManageShelves": false' in page
    assert "Guest, 2 d left" in page
    assert "/library/links/" not in library
    assert "/library/transfer/" not in library
    assert "not even you by the same link" in leave
    assert "/accounts/password/change/" not in leave


def test_a_guest_keeps_less_than_a_person(settings):
    settings.GUEST_ATTACHMENT_QUOTA_BYTES = 10
    client, _answer = invited(make_guest_link()[1])
    statuses = [
        each.post("/attachments/", {"file": SimpleUploadedFile("a.txt", b"x" * 11)})
        for each in (client, client_of(make_user()))
    ]

    assert [answer.status_code for answer in statuses] == [400, 201]


def test_all_guests_of_a_link_keep_no_more_than_one_person(settings):
    settings.CHAT_ATTACHMENT_QUOTA_BYTES = 25
    (link, _secret), (other, _secret) = make_guest_link(), make_guest_link()
    guests = [make_guest(each) for each in (link, link, link, other)]
    answers = [
        client_of(guest).post(
            "/attachments/", {"file": SimpleUploadedFile("a.txt", b"x" * 10)}
        )
        for guest in guests
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 400, 201]
    assert "all guests of your link" in answers[2].json()["error"]["message"]


# -- out -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [end, links.revoke])
def test_after_the_end_a_guest_is_told_once_and_is_a_stranger(ending):
    link, secret = make_guest_link()
    client, _answer = invited(secret)

    ending(link)
    answer = client.get("/", follow=True)

    assert answer.redirect_chain == [("/guest/over/", 302)]
    assert b"Your time as a guest is over" in answer.content
    assert client.get("/").url.startswith("/accounts/login/")
    assert not UserSession.objects.exists() or not client.session.get("_auth_user_id")


def test_after_the_end_scripts_are_refused_and_the_page_that_is_asked_for_says_why():
    link, secret = make_guest_link()
    client, _answer = invited(secret)
    file = {"file": SimpleUploadedFile("a.txt", b"x")}

    end(link)
    calls = [
        client.get("/library/api/conversations/"),
        client.post("/library/api/change/", {}, content_type="application/json"),
        client.post("/attachments/", file),
    ]

    assert [answer.status_code for answer in calls] == [401] * 3
    assert all("message" in answer.json()["error"] for answer in calls)
    assert client.get("/").url == "/guest/over/"


def test_the_page_of_the_end_leads_on_who_is_signed_in_still():
    """Such as a guest whose page was closed for want of a consent."""
    client, _answer = invited(make_guest_link()[1])

    assert client.get("/guest/over/").url == "/"
    assert client_of(make_user()).get("/guest/over/").url == "/"


def test_whose_link_is_over_can_be_invited_by_another():
    link, secret = make_guest_link()
    client, _answer = invited(secret)
    end(link)
    other, another_secret = make_guest_link()

    invited(another_secret, client)

    assert client.get("/library/").context["user"].guest_link == other


# -- sockets ---------------------------------------------------------------------------


revoke = database_sync_to_async(links.revoke)


@pytest.mark.django_db(transaction=True)
async def test_the_ledger_names_guest_and_team_and_the_links_limits_hold(
    guest, site, settings
):
    settings.CHAT_TITLES = False
    async with Page(guest) as page:
        shown = await page.ask("hello")
        await page.read_answer()
        talk = shown["conversation"]["id"]
        await page.ask("again", conversation=talk)
        await page.read_answer()
        await page.ask("once more", conversation=talk)
        _text, refused = await page.read_answer()

    await gateway().flush()
    entry = await LedgerEntry.objects.select_related("user", "team").afirst()
    assert (entry.user, entry.team_id, entry.face) == (
        guest,
        guest.guest_link.team_id,
        "chat",
    )
    assert refused["state"] == "failed"
    assert "requests per minute" in refused["error"]


@pytest.mark.django_db(transaction=True)
async def test_revoking_a_link_ends_its_guests_answers_and_sockets(guest, site):
    async with Page(guest) as page:
        await page.ask(f"hello {SLOW}")
        await page.hear("delta")

        await revoke(guest.guest_link)

        assert await page.closing_code() == 4401
    async with Page(guest) as page:
        assert await page.closing_code() == 4401
    while generations._tasks:
        await asyncio.wait(generations._tasks)
    message = await Message.objects.aget(role="assistant")
    assert (message.state, message.error_code) == ("failed", "guest_link_ended")
    assert message.content


@pytest.mark.django_db(transaction=True)
async def test_the_end_of_a_link_ends_its_guests_answers_and_sockets(
    guest, site, monkeypatch
):
    async with Page(guest) as page:
        await page.ask(f"hello {SLOW}")
        await page.hear("delta")

        moment = guest.guest_link.expires_at
        monkeypatch.setattr("controller.guests.watch.now", lambda: moment)

        event = await page.hear("settled")
        assert event["message"]["error_code"] == "guest_link_ended"
        assert await page.closing_code() == 4401
    assert await Conversation.objects.acount() == 1
