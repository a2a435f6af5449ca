"""Answers outlive their sockets, heed other processes, and end when nobody cares."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer
from django.db.backends.utils import CursorWrapper
from django.utils.timezone import now

from chat import answers, conversations
from chat.answers import Draft
from chat.generations import generations
from chat.models import Message
from chat.news import Waiting
from controller.gateway import gateway
from controller.identity.caller import chat_caller
from controller.models import Limit, Worker
from controller.relay.request import InferenceRequest
from tests.chat.pages import Page
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

ENDLESS = "hello [[tokens=100000 interval_ms=10]]"

in_database = database_sync_to_async


class Clock:
    """A `monotonic` that tests move."""

    def __init__(self, monkeypatch):
        self.now = 1_000.0
        monkeypatch.setattr("chat.generations.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def quick(settings):
    """Drafts are written, and wishes read, without a wait to speak of."""
    settings.CHAT_WRITE_INTERVAL = timedelta(milliseconds=5)


async def until(condition):
    """Wait for what only rows show: of those there is no event to be had."""
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def begin(user, text=ENDLESS):
    turn = await in_database(conversations.begin_turn)(user, None, "mock-1", text)
    return turn, generations.start(turn)


async def test_an_answer_goes_on_without_a_socket_and_stops_when_unattended(
    site, user, engine, clock, quick
):
    async with Page(user) as page:
        shown = await page.ask(ENDLESS)
        await page.hear("delta")
    message_id = UUID(shown["messages"][-1]["id"])
    answer = Message.objects.filter(pk=message_id)
    generation = generations.find(message_id)

    async def is_unattended():
        return generation.unattended_since is not None

    await until(is_unattended)
    clock.now += 59
    await until(answer.filter(content__contains="t5").aexists)
    assert await answer.streaming().aexists()
    clock.now += 2
    await until(answer.filter(state="stopped").aexists)

    assert (await answer.aget()).finish_reason == "unattended"
    await asyncio.to_thread(engine.wait_for, cancelled=1)


async def test_an_answer_is_attended_while_its_owner_has_another_page_open(
    site, user, clock, quick
):
    async with Page(user):
        turn, generation = await begin(user)
        row = Message.objects.filter(pk=turn.message_id)
        await until(row.exclude(content="").aexists)
        clock.now += 600
        written = (await row.aget()).content
        await until(row.exclude(content=written).aexists)

        assert generation.unattended_since is None
        assert await row.streaming().aexists()
        generation.stop()
        await until(row.filter(state="stopped").aexists)


async def test_a_stop_asked_of_another_process_is_heeded(site, user, engine, quick):
    turn, _ = await begin(user)
    await asyncio.to_thread(engine.wait_for, started=1)
    row = Message.objects.filter(pk=turn.message_id)

    await in_database(conversations.request_stop)(user, turn.message_id)

    await until(row.filter(state="stopped").aexists)
    await asyncio.to_thread(engine.wait_for, cancelled=1)


async def test_a_deleted_conversation_ends_its_answer(site, user, engine, quick):
    turn, _ = await begin(user)
    await asyncio.to_thread(engine.wait_for, started=1)

    await Message.objects.filter(pk=turn.message_id).adelete()

    await asyncio.to_thread(engine.wait_for, cancelled=1)


async def test_an_answer_of_another_process_is_followed_by_its_row(
    site, user, monkeypatch
):
    """Play both processes: the socket's does not know of the generation."""
    turn = await in_database(conversations.begin_turn)(user, None, "mock-1", "hello")
    async with Page(user) as page:
        await in_database(answers.write_drafts)({turn.message_id: Draft("one ")})
        await page.say(type="attach", conversation=str(turn.conversation_id))
        shown = await page.hear("conversation")
        await in_database(answers.write_drafts)({turn.message_id: Draft("one zwei ")})
        delta = await page.hear("delta")
        page.text += delta["text"]
        ending = answers.Ending(Message.State.COMPLETE)
        await in_database(answers.settle)(
            turn.message_id, Draft("one zwei drei"), ending
        )
        text, answer = await page.read_answer()

    assert shown["messages"][-1]["content"] == "one "
    assert (delta["at"], delta["text"]) == (4, "zwei ")
    assert text == answer["content"] == "one zwei drei"
    row = await Message.objects.aget(pk=turn.message_id)
    assert answers.is_attended(row.attended_at)


async def test_an_answer_of_a_process_that_died_is_settled_while_it_is_followed(
    site, user, settings
):
    turn = await in_database(conversations.begin_turn)(user, None, "mock-1", "hello")
    async with Page(user) as page:
        await in_database(answers.write_drafts)({turn.message_id: Draft("half an")})
        await page.say(type="attach", conversation=str(turn.conversation_id))
        await page.hear("conversation")
        silence = settings.CHAT_INTERRUPTED_AFTER + timedelta(seconds=1)
        row = Message.objects.filter(pk=turn.message_id)
        await row.aupdate(written_at=now() - silence)
        _, answer = await page.read_answer()

    assert (answer["state"], answer["content"]) == ("interrupted", "half an")


async def test_a_stopping_process_writes_down_what_it_was_generating(site, user):
    turn, generation = await begin(user)
    async for _ in generation.news(0):
        break

    await generations.close()

    row = await Message.objects.aget(pk=turn.message_id)
    assert row.state == "interrupted"
    assert row.content == generation.text != ""


async def test_the_text_is_written_while_it_grows_and_not_per_token(
    site, user, monkeypatch
):
    num_writes = 0
    write = answers.write_drafts

    def counted(drafts):
        nonlocal num_writes
        num_writes += 1
        return write(drafts)

    monkeypatch.setattr(answers, "write_drafts", counted)
    turn, generation = await begin(user, "hello [[tokens=100 interval_ms=5]]")

    async for _ in generation.news(0):
        pass

    row = await Message.objects.aget(pk=turn.message_id)
    assert len(row.content.split()) == 100
    assert 1 <= num_writes <= 8  # 0.5 s of tokens, a write each 0.2 s


async def test_a_slow_socket_gets_larger_deltas_and_nothing_queues(site, user):
    turn, generation = await begin(user, "hello [[tokens=50]]")
    follower = generation.news(0)
    first = await anext(follower)
    await until(Message.objects.filter(pk=turn.message_id, state="complete").aexists)

    rest = [delta async for delta in follower]

    assert len(rest) <= 1
    text = first.text + "".join(delta.text for delta in rest)
    assert text == generation.text


# -- In line for a worker --------------------------------------------------------------


@pytest.fixture
async def full_worker(site, settings):
    """The one worker has one place, and somebody else's request has it."""
    settings.QUEUE_NOTICE_AFTER = settings.QUEUE_NOTICE_INTERVAL = timedelta(0, 0.02)
    await Worker.objects.aupdate(max_concurrency=1)
    await gateway().reload()
    request = InferenceRequest(
        endpoint="/v1/chat/completions",
        task=Task.CHAT,
        model="mock-1",
        body={"messages": [{"role": "user", "content": ENDLESS}], "stream": True},
        stream=True,
    )
    exchange = await gateway().open(chat_caller(10**6), request)
    yield exchange
    await exchange.aclose()


async def test_a_page_is_told_the_place_and_that_its_turn_has_come(user, full_worker):
    async with Page(user) as page:
        await page.ask("hello")
        told = await page.hear("waiting")
        await full_worker.aclose()
        turn = await page.hear("waiting")
        text, answer = await page.read_answer()

    assert (told["position"], told["length"]) == (1, 1)
    assert told["message"] == turn["message"] == answer["id"]
    assert turn["position"] == 0
    assert answer["state"] == "complete"
    assert text.startswith("t0 t1")


async def test_a_page_that_comes_while_its_answer_waits_is_told_the_place(
    user, full_worker
):
    async with Page(user) as first:
        shown = await first.ask("hello")
        await first.hear("waiting")
        async with Page(user) as second:
            await second.say(type="attach", conversation=shown["conversation"]["id"])
            told = await second.hear("waiting")
            await second.say(type="stop", message=told["message"])
            ended = await second.hear("settled")

    assert told["position"] == 1
    assert ended["message"]["state"] == "stopped"


async def test_an_answer_that_is_stopped_in_line_is_never_sent(
    user, full_worker, engine
):
    turn, generation = await begin(user)
    async for news in generation.news(0):
        if news != Waiting(None):
            break
    generation.stop()
    row = Message.objects.filter(pk=turn.message_id)
    await until(row.filter(state="stopped").aexists)

    assert sum(map(len, gateway().turns.lines.values())) == 0
    assert (await asyncio.to_thread(engine.totals)).started == 1


async def test_an_answer_whose_turn_does_not_come_says_so(user, full_worker, settings):
    settings.QUEUE_DEADLINE = timedelta(seconds=0.1)
    async with Page(user) as page:
        await page.ask("hello")
        _, answer = await page.read_answer()

    assert answer["state"] == "failed"
    assert answer["error_code"] == "queue_timeout"


async def test_an_answer_that_no_budget_pays_for_says_so(site, user, engine):
    await in_database(Limit.put)("tokens_per_day", 1, user_id=user.pk)
    await gateway()._look_for_changes()

    async with Page(user) as page:
        await page.ask("hello")
        _text, ended = await page.read_answer()

    assert ended["error_code"] == "insufficient_quota"
    assert f"tokens per day of user '{user}' is used up" in ended["error"]
    assert engine.requests("/v1/chat/completions") == []


async def test_a_token_is_no_write_and_no_message_of_the_channel_layer(
    site, user, monkeypatch
):
    """Of 400 tokens in 0.8 s: as many writes as intervals between drafts, and a few."""
    written: list[str] = []
    passed: list[str] = []

    def count_statements(method):
        execute = getattr(CursorWrapper, method)

        def counted(self, sql, *args, **kwargs):
            if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
                written.append(sql)
            return execute(self, sql, *args, **kwargs)

        monkeypatch.setattr(CursorWrapper, method, counted)

    def count_messages(method):
        send = getattr(InMemoryChannelLayer, method)

        async def counted(self, to, message):
            passed.append(message["type"])
            await send(self, to, message)

        monkeypatch.setattr(InMemoryChannelLayer, method, counted)

    for method in ("execute", "executemany"):
        count_statements(method)
    for method in ("send", "group_send"):
        count_messages(method)

    async with Page(user) as page:
        await page.ask("hello [[tokens=400 interval_ms=2]]")
        text, _ = await page.read_answer()

    assert len(text.split()) == 400
    assert 0 < len(written) < 100
    assert len(passed) < 5
