"""The pages of one's own data, and of teams."""

import io
import zipfile

import pytest
from channels.db import database_sync_to_async as in_database
from django.core.cache import cache
from django.urls import reverse

from controller.models import DeletionReceipt, Membership, User
from tests.factories import make_key, make_team, make_user

PASSWORD = "correct horse battery"
DELETE = reverse("chat:delete_account")
OWNER, MEMBER = Membership.Role.OWNER, Membership.Role.MEMBER


@pytest.fixture(autouse=True)
def no_counters_of_other_tests():
    cache.clear()


@pytest.fixture
def ann(client, db):
    user = make_user(username="ann", password=PASSWORD)
    client.force_login(user)
    return user


def confirm_password(client):
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})


def test_the_language_of_the_pages_is_kept_for_letters(client, ann):
    where = reverse("chat:language")

    client.post(where, {"language": "zh-hans"})
    client.post(where, {"language": "tlh"})  # which nobody has translated into

    ann.refresh_from_db()
    assert ann.language == ann.letter_language == "zh-hans"


def test_deleting_asks_for_the_password_and_the_name(client, ann):
    assert reverse("account_reauthenticate") in client.get(DELETE).url
    client.post(DELETE, {"name": "ann"})
    assert User.objects.exists()

    confirm_password(client)
    page = client.post(DELETE, {"name": "bob"})
    assert "not your username" in page.text
    assert User.objects.exists()


def test_a_deleted_account_is_gone_and_signed_out_with_a_receipt(client, ann):
    confirm_password(client)

    page = client.post(DELETE, {"name": "ann"})

    receipt = DeletionReceipt.objects.get()
    assert not User.objects.exists()
    assert "_auth_user_id" not in client.session
    assert receipt.sha256 in page.text
    file = client.get(reverse("chat:receipt", args=[receipt.pk]))
    assert file.json()["sha256"] == receipt.sha256


def test_nobody_deletes_or_exports_without_signing_in(client, db):
    for name in ("chat:data", "chat:delete_account", "chat:teams"):
        assert reverse("account_login") in client.get(reverse(name)).url
    export = client.post(reverse("chat:export_data"))
    assert reverse("account_login") in export.url


async def test_the_export_comes_as_a_zip(async_client, transactional_db):
    user = await in_database(make_user)(username="ann", password=PASSWORD)
    await async_client.aforce_login(user)
    await async_client.post(reverse("account_reauthenticate"), {"password": PASSWORD})

    answer = await async_client.post(reverse("chat:export_data"))
    body = b"".join([chunk async for chunk in answer.streaming_content])

    assert answer["Content-Disposition"].startswith('attachment; filename="ann-')
    assert "controller.user.jsonl" in zipfile.ZipFile(io.BytesIO(body)).namelist()


# -- Teams -----------------------------------------------------------------------------


@pytest.fixture
def team(ann):
    team = make_team(ann, name="research")
    Membership.objects.update(role=OWNER)
    return team


def team_url(team):
    return reverse("chat:team", args=[team.pk])


def membership(team, user):
    return Membership.objects.get(team=team, user=user)


@pytest.mark.parametrize("typed", ["bob", "BOB@example.org"])
def test_an_owner_adds_somebody_by_name_or_address(client, team, typed):
    bob = make_user(username="bob", email="bob@example.org")

    client.post(team_url(team), {"name": typed, "role": "member"})

    assert membership(team, bob).role == MEMBER
    page = client.post(team_url(team), {"name": typed, "role": "member"})
    assert "in the team already" in page.text
    page = client.post(team_url(team), {"name": "nobody", "role": "member"})
    assert "No account here" in page.text


def test_a_member_sees_the_team_and_changes_nothing(client, team, ann):
    bob = make_user()
    Membership.objects.filter(user=ann).update(role=MEMBER)
    Membership.objects.create(team=team, user=bob, role=OWNER)
    make_user(username="eve")

    assert "research" in client.get(team_url(team)).text
    client.post(team_url(team), {"name": "eve", "role": "owner"})
    of_bob = membership(team, bob)
    for name in ("chat:member_role", "chat:remove_member"):
        answer = client.post(reverse(name, args=[of_bob.pk]), {"role": "member"})
        assert answer.status_code == 404

    assert team.memberships.count() == 2
    assert membership(team, bob).role == OWNER


def test_another_team_is_found_nowhere(client, team):
    other = make_team(make_user(), name="secret plans")
    of_other = other.memberships.get()

    assert client.get(team_url(other)).status_code == 404
    remove = reverse("chat:remove_member", args=[of_other.pk])
    assert client.post(remove).status_code == 404
    assert "secret plans" not in client.get(reverse("chat:teams")).text


def test_who_is_removed_loses_the_keys_of_the_team(client, team):
    bob = make_user()
    Membership.objects.create(team=team, user=bob)
    (of_team, _), (own, _) = make_key(bob, team=team), make_key(bob)
    remove = reverse("chat:remove_member", args=[membership(team, bob).pk])
    assert "1 key that they made" in client.get(remove).text

    client.post(remove)

    of_team.refresh_from_db()
    own.refresh_from_db()
    assert (of_team.is_active, own.is_active) == (False, True)
    assert not team.memberships.filter(user=bob).exists()


def test_the_last_owner_stays_an_owner(client, team, ann):
    mine = membership(team, ann)

    for name in ("chat:member_role", "chat:remove_member"):
        url = reverse(name, args=[mine.pk])
        page = client.post(url, {"role": "member"}, follow=True)
        assert "needs an owner" in page.text
    assert membership(team, ann).role == OWNER

    bob = Membership.objects.create(team=team, user=make_user())
    client.post(reverse("chat:member_role", args=[bob.pk]), {"role": "owner"})
    client.post(reverse("chat:remove_member", args=[mine.pk]))
    assert team.memberships.get().role == OWNER
