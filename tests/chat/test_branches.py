"""Branches of conversations as rows: made, moved between, gone on with, taken away."""

from datetime import timedelta

import pytest

from chat import branches
from chat.answers import Draft, Ending, settle
from chat.conversations import begin_continuation, begin_edit, begin_retry, begin_turn
from chat.errors import ConversationNotFound, NothingToContinue
from chat.models import Conversation, Message
from chat.prompting import Said
from controller import retention
from tests.factories import make_user

State = Message.State


@pytest.fixture
def user(db):
    return make_user()


def answered(turn, content="An answer.", state=State.COMPLETE, **ending):
    settle(turn.message_id, Draft(content), Ending(state, **ending))
    return turn


def asked(user, text, conversation_id=None):
    return answered(begin_turn(user, conversation_id, "mock-1", text), f"to {text}")


def shown():
    """The texts of the path that the one conversation shows."""
    return [message.content for message in Conversation.objects.get().path()]


def prompt_of(turn):
    return Message.objects.get(pk=turn.message_id).parent


def test_an_edited_prompt_is_a_branch_with_an_answer_of_its_own(user):
    first = asked(user, "one")
    asked(user, "two", first.conversation_id)

    edited = answered(begin_edit(user, prompt_of(first).id, "mock-2", "1"), "to 1")

    assert edited.history == [Said("user", "1")]
    assert (edited.model, edited.after) == ("mock-2", None)
    assert shown() == ["1", "to 1"]
    assert Message.objects.count() == 6


def test_an_answer_is_no_prompt_to_be_edited(user):
    first = asked(user, "one")

    with pytest.raises(ConversationNotFound):
        begin_edit(user, first.message_id, "mock-1", "1")


def test_a_version_is_shown_with_what_followed_from_it(user):
    first = asked(user, "one")
    asked(user, "two", first.conversation_id)
    answered(begin_retry(user, first.message_id, ""), "again")
    assert shown() == ["one", "again"]

    change = branches.choose(user, first.message_id)

    assert shown() == ["one", "to one", "two", "to two"]
    assert change.after == prompt_of(first).id


def test_what_is_deleted_makes_way_for_the_version_beside_it_and_can_come_back(user):
    first = asked(user, "one")
    second = asked(user, "two", first.conversation_id)
    answered(begin_retry(user, second.message_id, ""), "again")
    branches.choose(user, second.message_id)

    branches.delete(user, second.message_id)
    assert shown() == ["one", "to one", "two", "again"]
    branches.restore(user, second.message_id)

    assert shown() == ["one", "to one", "two", "to two"]


def test_a_deleted_prompt_takes_all_that_followed_with_it(user):
    first = asked(user, "one")
    second = asked(user, "two", first.conversation_id)
    asked(user, "three", first.conversation_id)

    branches.delete(user, prompt_of(second).id)

    assert shown() == ["one", "to one"]
    assert Message.objects.of(user).count() == 2
    with pytest.raises(ConversationNotFound):
        branches.choose(user, second.message_id)


def test_what_was_deleted_before_stays_away_when_the_rest_comes_back(user):
    first = asked(user, "one")
    second = asked(user, "two", first.conversation_id)
    branches.delete(user, second.message_id)
    branches.delete(user, first.message_id)

    with pytest.raises(ConversationNotFound):
        branches.restore(user, second.message_id)
    branches.restore(user, first.message_id)

    assert shown() == ["one", "to one", "two"]


def test_deleting_all_leaves_an_empty_conversation_in_which_one_can_ask(user):
    first = asked(user, "one")

    branches.delete(user, prompt_of(first).id)
    assert shown() == []
    asked(user, "two", first.conversation_id)

    assert shown() == ["two", "to two"]


def test_an_answer_that_is_deleted_while_it_is_written_is_stopped(user):
    turn = begin_turn(user, None, "mock-1", "one")

    change = branches.delete(user, turn.message_id)

    assert change.stopped == (turn.message_id,)
    row = Message.objects.get(pk=turn.message_id)
    assert row.stop_requested_at is not None
    begin_turn(user, turn.conversation_id, "mock-1", "two")


def test_what_was_deleted_long_ago_is_purged_and_the_rest_is_not(user, settings):
    first = asked(user, "one")
    second = asked(user, "two", first.conversation_id)
    branches.delete(user, prompt_of(second).id)

    settings.CHAT_KEEP_DELETED = timedelta(hours=1)
    retention.purge("deleted messages")
    assert Message.objects.count() == 4
    settings.CHAT_KEEP_DELETED = timedelta(0)
    retention.purge("deleted messages")

    assert Message.objects.count() == 2
    assert shown() == ["one", "to one"]
    with pytest.raises(ConversationNotFound):
        branches.restore(user, second.message_id)


def able(model):
    return True


def unable(model):
    return False


def test_a_cut_answer_grows_on_where_its_model_can_go_on(user):
    turn = begin_turn(user, None, "mock-1", "one")
    numbers = {"completion_tokens": 3, "cost_nanos": 30, "duration_seconds": 2.0}
    answered(turn, "one two \n", State.STOPPED, ttft_seconds=0.5, **numbers)

    on = begin_continuation(user, turn.message_id, "Go on.", able)
    row = Message.objects.get(pk=turn.message_id)
    assert (on.message_id, row.state) == (turn.message_id, State.STREAMING)
    assert on.begun == row.content == "one two"
    assert on.history[-1] == Said("assistant", "one two")

    after = Ending(State.COMPLETE, completion_tokens=2, cost_nanos=20)
    assert on.before
    whole = after.behind(on.before)
    assert (whole.completion_tokens, whole.cost_nanos) == (5, 50)
    assert (whole.ttft_seconds, whole.duration_seconds) == (0.5, 2.0)


def test_a_cut_answer_is_asked_for_more_where_its_model_cannot_go_on(user):
    turn = begin_turn(user, None, "mock-1", "one")
    answered(turn, "half", State.COMPLETE, finish_reason="length")

    on = begin_continuation(user, turn.message_id, "Go on.", unable)

    assert on.message_id != turn.message_id
    told = [(each.role, each.content) for each in on.history]
    assert told == [("user", "one"), ("assistant", "half"), ("user", "Go on.")]
    assert on.begun == ""


def test_an_answer_that_was_thought_about_is_asked_for_more(user):
    turn = begin_turn(user, None, "mock-1", "one")
    settle(turn.message_id, Draft("half", "hm"), Ending(State.INTERRUPTED))

    assert begin_continuation(user, turn.message_id, "Go on.", able).begun == ""


def test_only_the_last_answer_and_only_a_cut_one_is_gone_on_with(user):
    first = begin_turn(user, None, "mock-1", "one")
    answered(first, "half", State.STOPPED)
    second = asked(user, "two", first.conversation_id)

    for turn in (first, second):
        with pytest.raises(NothingToContinue):
            begin_continuation(user, turn.message_id, "Go on.", able)

    branches.delete(user, prompt_of(second).id)
    assert begin_continuation(user, first.message_id, "Go on.", able).begun == "half"


def test_another_users_messages_are_not_found(user):
    turn = answered(begin_turn(user, None, "mock-1", "one"), "half", State.STOPPED)
    prompt, other = prompt_of(turn).id, make_user()
    deleted = asked(user, "gone")
    branches.delete(user, deleted.message_id)

    for attempt in (
        lambda who: begin_edit(who, prompt, "mock-1", "1"),
        lambda who: begin_continuation(who, turn.message_id, "Go on.", able),
        lambda who: branches.choose(who, turn.message_id),
        lambda who: branches.restore(who, deleted.message_id),
        lambda who: branches.delete(who, turn.message_id),
    ):
        with pytest.raises(ConversationNotFound):
            attempt(other)
    assert Message.objects.of(user).count() == 3
