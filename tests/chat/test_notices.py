"""What operators tell everybody: terms of use, announcements, and the site's name."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.urls import URLPattern, reverse
from django.utils.timezone import now

from chat import urls as chat_urls
from chat.sessions import session_user
from controller.models import Announcement, TermsConsent, TermsVersion
from tests.chat.pages import make_session
from tests.factories import make_key, make_operator, make_user

TERMS, KEYS = reverse("chat:terms"), reverse("chat:keys")


@pytest.fixture
def ann(client, db):
    cache.clear()
    user = make_user(username="ann")
    client.force_login(user)
    return user


def publish(version="1", **fields):
    return TermsVersion.objects.create(version=version, text="Be kind.", **fields)


def agree(client, version="1", **fields):
    return client.post(TERMS, {"version": version} | fields)


def test_the_terms_come_before_the_first_use_and_once(client, ann):
    terms = publish()
    assert client.get(KEYS).url == f"{TERMS}?next=%2Fkeys%2F"
    assert "Be kind." in client.get(TERMS).text

    answer = agree(client, next=KEYS)

    assert answer.url == KEYS
    assert client.get(KEYS).status_code == 200
    consent = TermsConsent.objects.get()
    assert (consent.user, consent.terms) == (ann, terms)
    assert consent.address == "127.0.0.1"
    assert now() - consent.agreed_at < timedelta(minutes=1)


def test_a_new_version_is_agreed_to_anew(client, ann):
    publish("1", published_at=now() - timedelta(days=1))
    agree(client)
    publish("2")
    assert client.get(KEYS).status_code == 302

    agree(client, "1")
    assert client.get(KEYS).status_code == 302

    agree(client, "2")
    assert client.get(KEYS).status_code == 200
    assert TermsConsent.objects.count() == 2


def test_terms_of_the_future_ask_nobody(client, ann):
    publish(published_at=now() + timedelta(days=1))

    assert client.get(KEYS).status_code == 200


def test_without_consent_nothing_is_done_and_no_socket_is_open(client, ann):
    publish()

    client.post(KEYS, {"name": "laptop", "scopes": ["inference"]})

    assert not ann.api_keys.exists()
    session_key = make_session(ann)
    assert session_user(session_key) is None
    agree(client)
    assert session_user(session_key) == ann


def test_who_does_not_agree_can_leave_and_take_their_things(client, ann):
    publish()

    for name in ("chat:data", "account_logout", "chat:terms"):
        assert client.get(reverse(name)).status_code == 200, name


def test_the_terms_send_on_to_this_site_only(client, ann):
    publish()

    assert agree(client, next="https://evil.example/").url == reverse("chat:home")


def test_the_console_stays_open_without_consent(client, db):
    publish()
    client.force_login(make_operator())

    assert client.get(reverse("admin:index")).status_code == 200


def test_terms_that_somebody_agreed_to_never_change(client, db):
    terms = publish()
    TermsConsent.objects.create(user=make_user(), terms=terms)
    client.force_login(make_operator())
    page = reverse("admin:controller_termsversion_change", args=[terms.pk])

    client.post(page, {"version": "1", "text": "Be rude."})
    delete = reverse("admin:controller_termsversion_delete", args=[terms.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403

    terms.refresh_from_db()
    assert terms.text == "Be kind."


def test_an_account_that_agreed_can_be_deleted_in_the_console(client, db):
    user = make_user()
    TermsConsent.objects.create(user=user, terms=publish())
    client.force_login(make_operator())

    client.post(
        reverse("admin:controller_user_delete", args=[user.pk]), {"post": "yes"}
    )

    assert not TermsConsent.objects.exists()


# -- Announcements ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "ends", "is_shown"),
    [(None, None, True), (-1, 1, True), (1, None, False), (None, -1, False)],
)
def test_an_announcement_is_shown_in_its_time(client, ann, begins, ends, is_shown):
    at = [each and now() + timedelta(hours=each) for each in (begins, ends)]
    text = "Upgrade at <noon>"
    Announcement.objects.create(text=text, begins_at=at[0], ends_at=at[1])

    page = client.get(KEYS).text
    assert ("Upgrade at &lt;noon&gt;" in page) == is_shown
    client.force_login(make_operator())
    assert ("Upgrade at" in client.get(reverse("admin:index")).text) == is_shown


def test_the_console_shows_all_announcements_and_puts_away_what_may_be(client, db):
    Announcement.objects.create(text="stays " + "long " * 40, is_dismissible=False)
    goes = Announcement.objects.create(text="goes", level="warning")
    client.force_login(make_operator())

    teams = reverse("admin:controller_team_changelist")
    for where in (reverse("admin:index"), teams, "/admin/usage/"):
        page = client.get(where).text
        assert "long long" in page, where
        assert page.count("data-dismiss") == 1
        assert f'data-announcement="{goes.pk}"' in page
        assert "controller/announcements.js" in page


def test_strangers_see_announcements_too(client, db):
    Announcement.objects.create(text="Closed today", level="danger")

    assert "Closed today" in client.get(reverse("account_login")).text


def test_announcements_cost_one_query(client, ann, django_assert_max_num_queries):
    make_key(ann)
    client.get(KEYS)
    with django_assert_max_num_queries(30) as without:
        client.get(KEYS)
    Announcement.objects.bulk_create([Announcement(text="one"), Announcement(text="2")])

    with django_assert_max_num_queries(len(without)):
        client.get(KEYS)


# -- Name and logo ---------------------------------------------------------------------


def test_the_site_is_called_as_the_settings_say(client, ann, settings, tmp_path):
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    settings.SITE_NAME, settings.SITE_LOGO = "Example AI", str(logo)

    page = client.get(KEYS).text

    assert "· Example AI</title>" in page
    assert "Switchyard" not in page
    assert f'src="{reverse("site_logo")}"' in page
    served = client.get(reverse("site_logo"))
    assert served["Content-Type"] == "image/svg+xml"
    assert served.content == logo.read_bytes()
    assert "default-src 'none'" in served["Content-Security-Policy"]


def test_no_page_calls_the_site_otherwise(client, ann, settings):
    settings.SITE_NAME = "Example AI"
    names = {
        each.name
        for each in chat_urls.urlpatterns
        if isinstance(each, URLPattern)
        and not each.pattern.regex.groups
        and each.name != "home"  # it needs the gateway
    }
    answers = {name: client.get(reverse(f"chat:{name}")) for name in names}

    texts = {
        name: answer.text for name, answer in answers.items() if not answer.streaming
    }
    assert texts["manifest"].count("Example AI") == 2
    assert "Example AI" in texts["offline"]
    assert [name for name, text in texts.items() if "Switchyard" in text] == []


@pytest.mark.parametrize("name", ["", "missing.png", "secrets.txt"])
def test_no_other_file_is_served_as_the_logo(client, db, settings, tmp_path, name):
    (tmp_path / "secrets.txt").write_text("secret")
    settings.SITE_LOGO = str(tmp_path / name) if name else ""

    assert client.get(reverse("site_logo")).status_code == 404


def test_letters_call_the_site_by_its_name(client, db, settings, mailoutbox):
    cache.clear()
    settings.SITE_NAME = "Example AI"
    make_user(username="ann", email="ann@example.org", password="correct horse")

    client.post(reverse("account_reset_password"), {"email": "ann@example.org"})

    assert "Example AI" in mailoutbox[0].body


def test_nobody_chooses_the_host_that_a_letter_leads_to(
    client, db, settings, mailoutbox
):
    cache.clear()
    settings.PUBLIC_URL = "https://chat.example.org"
    make_user(username="ann", email="ann@example.org", password="correct horse")

    form = {"email": "ann@example.org"}
    client.post(
        reverse("account_reset_password"), form, headers={"Host": "testserver:99"}
    )

    assert "https://chat.example.org/accounts/password/reset/key/" in mailoutbox[0].body
    assert "testserver" not in mailoutbox[0].body


def test_a_letter_that_confirms_an_address_says_of_which_site(
    client, db, settings, mailoutbox
):
    cache.clear()
    settings.SITE_NAME, settings.PUBLIC_URL = "Example AI", ""
    settings.SIGN_UP, settings.ACCOUNT_EMAIL_VERIFICATION = "open", "mandatory"
    password = {"password1": "correct horse", "password2": "correct horse"}
    account = {"username": "ann", "email": "ann@example.org"}

    client.post(reverse("account_signup"), account | password)

    assert "register an account on Example AI." in mailoutbox[0].body
