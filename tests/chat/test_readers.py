"""Who can read a conversation: what its owner is told, and that nobody else is."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission

from chat import library, sharing
from chat.models import Conversation, Message
from chat.readers import readers_of
from controller.models import Classifier, ModerationRule
from tests.chat.talks import Library, said
from tests.factories import (
    make_ledger_entry,
    make_moderation_flag,
    make_operator,
    make_user,
    make_worker,
)


@pytest.fixture
def user(db):
    return make_user(username="ada")


@pytest.fixture
def talk(user):
    turn = said(user, "a question")
    Message.objects.filter(pk=turn.message_id).update(request_id="req-1")
    return turn.conversation_id


def told(user, talk):
    status, readers = Library(user).get(f"readers/{talk}")
    assert status == 200
    return readers


def test_of_a_new_conversation_only_its_owner_and_its_model_know(user, talk):
    assert told(user, talk) == {
        "num_links": 0,
        "num_staff": 0,
        "num_flags": 0,
        "flag_days": 90,
        "classifiers": [],
        "models": [{"name": "mock-1", "is_elsewhere": False}],
        "goes_at": None,
        "undo_seconds": 86_400,
    }


def test_links_count_while_they_open(user, talk, settings):
    sharing.share(user, talk)
    link, _secret = sharing.share(user, talk)
    sharing.revoke(user, link.pk)
    assert told(user, talk)["num_links"] == 1

    settings.CHAT_SHARING = False

    assert told(user, talk)["num_links"] == 0


def test_staff_count_by_their_right_to_read(user, talk):
    permission = Permission.objects.get(codename="view_message_text")
    make_user(is_staff=True)
    make_user(is_staff=True).user_permissions.add(permission)
    make_user().user_permissions.add(permission)  # the console is shut to them
    make_user(is_staff=True, is_active=False).user_permissions.add(permission)
    make_operator()

    assert told(user, talk)["num_staff"] == 2


def test_excerpts_that_moderation_keeps_count(user, talk):
    make_moderation_flag(request_id="req-1")
    make_moderation_flag(request_id="of another conversation")

    assert told(user, talk)["num_flags"] == 1


def test_classifiers_are_told_of_that_the_chat_is_sent_to(user, talk):
    for name, fields in (
        ("asked", {}),
        ("of the API", {"faces": ["api"]}),
        ("off", {"enabled": False}),
        ("of the chat", {"faces": ["api", "chat"]}),
    ):
        judge = Classifier.objects.create(name=name, url="https://example.org/")
        fields = {"category": "hate", "classifier": judge} | fields
        ModerationRule.objects.create(name=name, **fields)

    assert told(user, talk)["classifiers"] == ["asked", "of the chat"]


def test_a_provider_elsewhere_is_told_of(user, talk):
    worker = make_worker("mock-1", shares_address=True)
    make_ledger_entry(request_id="req-1", worker=worker, model="mock-1")

    assert told(user, talk)["models"] == [{"name": "mock-1", "is_elsewhere": True}]


def test_when_it_goes_is_so_many_days_after_the_last_question(user, talk, settings):
    settings.CHAT_RETENTION_DAYS = 30

    goes_at = datetime.fromisoformat(told(user, talk)["goes_at"])

    assert goes_at == Conversation.objects.get().updated_at + timedelta(days=30)


def test_nobody_else_is_told_not_even_of_a_deleted_one(user, talk):
    assert Library(make_user()).get(f"readers/{talk}")[0] == 404
    assert Library(make_operator()).get(f"readers/{talk}")[0] == 404
    assert Library(None).get(f"readers/{talk}")[0] in {401, 403}

    library.delete(user, [talk])

    assert Library(user).get(f"readers/{talk}")[0] == 404


def test_it_takes_as_many_queries_for_many_messages(
    user, talk, django_assert_num_queries
):
    for _ in range(10):
        said(user, "more", conversation_id=talk)

    with django_assert_num_queries(7):
        readers_of(user, talk)
