"""What is done to messages, over the page's websocket."""

import asyncio

import pytest
from channels.db import database_sync_to_async
from django.utils.timezone import now

from chat.models import Message
from controller.gateway import gateway
from controller.models import LedgerEntry, ModerationFlag, ServedModel, Worker
from tests.chat.pages import Page
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


def words(begin, end):
    return [f"t{number}" for number in range(begin, end)]


async def row_of(message):
    return await Message.objects.aget(pk=message["id"])


async def read_thoughts(page, shown):
    """(the reasoning as a page puts it together, the seconds that it took)."""
    thoughts = shown["messages"][-1]["reasoning"]
    while (event := await page.hear("reasoning", "thought"))["type"] == "reasoning":
        assert event["at"] == len(thoughts)
        thoughts += event["text"]
    return thoughts, event["seconds"]


async def test_an_edited_prompt_is_answered_beside_the_first_one(site, user):
    async with Page(user) as page:
        shown = await page.ask("one")
        await page.read_answer()
        first = shown["messages"][0]
        edit = {"message": first["id"], "model": "mock-1", "text": "1", "ref": 3}
        await page.say(type="edit", **edit)
        started = await page.hear("started")
        edited = await page.hear("conversation")
        await page.read_answer()
        await page.say(type="choose", message=first["id"])
        back = await page.hear("conversation")

    assert started["ref"] == 3
    prompt, answer = edited["messages"]
    assert prompt["versions"] == [first["id"], prompt["id"]]
    assert answer["versions"] == [answer["id"]]
    assert back["messages"][0]["content"] == "one"


async def test_a_version_that_one_tab_chooses_is_shown_in_the_other(site, user):
    async with Page(user) as page, Page(user) as other:
        shown = await page.ask("one")
        _, first = await page.read_answer()
        conversation = shown["conversation"]["id"]
        await page.say(type="retry", message=first["id"])
        await page.hear("conversation")
        await page.read_answer()
        await other.say(type="attach", conversation=conversation)
        await other.hear("conversation")

        await page.say(type="choose", message=first["id"])
        chosen = await page.hear("conversation")
        await other.hear("changed")
        await other.say(type="attach", conversation=conversation)
        seen = await other.hear("conversation")

    assert chosen["after"] == shown["messages"][0]["id"]
    assert [each["id"] for each in chosen["messages"]] == [first["id"]]
    assert seen["messages"][-1]["id"] == first["id"]


async def test_a_stopped_answer_goes_on_from_its_last_word(site, user, engine):
    async with Page(user) as page:
        shown = await page.ask("go on [[tokens=40 interval_ms=60]]")
        await page.hear("delta")
        answer = shown["messages"][-1]["id"]
        await page.say(type="stop", message=answer)
        stopped = (await page.hear("settled"))["message"]
        await page.say(type="continue", message=answer, text="Go on.", ref=2)
        assert (await page.hear("started"))["message"] == answer
        await page.hear("conversation")
        text, whole = await page.read_answer()

    await gateway().flush()
    row = await row_of(whole)
    asked = engine.requests("/v1/chat/completions")[-1].body
    entry = await LedgerEntry.objects.aget(request_id=row.request_id)
    assert stopped["state"] == "stopped"
    assert asked["continue_final_message"] is True
    assert asked["messages"][-1] == {"role": "assistant", "content": stopped["content"]}
    assert text == row.content
    assert text.split() == words(0, 40)
    assert row.state == "complete"
    # Of the part that was stopped, the engine has not told the number.
    assert row.completion_tokens == pytest.approx(40, abs=2)
    assert row.completion_tokens > entry.completion_tokens


async def test_a_model_that_cannot_go_on_is_asked_to(site, user, engine):
    await Worker.objects.aupdate(can_continue=False)
    await gateway().reload()
    async with Page(user) as page:
        shown = await page.ask("hello [[tokens=40 interval_ms=60]]")
        await page.hear("delta")
        answer = shown["messages"][-1]["id"]
        await page.say(type="stop", message=answer)
        await page.hear("settled")
        await page.say(type="continue", message=answer, text="Please go on.")
        prompt, more = (await page.hear("conversation"))["messages"]
        await page.read_answer()

    assert (prompt["content"], more["role"]) == ("Please go on.", "assistant")
    assert more["id"] != answer
    asked = engine.requests("/v1/chat/completions")[-1].body
    assert "continue_final_message" not in asked


async def test_reasoning_is_streamed_apart_and_kept(site, user):
    async with Page(user) as page:
        shown = await page.ask("hm [[reasoning=4 tokens=8 interval_ms=150]]")
        thoughts, seconds = await read_thoughts(page, shown)
        text, answer = await page.read_answer()

    row = await row_of(answer)
    assert thoughts.split() == words(0, 4)
    assert text.split() == words(4, 8)
    assert (row.reasoning, row.content) == (thoughts, text)
    assert row.reasoning_seconds == seconds == answer["reasoning_seconds"] > 0


async def test_a_page_that_comes_while_the_model_thinks_has_all_thoughts(site, user):
    async with Page(user) as first, Page(user) as second:
        shown = await first.ask("hm [[reasoning=20 tokens=24 interval_ms=60]]")
        await first.hear("reasoning")
        await second.say(type="attach", conversation=shown["conversation"]["id"])
        thoughts, _ = await read_thoughts(second, await second.hear("conversation"))
        text, _ = await second.read_answer()

    assert thoughts.split() == words(0, 20)
    assert text.split() == words(20, 24)


async def test_what_is_deleted_is_gone_from_the_page_and_comes_back(site, user):
    async with Page(user) as page:
        await page.ask("one")
        _, answer = await page.read_answer()
        await page.say(type="delete", message=answer["id"])
        gone = await page.hear("conversation")
        await page.say(type="restore", message=answer["id"])
        back = await page.hear("conversation")

    assert (gone["after"], gone["messages"]) == (back["after"], [])
    assert back["messages"][0]["id"] == answer["id"]


async def test_an_answer_that_is_deleted_while_it_streams_ends_in_the_engine(
    site, user, engine
):
    async with Page(user) as page:
        shown = await page.ask("go on [[tokens=5000 interval_ms=5]]")
        await page.hear("delta")
        await page.say(type="delete", message=shown["messages"][-1]["id"])
        await page.hear("conversation")

        await asyncio.to_thread(engine.wait_for, cancelled=1)


async def test_an_answer_is_rated_and_flagged_with_reasons(site, user):
    async with Page(user) as page:
        await page.ask("one")
        _, answer = await page.read_answer()
        judged = {"message": answer["id"], "reason": "Wrong."}
        await page.say(type="rate", rating=-1, **judged)
        rated = await page.hear("judged")
        await page.say(type="flag", **judged)
        flagged = await page.hear("judged")
        await page.say(type="rate", rating=7, **judged)
        refused = await page.hear("error")

    assert (rated["rating"], rated["rating_reason"]) == (-1, "Wrong.")
    assert (rated["is_flagged"], flagged["is_flagged"]) == (False, True)
    assert await ModerationFlag.objects.acount() == 1
    assert refused["code"] == "unreadable"


async def test_an_answer_costs_what_the_ledger_says(site, user):
    prices = {"price_prompt": 1_000, "price_completion": 3_000}
    await ServedModel.objects.aupdate(**prices)
    await gateway().reload()
    async with Page(user) as page:
        await page.ask("one two")
        _, answer = await page.read_answer()

    await gateway().flush()
    row = await row_of(answer)
    entry = await LedgerEntry.objects.aget(request_id=row.request_id)
    assert row.cost_nanos == entry.cost_nanos > 0
    assert answer["cost"] == pytest.approx(row.cost_nanos / 1e9)


async def test_others_messages_are_refused_by_every_operation(site, user):
    other = await database_sync_to_async(make_user)()
    async with Page(user) as mine, Page(other) as theirs:
        shown = await mine.ask("secret")
        await mine.read_answer()
        prompt, answer = (each["id"] for each in shown["messages"])
        for message in (
            {"type": "edit", "message": prompt, "model": "mock-1", "text": "x"},
            {"type": "continue", "message": answer, "text": "x"},
            {"type": "choose", "message": answer},
            {"type": "rate", "message": answer, "rating": 1},
            {"type": "flag", "message": answer},
            {"type": "delete", "message": answer},
        ):
            await theirs.say(**message)
            event = await theirs.hear("error", "conversation", "started", "judged")
            assert (event["type"], event["code"]) == ("error", "not_found")
        deleted = Message.objects.filter(pk=answer)
        await deleted.aupdate(deleted_at=now())
        await theirs.say(type="restore", message=answer)
        assert (await theirs.hear("error"))["code"] == "not_found"
