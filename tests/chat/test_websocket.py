"""The page's websocket on the real ASGI application, gateway and all."""

import asyncio
from collections import Counter

import pytest
from channels.db import database_sync_to_async
from django.test import Client

from chat.models import Conversation, Message
from controller.gateway import gateway
from controller.models import LedgerEntry
from tests.chat.conftest import KEY
from tests.chat.pages import Page
from tests.factories import make_user, make_worker
from tests.mock_engine import running_mock_engine

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = "[[tokens=20 interval_ms=20]]"
WORDS = " ".join(f"t{number}" for number in range(8))


async def row_of(message):
    return await Message.objects.aget(pk=message["id"])


async def test_an_answer_is_streamed_and_its_row_equals_what_the_engine_sent(
    site, user
):
    async with Page(user) as page:
        shown = await page.ask("hello")
        text, answer = await page.read_answer()

    await gateway().flush()
    row = await row_of(answer)
    entry = await LedgerEntry.objects.aget(request_id=row.request_id)
    assert (entry.face, entry.user_id, entry.completion_tokens) == ("chat", user.pk, 8)
    assert text.strip() == WORDS
    assert text == row.content == answer["content"]
    assert (row.state, row.finish_reason) == ("complete", "stop")
    assert row.completion_tokens == 8
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]


async def test_a_reload_in_mid_stream_goes_on_with_nothing_twice(site, user):
    async with Page(user) as page:
        shown = await page.ask(f"hello {SLOW}")
        await page.hear("delta")

    conversation = shown["conversation"]["id"]
    async with Page(user) as page:
        await page.say(type="attach", conversation=conversation)
        await page.hear("conversation")
        so_far = page.text
        text, answer = await page.read_answer()

    assert so_far
    assert text == answer["content"] == (await row_of(answer)).content
    assert len(text.split()) == 20
    assert set(Counter(text.split()).values()) == {1}


async def test_two_tabs_of_one_user_see_the_same_stream(site, user):
    async with Page(user) as first, Page(user) as second:
        shown = await first.ask("hello")
        await first.read_answer()
        await second.say(type="attach", conversation=shown["conversation"]["id"])
        await second.hear("conversation")

        again = await first.ask(
            f"more {SLOW}", conversation=shown["conversation"]["id"]
        )
        await second.hear("changed")
        after = again["after"]
        await second.say(
            type="attach", conversation=shown["conversation"]["id"], after=after
        )
        seen = await second.hear("conversation")
        one, other = await asyncio.gather(first.read_answer(), second.read_answer())

    assert seen["after"] == after
    assert len(seen["messages"]) == 2
    assert one == other


async def test_stop_ends_the_engines_work_and_keeps_what_was_said(site, user, engine):
    async with Page(user) as page:
        shown = await page.ask("hello [[tokens=2000 interval_ms=5]]")
        await page.hear("delta")
        await page.say(type="stop", message=shown["messages"][-1]["id"])
        await page.hear("settled")

    await asyncio.to_thread(engine.wait_for, cancelled=1)
    row = await row_of(shown["messages"][-1])
    assert row.state == "stopped"
    assert 0 < len(row.content.split()) < 2000


async def test_stop_before_the_first_token_ends_the_engines_work(site, user, engine):
    async with Page(user) as page:
        shown = await page.ask("hello [[hang_after=0]]")
        await asyncio.to_thread(engine.wait_for, started=1)
        await page.say(type="stop", message=shown["messages"][-1]["id"])
        await page.hear("settled")

    await asyncio.to_thread(engine.wait_for, cancelled=1)
    row = await row_of(shown["messages"][-1])
    assert (row.state, row.content) == ("stopped", "")


async def test_an_error_before_the_first_token_is_said_in_words_and_can_be_retried(
    site, user
):
    async with Page(user) as page:
        await page.ask("word " * 5000)
        _, failed = await page.read_answer()
        await page.say(type="retry", message=failed["id"], ref=7)
        started = await page.hear("started")
        shown = await page.hear("conversation")
        await page.read_answer()

    assert failed["state"] == "failed"
    assert failed["error_code"] == "context_length_exceeded"
    assert "4096" in failed["error"]
    assert started["ref"] == 7
    assert shown["messages"][0]["id"] == started["message"] != failed["id"]


async def test_a_stream_that_breaks_keeps_its_words_and_says_why(site, user):
    async with Page(user) as page:
        await page.ask("hello [[tokens=20 interval_ms=5 cut_after=5]]")
        text, answer = await page.read_answer()

    assert (answer["state"], answer["error_code"]) == ("failed", "upstream_error")
    assert len(text.split()) == 5
    assert (await row_of(answer)).content == text


async def test_an_answer_whose_worker_breaks_off_goes_on_after_a_pause(site, user):
    [steady] = gateway().fleet.loads.values()
    steady.reported = 100  # so that the other one is asked first
    make = database_sync_to_async(make_worker)
    with running_mock_engine(key=KEY, models=("mock-1",), cut_after=5) as breaking:
        like_vllm = {"engine": "vllm", "can_continue": True}
        await make("mock-1", address=breaking.url, engine_key=KEY, **like_vllm)
        await gateway().reload()
        async with Page(user) as page:
            await page.ask(f"hello {SLOW}")
            moving, moved = await page.hear("moving"), await page.hear("moved")
            answer = (await page.hear("settled"))["message"]

    assert moving["message"] == moved["message"] == answer["id"]
    assert (answer["state"], answer["completion_tokens"]) == ("complete", 20)
    assert answer["content"].split() == [f"t{number}" for number in range(20)]


async def test_an_endless_answer_is_cut_where_the_site_says(site, user, settings):
    settings.CHAT_MAX_ANSWER_CHARS = 100
    async with Page(user) as page:
        await page.ask("hello [[tokens=5000 interval_ms=1]]")
        text, answer = await page.read_answer()

    assert (answer["state"], answer["finish_reason"]) == ("complete", "length")
    assert 100 <= len(text) < 1000


async def test_another_users_conversation_is_refused_and_nothing_else_is_said(
    site, user
):
    other = await database_sync_to_async(make_user)()
    async with Page(user) as mine, Page(other) as theirs:
        shown = await mine.ask("secret [[tokens=300 interval_ms=10]]")
        conversation = shown["conversation"]["id"]
        answer = shown["messages"][-1]["id"]
        await theirs.hear("models")

        for message in (
            {"type": "attach", "conversation": conversation},
            {"type": "stop", "message": answer},
            {"type": "retry", "message": answer},
            {"type": "send", "conversation": conversation, "model": "m", "text": "x"},
        ):
            await theirs.say(**message)
            event = await theirs.hear("error", "conversation", "started", "delta")
            assert (event["type"], event["code"]) == ("error", "not_found")
        assert await theirs.socket.receive_nothing(0.2)

        assert (await Message.objects.aget(pk=answer)).state == "streaming"
        await mine.say(type="stop", message=answer)
        await mine.hear("settled")
    assert await Conversation.objects.of(other).acount() == 0


async def test_a_socket_without_a_session_is_closed_with_4401(site):
    page = Page()

    assert await page.open()
    assert await page.closing_code() == 4401


async def test_a_socket_from_another_origin_is_refused(site, user):
    page = Page(user, origin="https://evil.example")

    assert not await page.open()


async def test_a_deactivated_users_next_message_closes_the_socket(site, user):
    async with Page(user) as page:
        user.is_active = False
        await user.asave()

        await page.say(type="send", model="mock-1", text="hello")

        assert await page.closing_code() == 4401
    assert not await Message.objects.aexists()


async def test_signing_out_closes_the_sockets_of_that_session_only(site, user):
    async with Page(user) as leaving, Page(user) as staying:
        client = Client(headers={"host": "localhost"})
        client.cookies["sessionid"] = leaving.session_key
        await database_sync_to_async(client.post)("/accounts/logout/")

        assert await leaving.closing_code() == 4401
        await staying.say(type="ping")
        assert await staying.hear("pong")


async def test_what_is_not_understood_is_refused_and_the_socket_lives(site, user):
    async with Page(user) as page:
        for frame in ("{", '{"type": "dance"}', '{"type": "attach"}', ""):
            await page.socket.send_to(text_data=frame or "[]")
            assert (await page.hear("error"))["code"] == "unreadable"
        await page.socket.send_to(text_data="x" * 1_300_000)
        assert (await page.hear("error"))["code"] == "prompt_too_long"

        await page.say(type="ping")
        assert await page.hear("pong")


async def test_a_page_is_told_what_can_be_asked(site, user):
    async with Page(user) as page:
        models = (await page.hear("models"))["models"]

    assert [model["name"] for model in models] == ["mock-1"]
    assert models[0]["context_length"] == 4096
