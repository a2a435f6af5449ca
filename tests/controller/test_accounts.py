import threading
from datetime import timedelta
from ipaddress import ip_network

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from controller.accounts.invitations import invitation_path
from controller.models import User
from tests.factories import make_invitation, make_user

PASSWORD = "correct horse battery"
SIGN_IN = reverse("account_login")
SIGN_UP = reverse("account_signup")


@pytest.fixture(autouse=True)
def no_counters_of_other_tests():
    cache.clear()


def sign_up(client, username="ann", **fields):
    form = {"username": username, "password1": PASSWORD, "password2": PASSWORD}
    return client.post(SIGN_UP, form | fields)


@pytest.mark.parametrize("login", ["ann", "ann@example.org", "ANN@example.org"])
def test_people_sign_in_by_username_or_address(client, db, login):
    user = make_user(username="ann", email="ann@example.org", password=PASSWORD)

    answer = client.post(SIGN_IN, {"login": login, "password": PASSWORD})

    assert answer.status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_wrong_password_signs_nobody_in(client, db):
    make_user(username="ann", password=PASSWORD)

    answer = client.post(SIGN_IN, {"login": "ann", "password": "wrong"})

    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


def test_somebody_deactivated_cannot_sign_in(client, db):
    make_user(username="ann", password=PASSWORD, is_active=False)

    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    assert "_auth_user_id" not in client.session


def test_guessing_a_password_is_stopped_before_the_right_one(client, db):
    make_user(username="ann", password=PASSWORD)
    for number in range(5):
        client.post(SIGN_IN, {"login": "ann", "password": f"guess {number}"})

    answer = client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    assert b"Too many failed login attempts" in answer.content
    assert "_auth_user_id" not in client.session


def test_guesses_count_together_whatever_host_they_are_sent_to(client, db):
    make_user(username="ann", password=PASSWORD)
    for number in range(5):
        wrong = {"login": "ann", "password": f"guess {number}"}
        client.post(SIGN_IN, wrong, headers={"Host": f"testserver:{8000 + number}"})

    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    assert "_auth_user_id" not in client.session


def test_limits_count_the_client_behind_a_trusted_proxy(client, db, settings):
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    for number in range(12):
        answer = client.post(
            SIGN_IN,
            {"login": f"user {number}", "password": "guess"},
            headers={"X-Forwarded-For": "198.51.100.1"},
        )
    assert b"Too many failed login attempts" in answer.content

    make_user(username="ann", password=PASSWORD)
    client.post(
        SIGN_IN,
        {"login": "ann", "password": PASSWORD},
        headers={"X-Forwarded-For": "198.51.100.2"},
    )

    assert "_auth_user_id" in client.session


def test_signing_out_takes_a_post(client, db):
    client.force_login(make_user())

    client.get(reverse("account_logout"))
    assert "_auth_user_id" in client.session

    client.post(reverse("account_logout"))
    assert "_auth_user_id" not in client.session


def test_changing_the_password_asks_for_the_old_one(client, db):
    user = make_user(password=PASSWORD)
    client.force_login(user)
    new = {"password1": "quite another phrase", "password2": "quite another phrase"}

    client.post(reverse("account_change_password"), {"oldpassword": "wrong"} | new)
    user.refresh_from_db()
    assert user.check_password(PASSWORD)

    client.post(reverse("account_change_password"), {"oldpassword": PASSWORD} | new)
    user.refresh_from_db()
    assert user.check_password("quite another phrase")


def test_anybody_signs_up_where_it_is_open(client, db, settings):
    settings.SIGN_UP = "open"

    answer = sign_up(client)

    assert answer.status_code == 302
    user = User.objects.get(username="ann")
    assert client.session["_auth_user_id"] == str(user.pk)
    assert not user.is_staff


@pytest.mark.parametrize("password", ["short", "password123", "12345678901"])
def test_weak_passwords_are_refused(client, db, settings, password):
    settings.SIGN_UP = "open"

    answer = sign_up(client, password1=password, password2=password)

    assert answer.context["form"].errors["password1"]
    assert not User.objects.exists()


def test_nobody_signs_up_where_it_is_closed(client, db, settings):
    settings.SIGN_UP = "closed"
    _, secret = make_invitation()
    client.get(invitation_path(secret))

    sign_up(client)

    assert not User.objects.exists()


def test_nobody_signs_up_without_an_invitation(client, db, settings):
    settings.SIGN_UP = "invitation"

    answer = client.get(SIGN_UP)
    assert b"password1" not in answer.content

    sign_up(client)
    assert not User.objects.exists()


def test_an_invitation_makes_one_account(client, db, settings):
    settings.SIGN_UP = "invitation"
    invitation, secret = make_invitation()

    assert b"password1" in client.get(invitation_path(secret)).content
    sign_up(client)

    invitation.refresh_from_db()
    assert invitation.accepted_by == User.objects.get(username="ann")
    later = Client()
    assert b"password1" not in later.get(invitation_path(secret)).content


def test_the_session_never_holds_the_link(client, db, settings):
    settings.SIGN_UP = "invitation"
    _, secret = make_invitation()

    client.get(invitation_path(secret))

    assert secret not in str([row.get_decoded() for row in Session.objects.all()])


def test_who_comes_by_a_link_that_opens_nothing_is_told_what_may_be_wrong(
    client, db, settings
):
    _, secret = make_invitation(expires_at=now() - timedelta(minutes=1))

    settings.SIGN_UP = "invitation"
    invited = client.get(invitation_path(secret)).text
    settings.SIGN_UP = "closed"
    closed = client.get(SIGN_UP).text

    assert "it has ended, was withdrawn or used" in invited
    assert "operators make the accounts" in closed
    for page in (invited, closed):
        assert reverse("account_login") in page


@pytest.mark.parametrize("host", ["", "mail.example.org"])
def test_who_resets_a_password_is_told_where_no_letter_arrives(
    client, db, settings, host
):
    settings.EMAIL_HOST = host

    page = client.get(reverse("account_reset_password")).text

    assert ("no letter arrives" in page) is (not host)


def test_an_expired_invitation_opens_nothing(client, db, settings):
    settings.SIGN_UP = "invitation"
    _, secret = make_invitation(expires_at=now() - timedelta(seconds=1))

    client.get(invitation_path(secret))
    sign_up(client)

    assert not User.objects.exists()


def test_an_invitation_for_an_address_makes_no_other_account(client, db, settings):
    settings.SIGN_UP = "invitation"
    _, secret = make_invitation(email="ann@example.org")
    client.get(invitation_path(secret))

    answer = sign_up(client, email="eve@example.org")
    assert "ann@example.org" in answer.context["form"].errors["email"][0]

    sign_up(client, email="Ann@example.org")
    assert User.objects.get().email == "ann@example.org"


def test_an_invitation_is_used_up_where_sign_up_is_open_too(client, db, settings):
    settings.SIGN_UP = "open"
    invitation, secret = make_invitation()

    client.get(invitation_path(secret))
    sign_up(client)

    invitation.refresh_from_db()
    assert invitation.accepted_by is not None


@pytest.mark.django_db(transaction=True)
def test_of_two_people_with_one_invitation_one_gets_an_account(settings):
    settings.SIGN_UP = "invitation"
    _, secret = make_invitation()
    clients = {name: Client() for name in ("ann", "bob")}
    for client in clients.values():
        client.get(invitation_path(secret))
    together = threading.Barrier(2)
    statuses = []

    def submit(name):
        together.wait(timeout=10)
        statuses.append(sign_up(clients[name], username=name).status_code)
        connection.close()

    threads = [threading.Thread(target=submit, args=[name]) for name in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert User.objects.count() == 1
    assert statuses.count(302) == 1
