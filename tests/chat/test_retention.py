"""What of the chat goes with age, and what stays."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from chat import library, sharing
from chat.models import Conversation, Message, SharedLink
from controller import retention
from tests.chat.talks import said
from tests.factories import make_user


@pytest.fixture
def user(db):
    return make_user()


def aged(turn, **age):
    rows = Conversation.objects.filter(pk=turn.conversation_id)
    rows.update(updated_at=now() - timedelta(**age))


def test_conversations_are_kept_for_ever_unless_a_setting_says_else(user, settings):
    aged(said(user, "old"), days=9999)
    assert retention.purge("conversations") == 0

    settings.CHAT_RETENTION_DAYS = 30
    aged(said(user, "older than that"), days=31)
    young = said(user, "young enough")
    aged(young, days=29)

    assert retention.purge("conversations") == 2
    assert Conversation.objects.get().id == young.conversation_id
    assert Message.objects.count() == 2


def test_a_conversation_that_was_gone_on_with_is_not_old(user, settings):
    settings.CHAT_RETENTION_DAYS = 30
    turn = said(user, "long ago")
    aged(turn, days=31)
    said(user, "and now", conversation_id=turn.conversation_id)

    assert retention.purge("conversations") == 0


def test_many_go_in_batches(user, settings):
    settings.CHAT_KEEP_DELETED = timedelta(0)
    turns = [said(user, str(number)) for number in range(120)]
    library.delete(user, [turn.conversation_id for turn in turns])

    assert retention.purge("deleted conversations") == 120
    assert not Message.objects.exists()


def test_links_go_with_their_snapshots_a_while_after_they_ended(user, settings):
    settings.ENDED_RETENTION_DAYS = 10
    talk = said(user, "a question").conversation_id
    is_open, lately, revoked, expired = (
        sharing.share(user, talk)[0].pk for _ in range(4)
    )
    end = now() - timedelta(days=11)
    SharedLink.objects.filter(pk=revoked).update(revoked_at=end)
    SharedLink.objects.filter(pk=expired).update(expires_at=end)
    SharedLink.objects.filter(pk=lately).update(revoked_at=now() - timedelta(days=9))

    assert retention.purge("shared links") == 2
    assert set(SharedLink.objects.values_list("pk", flat=True)) == {is_open, lately}
