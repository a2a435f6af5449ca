"""Temporary conversations: shown to their owner while they last, and then nowhere."""

import asyncio
from datetime import timedelta

import pytest
from django.utils.timezone import now

from chat import exports, library, search
from chat.answers import Draft, Ending, settle, write_drafts
from chat.conversations import begin_turn
from chat.models import Conversation, Message, SearchEntry
from chat.opening import open_path
from chat.temporary import attend, end_left
from controller import retention
from tests.chat.pages import Page
from tests.chat.talks import Library, client_of
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user(transactional_db):
    return make_user()


@pytest.fixture
def turn(user):
    turn = begin_turn(user, None, "mock-1", "burn this", is_temporary=True)
    settle(turn.message_id, Draft("burnt"), Ending(Message.State.COMPLETE))
    return turn


def test_it_goes_on_while_its_page_is_open(user, turn):
    more = begin_turn(user, turn.conversation_id, "mock-1", "and this")

    assert [each.content for each in more.history] == [
        "burn this",
        "burnt",
        "and this",
    ]
    assert more.is_temporary
    assert len(open_path(user, turn.conversation_id).path) == 4


def test_no_list_search_export_or_link_knows_it(user, turn):
    api = Library(user)
    conversation_id = str(turn.conversation_id)

    assert api.get("conversations")[1]["conversations"] == []
    assert search.search(user, "burn").hits == []
    assert search.index_missing() == SearchEntry.objects.count() == 0
    assert api.post("share", conversation=conversation_id)[0] == 404
    for path in (f"/c/{conversation_id}/export.json", f"/c/{conversation_id}/"):
        assert client_of(user).get(path).status_code == 404
    assert exports._made_after(user, None, exports._encoded) == ([], [])


def test_it_leaves_no_row_when_its_page_is_left(user, turn):
    other = make_user()
    wish = {"conversation": str(turn.conversation_id)}

    assert Library(other).change("end_temporary", **wish)[0] == 404
    assert Message.objects.count() == 2
    assert Library(user).change("end_temporary", **wish)[0] == 200

    assert Conversation.objects.count() == Message.objects.count() == 0


def test_an_answer_in_progress_stops_with_it_and_writes_nothing_more(user):
    turn = begin_turn(user, None, "mock-1", "go on", is_temporary=True)

    library.end_temporary(user, turn.conversation_id)
    wishes = write_drafts({turn.message_id: Draft("half")})
    settle(turn.message_id, Draft("half"), Ending(Message.State.STOPPED))

    assert wishes[turn.message_id].is_stop_requested
    assert Message.objects.count() == SearchEntry.objects.count() == 0


async def test_it_ends_a_while_after_the_last_page_that_showed_it(site, user, settings):
    settings.CHAT_UNATTENDED = timedelta(seconds=0.01)
    rows = Conversation.objects.filter(user=user)
    async with Page(user) as page, Page(user) as other:
        shown = await page.ask("burn this", is_temporary=True)
        await page.read_answer()
        await other.say(type="attach", conversation=shown["conversation"]["id"])
        await other.hear("conversation")
        await page.say(type="ping")
        await page.hear("pong")
        assert await rows.aexists()

    async with asyncio.timeout(20):
        while await rows.aexists():  # noqa: ASYNC110  # rows tell nobody
            await asyncio.sleep(0.01)


def test_one_that_a_page_showed_again_does_not_end(user, turn):
    left_at = now()
    attend(turn.conversation_id)

    end_left(turn.conversation_id, left_at)
    assert Conversation.objects.exists()
    end_left(turn.conversation_id, now())

    assert not Conversation.objects.exists()


def test_one_that_is_kept_does_not_end_like_this(user):
    kept = begin_turn(user, None, "mock-1", "keep this")

    status, _ = Library(user).change("end_temporary", conversation=kept.conversation_id)

    assert status == 404
    assert Message.objects.count() == 2


def test_one_whose_page_never_said_that_it_was_left_is_purged(user, turn, settings):
    retention.purge("temporary conversations")
    assert Conversation.objects.exists()

    unused = now() - settings.CHAT_TEMPORARY_EXPIRY - timedelta(seconds=1)
    Conversation.objects.update(updated_at=unused)
    retention.purge("temporary conversations")

    assert not Conversation.objects.exists()
