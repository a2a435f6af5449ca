"""What readers think of answers, as rows."""

import pytest
from django.db import IntegrityError

from chat.answers import Draft, Ending, settle
from chat.conversations import begin_turn
from chat.errors import ConversationNotFound, RemarkTooLong
from chat.feedback import flag, rate
from chat.models import Message
from controller.models import ModerationFlag
from tests.factories import make_user


@pytest.fixture
def user(db):
    return make_user()


@pytest.fixture
def answer(user):
    turn = begin_turn(user, None, "mock-1", "one")
    settle(turn.message_id, Draft("A rude answer."), Ending(Message.State.COMPLETE))
    return Message.objects.get(pk=turn.message_id)


def test_a_rating_is_kept_with_its_reason_until_it_is_taken_back(user, answer):
    rate(user, answer.id, -1, " wrong\x00 ")
    answer.refresh_from_db()
    assert (answer.rating, answer.rating_reason) == (-1, "wrong")

    rate(user, answer.id, 0, "whatever")

    answer.refresh_from_db()
    assert (answer.rating, answer.rating_reason) == (None, "")


def test_a_flag_is_put_before_the_moderators_once(user, answer):
    flag(user, answer.id, "It insults me.")
    flag(user, answer.id, "It insults me!")

    row = ModerationFlag.objects.get()
    assert (row.face, row.user_id, row.category) == ("chat", user.pk, "reported")
    assert row.request_id == answer.request_id
    assert row.excerpt == "It insults me.\n\nA rude answer."
    answer.refresh_from_db()
    assert answer.flagged_at is not None


def test_prompts_and_others_answers_are_not_judged(user, answer):
    for judge in (
        lambda who, message: rate(who, message, 1, ""),
        lambda who, message: flag(who, message, ""),
    ):
        for who, message in ((user, answer.parent_id), (make_user(), answer.id)):
            with pytest.raises(ConversationNotFound):
                judge(who, message)
    assert not ModerationFlag.objects.exists()


def test_an_overlong_remark_is_refused_and_nothing_is_stored(user, answer):
    with pytest.raises(RemarkTooLong):
        rate(user, answer.id, 1, "x" * 2001)

    answer.refresh_from_db()
    assert answer.rating is None


def test_the_database_refuses_a_rating_that_is_not_known(user, answer):
    with pytest.raises(IntegrityError):
        Message.objects.filter(pk=answer.pk).update(rating=5)
