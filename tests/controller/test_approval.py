"""Accounts that wait until an operator lets them in."""

import pytest
from auditlog.models import LogEntry
from django.core.cache import cache
from django.urls import reverse

from controller.accounts.invitations import invitation_path
from controller.models import DeletionReceipt, User
from tests.factories import make_invitation, make_operator, make_user

PASSWORD = "correct horse battery"
SIGN_UP = reverse("account_signup")
SIGN_IN = reverse("account_login")
USERS = reverse("admin:controller_user_changelist")


@pytest.fixture(autouse=True)
def approval(settings, db):
    cache.clear()
    settings.SIGN_UP = "approval"


def sign_up(client):
    form = {"username": "ann", "email": "ann@example.org"}
    return client.post(SIGN_UP, form | {"password1": PASSWORD, "password2": PASSWORD})


def decide(client, action, *users):
    client.force_login(make_operator())
    selected = [user.pk for user in users]
    form = {"action": action, "_selected_action": selected, "post": "yes"}
    client.post(USERS, form)
    client.logout()


def test_a_new_account_waits_and_is_told_so(
    client, mailoutbox, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        page = sign_up(client)

    user = User.objects.get()
    assert "waits for approval" in page.text
    assert not user.is_active
    assert "_auth_user_id" not in client.session
    (letter,) = mailoutbox
    assert (letter.to, "waits" in letter.subject) == (["ann@example.org"], True)

    page = client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})
    assert "waits for approval" in page.text
    assert "_auth_user_id" not in client.session


def test_who_is_let_in_is_told_and_signs_in(
    client, mailoutbox, django_capture_on_commit_callbacks
):
    sign_up(client)

    with django_capture_on_commit_callbacks(execute=True):
        decide(client, "approve", User.objects.get())
    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    assert "_auth_user_id" in client.session
    assert SIGN_IN in mailoutbox[-1].body


def test_a_letter_is_in_the_language_of_who_gets_it(
    client, mailoutbox, django_capture_on_commit_callbacks
):
    client.cookies.load({"django_language": "zh-hans"})
    sign_up(client)
    client.cookies.load({"django_language": "en"})

    with django_capture_on_commit_callbacks(execute=True):
        decide(client, "approve", User.objects.get())

    assert "您的账户已开通" in mailoutbox[-1].subject


def test_who_is_refused_is_deleted_and_told(
    client, mailoutbox, django_capture_on_commit_callbacks
):
    sign_up(client)

    with django_capture_on_commit_callbacks(execute=True):
        decide(client, "refuse", User.objects.get())

    assert not User.objects.filter(username="ann").exists()
    assert mailoutbox[-1].to == ["ann@example.org"]
    assert DeletionReceipt.objects.exists()
    assert "ann" not in str(list(LogEntry.objects.values("object_repr", "changes")))


def test_refusing_is_asked_for_first(client):
    sign_up(client)
    client.force_login(make_operator())
    chosen = {"action": "refuse", "_selected_action": [User.objects.first().pk]}

    page = client.post(USERS, chosen)

    assert User.objects.filter(username="ann").exists()
    assert "are deleted" in page.text


def test_a_letter_leads_to_the_public_address_whatever_host_the_operator_is_at(
    client, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.PUBLIC_URL = "https://chat.example.org"
    sign_up(client)

    with django_capture_on_commit_callbacks(execute=True):
        decide(client, "approve", User.objects.get())

    assert f"https://chat.example.org{SIGN_IN}" in mailoutbox[-1].body
    assert "testserver" not in mailoutbox[-1].body


def test_deciding_touches_nobody_who_does_not_wait(client):
    closed, open_ = make_user(is_active=False), make_user()

    decide(client, "approve", closed, open_)
    decide(client, "refuse", closed, open_)

    closed.refresh_from_db()
    assert not closed.is_active
    assert User.objects.filter(pk=open_.pk, is_active=True).exists()


def test_an_invited_person_does_not_wait(client):
    _, secret = make_invitation()
    client.get(invitation_path(secret))

    sign_up(client)

    assert User.objects.get().is_active
    assert "_auth_user_id" in client.session


def test_a_closed_account_is_not_told_to_wait(client):
    make_user(username="ann", password=PASSWORD, is_active=False)

    page = client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    assert "has closed this account" in page.text


def test_the_list_shows_who_waits(client):
    sign_up(client)
    client.force_login(make_operator(username="operator"))

    listed = client.get(USERS, {"approval": "waits"}).context["cl"].result_list

    assert [user.username for user in listed] == ["ann"]
