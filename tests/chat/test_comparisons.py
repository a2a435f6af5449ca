"""Several models side by side: rows, refusals, and the streams over the websocket."""

import asyncio
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.conf import settings as site_settings
from django.db import IntegrityError
from django.utils.timezone import now

from chat import branches
from chat.answers import Draft, Ending, settle
from chat.columns import begin_continuation, begin_retry, choose
from chat.comparisons import Asked, begin_comparison, vote
from chat.composing.attachments import attach
from chat.conversations import begin_turn
from chat.errors import (
    AnswerInProgress,
    ConversationNotFound,
    NothingToContinue,
    TooManyGenerations,
)
from chat.models import Comparison, Conversation, Message
from chat.opening import open_path
from chat.prompting import Said
from tests.chat.pages import Page
from tests.factories import make_user

State = Message.State
TWO = [Asked("mock-1", {"temperature": 0.0}), Asked("mock-2")]


@pytest.fixture
def user(db):
    return make_user()


def compared(user, *contents, asked=TWO):
    """The turns of a comparison whose answers are these."""
    turns = begin_comparison(user, None, "Which is better?", asked)
    for turn, content in zip(turns, contents, strict=False):
        settle(turn.message_id, Draft(content), Ending(State.COMPLETE))
    return turns


def test_each_model_is_asked_the_same_with_parameters_of_its_own(user):
    one, two = compared(user)

    assert (one.model, two.model) == ("mock-1", "mock-2")
    assert one.history == two.history == [Said("user", "Which is better?")]
    assert (one.parameters, two.parameters) == ({"temperature": 0.0}, {})
    row = Comparison.objects.get()
    assert row.model_names == ["mock-1", "mock-2"]
    assert row.answers == [str(one.message_id), str(two.message_id)]


def test_the_answers_are_shown_together_until_the_conversation_goes_on(
    user, django_assert_num_queries
):
    one, two = compared(user, "first", "second")

    with django_assert_num_queries(6):
        opened = open_path(user, one.conversation_id)
    assert opened.compared
    assert [each.content for each in opened.compared.answers] == ["first", "second"]
    assert opened.path[-1].id == one.message_id
    assert len(opened.shown) == 3

    branches.choose(user, two.message_id)
    turn = begin_turn(user, one.conversation_id, "mock-2", "Go on.")
    opened = open_path(user, one.conversation_id)
    assert opened.compared is None
    assert turn.history[1].content == "second"


def test_an_answer_of_a_model_that_was_not_compared_is_shown_alone(user):
    one, two = compared(user, "first", "second")
    begin_retry(user, two.message_id, "mock-3")

    assert open_path(user, one.conversation_id).compared is None


def test_one_of_two_that_is_left_is_shown_alone(user):
    one, two = compared(user, "first", "second")
    branches.delete(user, two.message_id)

    assert open_path(user, one.conversation_id).compared is None


def shown(user, conversation_id):
    """(text, texts of the column's versions) of each column, and which is chosen."""
    opened = open_path(user, conversation_id)
    assert opened.compared
    texts = dict(Message.objects.values_list("pk", "content"))
    columns = []
    for answer in opened.compared.answers:
        versions = opened.compared.versions_of(answer, opened.tree)
        columns.append((answer.content, [texts[each] for each in versions]))
    return columns, opened.path[-1].content


def test_an_answer_asked_for_again_stays_in_its_column_and_the_others_go_on(user):
    one, two = compared(user, "first")  # the second is still being written
    again = begin_retry(user, one.message_id, "")

    assert (again.model, again.parameters) == ("mock-1", {"temperature": 0.0})
    assert again.history == one.history
    settle(again.message_id, Draft("better"), Ending(State.COMPLETE))
    columns = [("better", ["first", "better"]), ("", [""])]
    assert shown(user, one.conversation_id) == (columns, "better")
    with pytest.raises(AnswerInProgress):
        begin_retry(user, two.message_id, "")
    with pytest.raises(AnswerInProgress):
        begin_retry(user, one.message_id, "mock-3")


def test_a_column_that_is_not_gone_on_with_changes_nothing_of_that(user):
    one, two = compared(user, "first", "second")
    again = begin_retry(user, two.message_id, "mock-2")
    settle(again.message_id, Draft("better"), Ending(State.COMPLETE))
    columns = [("first", ["first"]), ("better", ["second", "better"])]
    assert shown(user, one.conversation_id) == (columns, "first")

    choose(user, two.message_id)
    columns[1] = ("second", ["second", "better"])
    assert shown(user, one.conversation_id) == (columns, "first")

    choose(user, two.message_id)  # now to go on with it
    assert shown(user, one.conversation_id) == (columns, "second")
    choose(user, again.message_id)
    columns[1] = ("better", ["second", "better"])
    assert shown(user, one.conversation_id) == (columns, "better")

    prompt = Message.objects.get(pk=two.message_id).parent_id
    vote(user, prompt, "winner", again.message_id)
    assert Comparison.objects.get().winner == 1

    branches.delete(user, again.message_id)
    choose(user, one.message_id)
    columns[1] = ("second", ["second"])
    assert shown(user, one.conversation_id) == (columns, "first")


def test_a_cut_answer_grows_in_its_column_with_its_parameters(user):
    turns = begin_comparison(user, None, "Go on.", [*TWO[::-1], Asked("mock-3")])
    settle(turns[1].message_id, Draft("cut "), Ending(State.INTERRUPTED))

    grown = begin_continuation(user, turns[1].message_id, "x", lambda model: True)

    assert (grown.message_id, grown.begun) == (turns[1].message_id, "cut")
    assert grown.parameters == {"temperature": 0.0}
    assert Conversation.objects.get().leaf_id == turns[0].message_id
    settle(grown.message_id, Draft("cut and whole"), Ending(State.COMPLETE))
    with pytest.raises(NothingToContinue):
        begin_continuation(user, turns[1].message_id, "x", lambda model: True)


def test_a_model_that_cannot_go_on_is_asked_to_once_the_others_are_there(user):
    one, two = compared(user)
    settle(two.message_id, Draft("cut"), Ending(State.STOPPED))
    with pytest.raises(AnswerInProgress):
        begin_continuation(user, two.message_id, "Go on.", lambda model: False)
    settle(one.message_id, Draft("first"), Ending(State.COMPLETE))

    turn = begin_continuation(user, two.message_id, "Go on.", lambda model: False)

    assert [said.content for said in turn.history][1:] == ["cut", "Go on."]
    assert open_path(user, one.conversation_id).compared is None


def test_a_vote_is_kept_and_the_conversation_goes_on_with_the_winner(user):
    _, two = compared(user, "first", "second")
    prompt = Message.objects.get(pk=two.message_id).parent_id

    vote(user, prompt, "winner", two.message_id)
    row = Comparison.objects.get()
    assert (row.outcome, row.winner, row.user) == ("winner", 1, user)
    assert row.voted_at is not None
    assert Conversation.objects.get().leaf_id == two.message_id

    vote(user, prompt, "tie", None)
    row.refresh_from_db()
    assert (row.outcome, row.winner) == ("tie", None)


def test_a_vote_outlives_the_conversation(user):
    one, _ = compared(user, "first", "second")
    vote(user, Message.objects.get(pk=one.message_id).parent_id, "all_bad", None)

    Conversation.objects.all().delete()

    assert Comparison.objects.get().outcome == "all_bad"


def test_votes_for_what_was_not_compared_or_is_anothers_are_not_found(user):
    one, _ = compared(user, "first", "second")
    other = begin_turn(user, None, "mock-1", "alone")
    prompt = Message.objects.get(pk=one.message_id).parent_id
    alone = Message.objects.get(pk=other.message_id).parent_id

    for who, which, outcome, winner in (
        (make_user(), prompt, "tie", None),
        (user, alone, "tie", None),
        (user, prompt, "winner", other.message_id),
        (user, prompt, "winner", None),
        (user, prompt, "tie", one.message_id),
    ):
        with pytest.raises(ConversationNotFound):
            vote(who, which, outcome, winner)
    assert Comparison.objects.get().outcome == ""


def test_each_answer_counts_among_those_in_progress(user, settings):
    settings.CHAT_MAX_GENERATIONS = 3
    begin_turn(user, None, "mock-1", "one")

    with pytest.raises(TooManyGenerations):
        compared(user, asked=[*TWO, Asked("mock-3")])
    turns = compared(user)

    with pytest.raises(AnswerInProgress):
        begin_turn(user, turns[0].conversation_id, "mock-1", "more")
    assert Message.objects.streaming().count() == 3


def test_an_answer_whose_process_went_silent_is_interrupted_beside_the_other(user):
    one, two = compared(user, "first")
    silence = site_settings.CHAT_INTERRUPTED_AFTER + timedelta(seconds=1)
    Message.objects.filter(pk=two.message_id).update(written_at=now() - silence)

    opened = open_path(user, one.conversation_id)

    assert opened.compared
    states = [each.state for each in opened.compared.answers]
    assert states == [State.COMPLETE, State.INTERRUPTED]


def test_the_database_refuses_a_winner_of_a_tie(user):
    compared(user, "first", "second")

    with pytest.raises(IntegrityError):
        Comparison.objects.update(outcome="tie", winner=1)


# -- over the websocket ----------------------------------------------------------------


@pytest.fixture
def slots():
    return [{"model": "mock-1", "max_tokens": 4}, {"model": "mock-1", "seed": 7}]


@pytest.mark.django_db(transaction=True)
class TestStreams:
    @pytest.fixture
    def user(self, transactional_db):
        return make_user()

    async def test_both_stream_at_once_and_a_stop_ends_one_of_them(
        self, site, user, slots, engine
    ):
        endless = {"model": "mock-1"}
        async with Page(user) as page:
            text = "go on [[tokens=5000 interval_ms=5]]"
            await page.say(type="compare", text=text, slots=[*slots, endless])
            shown = await page.hear("conversation")
            short, *others = shown["comparison"]["messages"]
            if short["state"] == "streaming":
                settled = await page.hear("settled")
                assert settled["message"]["id"] == short["id"]
            ids = {each["id"] for each in others}
            assert {(await page.hear("delta"))["message"] for _ in range(40)} == ids
            await page.say(type="stop", message=others[0]["id"])
            settled = await page.hear("settled")
            assert settled["message"]["state"] == "stopped"
            heard = {(await page.hear("delta"))["message"] for _ in range(5)}
            assert heard == {others[1]["id"]}
            await page.say(type="stop", message=others[1]["id"])
            await page.hear("settled")

        bodies = [each.body for each in engine.requests("/v1/chat/completions")]
        assert [body.get("max_tokens") for body in bodies].count(4) == 1
        assert [body.get("seed") for body in bodies].count(7) == 1
        await asyncio.to_thread(engine.wait_for, cancelled=2)

    async def test_a_page_that_comes_later_has_both_from_where_they_are(
        self, site, user, slots
    ):
        text = "hello [[tokens=30 interval_ms=15]]"
        async with Page(user) as first, Page(user) as second:
            await first.say(type="compare", text=text, slots=slots)
            shown = await first.hear("conversation")
            await first.hear("delta")
            await second.say(type="attach", conversation=shown["conversation"]["id"])
            seen = (await second.hear("conversation"))["comparison"]["messages"]
            texts = {each["id"]: each["content"] for each in seen}
            settled = {}
            while len(settled) < sum(each["state"] == "streaming" for each in seen):
                event = await second.hear("delta", "settled")
                if event["type"] == "settled":
                    settled[event["message"]["id"]] = event["message"]
                else:
                    assert event["at"] == len(texts[event["message"]])
                    texts[event["message"]] += event["text"]

        rows = {str(row.id): row.content async for row in Message.objects.all()}
        assert all(rows[each] == text for each, text in texts.items())
        assert sorted(len(text.split()) for text in texts.values()) == [4, 30]

    async def test_each_model_gets_the_set_up_and_files_and_its_own_parameters_win(
        self, site, user, slots, engine
    ):
        file = await database_sync_to_async(attach)(user, "a.txt", b"About cats.")
        setup = {"system_prompt": "Be brief.", "max_tokens": 6, "temperature": 0.5}
        async with Page(user) as page:
            await page.say(
                type="compare",
                text="Which?",
                slots=slots,
                setup=setup,
                attachments=[str(file.pk)],
            )
            shown = await page.hear("conversation")
            for answer in shown["comparison"]["messages"]:
                if answer["state"] == "streaming":
                    await page.hear("settled")

        bodies = [each.body for each in engine.requests("/v1/chat/completions")]
        by_tokens = {body["max_tokens"]: body for body in bodies}
        assert sorted(by_tokens) == [4, 6]  # its own, and the conversation's
        assert "seed" not in by_tokens[4]
        assert by_tokens[6]["seed"] == 7
        for body in bodies:
            assert body["temperature"] == 0.5
            system, prompt = body["messages"]
            assert system == {"role": "system", "content": "Be brief."}
            assert "About cats." in prompt["content"]
            assert prompt["content"].endswith("Which?")

    async def test_one_or_five_slots_and_wild_parameters_are_refused(
        self, site, user, slots
    ):
        async with Page(user) as page:
            for wrong in (
                slots[:1],
                slots * 3,
                [slots[0], {"model": "mock-1", "temperature": 9}],
                [slots[0], {"model": "mock-1", "stream": False}],
            ):
                await page.say(type="compare", text="x", slots=wrong)
                assert (await page.hear("error"))["code"] == "unreadable"
        assert not await Message.objects.aexists()
