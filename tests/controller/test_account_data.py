"""What is somebody's own: taken home, and deleted with proof."""

import json
import zipfile

import pytest
from allauth.account.models import EmailAddress
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from chat.models import Conversation, Message
from controller.accounts.belongings import belongings_of, visible_fields
from controller.accounts.deletion import check_deletable, delete_account
from controller.accounts.export import export_account
from controller.models import (
    ApiKey,
    DeletionReceipt,
    LedgerEntry,
    Membership,
    UsageDay,
    User,
)
from tests.factories import (
    make_ban,
    make_invitation,
    make_key,
    make_ledger_entry,
    make_moderation_flag,
    make_operator,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db


def make_conversation(user, text):
    conversation = Conversation.objects.create(user=user, title=text, model="llama")
    Message.objects.create(conversation=conversation, role="user", content=text)
    return conversation


def exported(user):
    """{file's name: its lines}"""
    with export_account(user) as file, zipfile.ZipFile(file) as archive:
        return {
            name: [json.loads(line) for line in archive.read(name).splitlines()]
            for name in archive.namelist()
            if name.endswith(".jsonl")
        }


def make_somebody():
    user = make_user(
        username="ann", email="ann@example.org", password="correct horse battery"
    )
    key, secret = make_key(user, name="laptop")
    make_conversation(user, "the answer to all")
    make_ledger_entry(user=user, key=key)
    return user, key, secret


def test_an_export_holds_all_that_is_somebodys_own_and_nobody_elses():
    user, _key, _secret = make_somebody()
    make_conversation(make_user(), "of another")

    files = exported(user)

    assert files["controller.user.jsonl"][0]["email"] == "ann@example.org"
    assert [each["title"] for each in files["chat.conversation.jsonl"]] == [
        "the answer to all"
    ]
    assert [each["content"] for each in files["chat.message.jsonl"]] == [
        "the answer to all"
    ]
    assert files["controller.apikey.jsonl"][0]["name"] == "laptop"
    assert files["requests.jsonl"][0]["model"] == "llama-3-8b"
    assert "of another" not in str(files)


def test_an_export_opens_nothing():
    user, key, secret = make_somebody()

    content = str(exported(user))

    for hidden in (secret, key.digest, user.password):
        assert hidden not in content


def test_no_field_that_looks_like_a_secret_is_exported():
    names = {
        f"{own.name}.{field.name}"
        for own in belongings_of(make_user())
        for field in visible_fields(own.model)
    }

    suspicious = {
        name
        for name in names
        if any(word in name for word in ("hash", "secret", "digest", "password"))
    }
    assert suspicious == set()
    assert "mfa.authenticator.data" not in names
    assert "usersessions.usersession.session_key" not in names


def test_deleting_an_account_leaves_anonymous_sums():
    user, key, _secret = make_somebody()
    day = dict.fromkeys(
        (
            "num_requests",
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
            "cost_nanos",
            "num_first_tokens",
            "ttft_seconds",
            "duration_seconds",
        ),
        7,
    )
    UsageDay.objects.create(
        begins_at="2026-01-01T00:00Z",
        user=user,
        key=key,
        model="llama",
        face="api",
        status_class=2,
        **day,
    )

    delete_account(user)

    assert not User.objects.exists()
    assert not ApiKey.objects.exists()
    assert not Message.objects.exists()
    entry, rolled_up = LedgerEntry.objects.get(), UsageDay.objects.get()
    assert (entry.user_id, entry.key_id, entry.prompt_tokens) == (None, None, 10)
    assert (rolled_up.user_id, rolled_up.key_id) == (None, None)
    assert rolled_up.prompt_tokens == 7


def test_the_ledger_of_a_deleted_account_is_found_by_an_index():
    user, _key, _secret = make_somebody()

    with CaptureQueriesContext(connection) as queries:
        delete_account(user)

    found = [
        each["sql"]
        for each in queries
        if each["sql"].startswith('SELECT "controller_ledgerentry"')
    ]
    assert len(found) == 2  # one batch, and a look for another
    assert "user_id" in found[0]
    assert "key_id" not in found[0]  # by which there is none


def test_what_rules_found_leads_to_nobody_once_the_account_is_deleted():
    user, key, _secret = make_somebody()
    flag = make_moderation_flag(user=user, key=key)
    other = make_moderation_flag(user=make_user())

    delete_account(user)

    flag.refresh_from_db()
    other.refresh_from_db()
    assert (flag.user_id, flag.key_id) == (None, None)
    assert other.user_id is not None


def test_the_receipt_says_what_went_and_cannot_be_changed_unseen():
    user, _key, _secret = make_somebody()

    receipt = delete_account(user)

    stored = DeletionReceipt.objects.get()
    assert stored.deleted["chat.message"]["rows"] == 1
    assert stored.deleted["controller.user"]["rows"] == 1
    copy = json.loads(receipt.copy())
    assert copy["sha256"] == stored.hash()
    assert "ann" not in receipt.copy()
    stored.deleted["chat.message"]["rows"] = 2
    assert stored.hash() != copy["sha256"]


def test_the_audit_log_keeps_no_name_of_a_deleted_account():
    user, _key, _secret = make_somebody()
    user_id = user.pk

    delete_account(user)

    about = LogEntry.objects.filter(content_type__model="user", object_id=user_id)
    assert {entry.object_repr for entry in about} == {f"account {user_id}"}
    assert "ann@example.org" not in str(list(LogEntry.objects.values()))


def test_the_audit_log_keeps_no_name_in_what_was_an_accounts_own():
    user, _key, _secret = make_somebody()
    make_team(user, name="research")
    make_ban(user)
    former = EmailAddress.objects.create(user=user, email="former.ann@example.org")
    former.delete()
    invitation, _secret = make_invitation(email="ann@example.org")
    invitation.accept(user)
    other = make_user(username="bob")
    kept = make_team(other, name="sales")

    delete_account(user)

    told = str(list(LogEntry.objects.values("object_repr", "changes")))
    for name in ("ann in", "ann (", "ann@example.org", "former.ann", "laptop"):
        assert name not in told
    about = LogEntry.objects.filter(content_type__model="membership")
    shown = about.order_by("pk").values_list("object_repr", flat=True)
    assert list(shown) == ["membership 1", f"bob in {kept} (member)"]
    invitation.refresh_from_db()
    assert invitation.email == ""


def test_the_last_operator_with_all_powers_stays():
    operator = make_operator()
    with pytest.raises(ValidationError, match="last operator"):
        check_deletable(operator)

    make_operator()
    check_deletable(operator)


def test_the_only_owner_of_a_team_with_others_stays():
    owner, other = make_user(), make_user()
    team = make_team(owner, other, name="research")
    owned = Membership.objects.filter(team=team, user=owner)
    owned.update(role=Membership.Role.OWNER)
    with pytest.raises(ValidationError, match="research"):
        check_deletable(owner)

    Membership.objects.filter(user=other).update(role=Membership.Role.OWNER)
    check_deletable(owner)


def test_the_console_deletes_with_a_receipt_too(client):
    client.force_login(make_operator())
    user = make_user()

    client.post(
        reverse("admin:controller_user_delete", args=[user.pk]), {"post": "yes"}
    )

    assert DeletionReceipt.objects.exists()
    entry = LogEntry.objects.filter(action=LogEntry.Action.DELETE).get()
    assert entry.object_repr == f"account {user.pk}"
    history = HistoryEntry.objects.get(object_id=str(user.pk))
    assert history.object_repr == f"account {user.pk}"
