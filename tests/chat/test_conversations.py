"""Turns as rows: branches, history, and what is refused."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import IntegrityError
from django.utils.timezone import now

from chat import conversations
from chat.answers import Draft, Ending, settle
from chat.conversations import begin_retry, begin_turn, title_of
from chat.errors import (
    AnswerInProgress,
    ConversationNotFound,
    EmptyPrompt,
    PromptTooLong,
    TooManyGenerations,
)
from chat.models import Conversation, Message
from chat.opening import open_path
from chat.prompting import Said, request_body
from tests.factories import make_user

State = Message.State


@pytest.fixture
def user(db):
    return make_user()


def answered(turn, content="An answer.", state=State.COMPLETE):
    settle(turn.message_id, Draft(content), Ending(state))
    return turn


def test_a_first_prompt_begins_a_conversation_named_by_its_words(user):
    turn = begin_turn(user, None, "mock-1", "  What is\na switchyard?  ")

    conversation = Conversation.objects.of(user).get()
    assert conversation.title == "What is a switchyard?"
    assert conversation.leaf_id == turn.message_id
    assert turn.history == [Said("user", "What is\na switchyard?")]


def test_the_model_is_told_the_whole_path_in_order(user):
    first = answered(begin_turn(user, None, "mock-1", "one"))

    second = begin_turn(user, first.conversation_id, "mock-1", "two")

    told = [(each.role, each.content) for each in second.history]
    assert told == [("user", "one"), ("assistant", "An answer."), ("user", "two")]


def test_another_answer_is_a_branch_and_the_first_one_stays(user):
    first = answered(begin_turn(user, None, "mock-1", "one"), "first")

    again = begin_retry(user, first.message_id, "")

    conversation = Conversation.objects.get()
    assert [message.id for message in conversation.path()][-1] == again.message_id
    assert Message.objects.get(pk=first.message_id).content == "first"
    assert again.history == first.history


def test_prompts_around_a_failed_answer_are_joined_for_the_model(user):
    first = begin_turn(user, None, "mock-1", "one")
    answered(first, content="", state=State.FAILED)

    second = begin_turn(user, first.conversation_id, "mock-1", "two")

    [told] = request_body("mock-1", second.history)["messages"]
    assert told == {"role": "user", "content": "one\n\ntwo"}


def test_another_users_conversation_is_not_found_by_any_way(user):
    turn = answered(begin_turn(user, None, "mock-1", "one"))
    other = make_user()

    for attempt in (
        lambda who: open_path(who, turn.conversation_id),
        lambda who: begin_retry(who, turn.message_id, ""),
        lambda who: conversations.request_stop(who, turn.message_id),
        lambda who: begin_turn(who, turn.conversation_id, "mock-1", "two"),
    ):
        with pytest.raises(ConversationNotFound):
            attempt(other)
        attempt(user)
        settle_everything()


def settle_everything():
    Message.objects.streaming().update(state=State.COMPLETE)


def test_a_prompt_is_refused_while_an_answer_is_in_progress(user):
    turn = begin_turn(user, None, "mock-1", "one")

    with pytest.raises(AnswerInProgress):
        begin_turn(user, turn.conversation_id, "mock-1", "two")

    assert Message.objects.count() == 2


def test_answers_in_progress_are_limited_for_each_user(user, settings):
    settings.CHAT_MAX_GENERATIONS = 2
    for _ in range(2):
        begin_turn(user, None, "mock-1", "one")

    with pytest.raises(TooManyGenerations):
        begin_turn(user, None, "mock-1", "one")

    begin_turn(make_user(), None, "mock-1", "one")
    assert Conversation.objects.of(user).count() == 2


def test_blank_and_overlong_prompts_leave_no_rows(user, settings):
    settings.CHAT_MAX_PROMPT_CHARS = 10

    with pytest.raises(EmptyPrompt):
        begin_turn(user, None, "mock-1", " \x00\n")
    with pytest.raises(PromptTooLong):
        begin_turn(user, None, "mock-1", "x" * 11)

    assert not Conversation.objects.exists()


def test_an_answer_whose_process_went_silent_is_shown_as_interrupted(user):
    turn = begin_turn(user, None, "mock-1", "one")
    silence = settings.CHAT_INTERRUPTED_AFTER + timedelta(seconds=1)
    rows = Message.objects.filter(pk=turn.message_id)
    rows.update(content="half an", written_at=now() - silence)

    answer = open_path(user, turn.conversation_id).path[-1]

    assert (answer.state, answer.content) == (State.INTERRUPTED, "half an")


def test_an_answer_that_is_still_written_is_not_interrupted(user):
    turn = begin_turn(user, None, "mock-1", "one")

    answer = open_path(user, turn.conversation_id).path[-1]

    assert answer.state == State.STREAMING


def test_the_database_refuses_a_state_that_is_not_known(user):
    turn = begin_turn(user, None, "mock-1", "one")

    with pytest.raises(IntegrityError):
        Message.objects.filter(pk=turn.message_id).update(state="sleeping")


def test_a_conversation_opens_with_as_many_queries_however_long_it_is(
    user, django_assert_num_queries
):
    turn = answered(begin_turn(user, None, "mock-1", "one"))
    for _ in range(5):
        turn = answered(begin_turn(user, turn.conversation_id, "mock-1", "more"))

    with django_assert_num_queries(4):
        opened = open_path(user, turn.conversation_id)

    assert len(opened.path) == 12


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("short", "short"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("汉" * 80, "汉" * 60 + "…"),
    ],
)
def test_titles_are_cut_between_words_where_there_are_any(prompt, title):
    assert title_of(prompt) == title
