"""Titles that a model makes: when, from what, and what they never do."""

import asyncio

import pytest
from channels.db import database_sync_to_async as in_database

from chat import library, search, titles
from chat.conversations import begin_turn
from chat.exports import json_file, markdown_file, with_messages
from chat.generations import generations
from chat.models import Conversation, Message
from chat.titles import title_in
from controller.gateway import gateway
from controller.models import LedgerEntry
from tests.chat.pages import Page
from tests.chat.talks import client_of
from tests.factories import make_moderation_rule

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = Conversation.TitledBy.MODEL


@pytest.fixture
def titled(settings):
    """Models make titles here; elsewhere in the tests they are switched off."""
    settings.CHAT_TITLES = True


async def conversation_of(user):
    return await Conversation.objects.aget(user=user)


async def until_titled():
    """Wait until what was begun in the background is over."""
    while tasks := generations._tasks - {generations._writer}:
        await asyncio.wait(tasks, timeout=20)


async def ask_and_wait(user, text="hello", **message):
    async with Page(user) as page:
        await page.ask(text, **message)
        await page.read_answer()
        await until_titled()


async def test_the_first_answer_brings_a_title_and_the_page_is_told(
    site, user, engine, titled
):
    async with Page(user) as page:
        shown = await page.ask("What is a switchyard?")
        await page.read_answer()
        told = await page.hear("titled")

    conversation = await conversation_of(user)
    assert told["title"] == conversation.title == "t0 t1 t2 t3 t4 t5 t6 t7"
    assert told["conversation"] == shown["conversation"]["id"]
    assert conversation.titled_by == MODEL


async def test_a_title_is_asked_for_by_the_user_and_stands_in_the_ledger(
    site, user, engine, titled
):
    await ask_and_wait(user, "What is a switchyard?")
    await gateway().flush()

    chats = [each for each in engine.requests() if "completions" in each.path]
    prompt = chats[1].body["messages"][-1]["content"]
    rows = [row async for row in LedgerEntry.objects.order_by("pk")]
    assert "What is a switchyard?" in prompt
    assert "t0 t1" in prompt
    assert [(row.face, row.user_id) for row in rows] == [("chat", user.pk)] * 2


async def test_the_second_answer_and_a_setting_bring_none(
    site, user, engine, titled, settings
):
    await ask_and_wait(user)
    conversation = await conversation_of(user)
    await ask_and_wait(user, "more", conversation=str(conversation.id))
    settings.CHAT_TITLES = False
    await ask_and_wait(user, "off")

    chats = [each for each in engine.requests() if "completions" in each.path]
    assert len(chats) == 4  # three answers and one title
    assert await Conversation.objects.filter(user=user, title="off").aexists()


async def test_a_title_that_a_person_gave_meanwhile_stays(site, user, engine, titled):
    turn = await in_database(begin_turn)(user, None, "mock-1", "hello")
    rename = in_database(library.rename)
    await rename(user, turn.conversation_id, "Mine")

    await titles.give_title(turn, "An answer.")

    conversation = await conversation_of(user)
    assert (conversation.title, conversation.titled_by) == ("Mine", "person")


async def test_when_the_model_fails_the_first_words_stay(site, user, engine, titled):
    text = "hello [[status=500]]"
    turn = await in_database(begin_turn)(user, None, "mock-1", text)

    await titles.give_title(turn, "An answer.")

    assert (await conversation_of(user)).title == text


async def test_a_temporary_conversation_is_told_to_no_model_again(
    site, user, engine, titled
):
    await ask_and_wait(user, is_temporary=True)

    assert len([e for e in engine.requests() if "completions" in e.path]) == 1
    assert (await conversation_of(user)).is_temporary


async def test_what_a_rule_redacts_in_an_answer_leaks_nowhere(
    site, user, engine, titled
):
    """The title is asked for, and search, exports and links read, what was stored."""
    secret = "t3 t4"
    await in_database(make_moderation_rule)(
        action="redact", direction="output", terms=secret
    )
    await gateway()._look_for_changes()

    await ask_and_wait(user, "hello")

    @in_database
    def everything():
        talk = with_messages(Conversation.objects.of(user)).get()
        client = client_of(user)
        link = client.post(
            "/library/api/share/",
            {"conversation": str(talk.id)},
            content_type="application/json",
        ).json()
        path = link["address"].removeprefix("http://localhost")
        return {
            "answer": talk.messages.get(role=Message.Role.ASSISTANT).content,
            "title": talk.title,
            "found": search.search(user, secret).hits,
            "json": json_file([talk]).decode(),
            "markdown": markdown_file(talk, "You").decode(),
            "link": client_of().get(path).content.decode(),
        }

    shown = await everything()
    chats = [each for each in engine.requests() if "completions" in each.path]
    assert shown.pop("found") == []
    assert "[redacted]" in shown["answer"]
    assert [name for name, text in shown.items() if secret in text] == []
    assert secret not in str(chats[1].body)


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ('"Railway signals"', "Railway signals"),
        ("Title: Railway signals.\n\nI chose this", "Railway signals"),
        ("标题：铁路信号。", "铁路信号"),
        ("<think>Hm. A title</think>\n\n**Railway signals**", "Railway signals"),
        ("<think>never ends", ""),
        (" \n\n", ""),
        ("w" * 500, "w" * titles.LONGEST),
    ],
)
def test_the_title_is_taken_out_of_what_the_model_says(said, title):
    assert title_in(said) == title
