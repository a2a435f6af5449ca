"""Long conversations open with their last page, and earlier ones lead to the root."""

import pytest
from channels.db import database_sync_to_async

from chat.conversations import begin_turn
from chat.errors import ConversationNotFound
from chat.opening import open_earlier, open_path
from chat.paging import PAGE_CHARS, PAGE_MESSAGES
from tests.chat.long_conversations import make_long_conversation
from tests.chat.pages import Page
from tests.factories import make_user


@pytest.fixture
def user(db):
    return make_user()


def numbers(opened):
    return [int(message.content.split()[1].strip("?:")) for message in opened.path]


def test_two_thousand_messages_open_with_four_queries_and_a_page(
    user, django_assert_num_queries
):
    conversation = make_long_conversation(user, 2000)

    with django_assert_num_queries(4):
        opened = open_path(user, conversation.id)

    assert numbers(opened) == list(range(2000 - PAGE_MESSAGES, 2000))
    assert opened.has_earlier


def test_earlier_pages_lead_to_the_root_without_a_gap(user, django_assert_num_queries):
    conversation = make_long_conversation(user, 120)
    opened = open_path(user, conversation.id)
    read = numbers(opened)

    while opened.has_earlier:
        with django_assert_num_queries(4):
            opened = open_earlier(user, conversation.id, opened.path[0].id)
        read = numbers(opened) + read

    assert read == list(range(120))
    root = opened.path[0].id
    assert open_earlier(user, conversation.id, root).path == []


def test_a_page_of_long_texts_has_fewer_messages_but_one_at_least(user):
    half = make_long_conversation(user, 10, answer="Answer {number} " + "x" * 120_000)
    whole = make_long_conversation(
        user, 4, answer="Answer {number} " + "x" * (PAGE_CHARS + 1)
    )

    assert numbers(open_path(user, half.id)) == [6, 7, 8, 9]
    opened = open_path(user, whole.id)
    assert numbers(opened) == [3]
    assert opened.has_earlier


def test_the_model_is_told_of_all_pages(user):
    conversation = make_long_conversation(user, 120)

    turn = begin_turn(user, conversation.id, "mock-1", "and now?")

    assert len(turn.history) == 121


def test_earlier_messages_are_their_owners_and_of_that_conversation(user):
    conversation = make_long_conversation(user, 60)
    first = open_path(user, conversation.id).path[0]
    others = make_long_conversation(user, 4)

    with pytest.raises(ConversationNotFound):
        open_earlier(make_user(), conversation.id, first.id)
    with pytest.raises(ConversationNotFound):
        open_earlier(user, others.id, first.id)


@pytest.mark.django_db(transaction=True)
async def test_a_socket_sends_the_last_page_and_what_led_to_it(site):
    make = database_sync_to_async(make_long_conversation)
    user = await database_sync_to_async(make_user)()
    conversation = await make(user, 70)
    async with Page(user) as page:
        await page.say(type="attach", conversation=str(conversation.id))
        shown = await page.hear("conversation")
        first = shown["messages"][0]["id"]
        await page.say(type="earlier", conversation=str(conversation.id), before=first)
        earlier = await page.hear("earlier")

    assert len(shown["messages"]) == PAGE_MESSAGES
    assert shown["has_earlier"]
    assert earlier["before"] == first
    assert len(earlier["messages"]) == 20
    assert not earlier["has_earlier"]
