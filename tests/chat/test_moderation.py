"""The chat obeys the rules: what is blocked is said, what is redacted is nowhere."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from chat.models import Conversation, Message
from controller.gateway import gateway
from controller.models import ModerationFlag
from tests.chat.pages import Page
from tests.factories import make_ban, make_moderation_rule, make_team, make_user

pytestmark = pytest.mark.django_db(transaction=True)

new_rule = sync_to_async(make_moderation_rule)
new_ban = sync_to_async(make_ban)
new_team = sync_to_async(make_team)


async def take_over() -> None:
    """Have the gateway know of the rules and bans that were just made."""
    await gateway()._look_for_changes()


async def test_a_blocked_prompt_is_said_and_holds_nothing_up(site, user, engine):
    await new_rule(terms="falcon", category="trade-secrets")
    await take_over()
    async with Page(user) as page:
        shown = await page.ask("about the FALCON")
        _text, message = await page.read_answer()
        assert message["state"] == "failed"
        assert message["error_code"] == "content_policy_violation"
        assert "trade-secrets" in message["error"]

        await page.ask("and the rest", conversation=shown["conversation"]["id"])
        text, message = await page.read_answer()

    assert (message["state"], text) == ("complete", "t0 t1 t2 t3 t4 t5 t6 t7")
    [asked] = [each.body for each in engine.requests()]
    assert asked["messages"] == [{"role": "user", "content": "and the rest"}]
    await gateway()._write_flags()
    flag = await ModerationFlag.objects.aget()
    assert (flag.user_id, flag.face) == (user.pk, "chat")


async def test_a_redacted_answer_is_nowhere_as_it_was(site, user):
    """Neither in the rows, thoughts included, nor on a page that comes later, nor in
    what the model is told of it."""
    await new_rule(terms="t1 t2\nt5 t6", action="redact", direction="output")
    await take_over()
    async with Page(user) as page:
        shown = await page.ask("hm [[reasoning=4 tokens=8 interval_ms=2]]")
        while (event := await page.hear("settled", "delta"))["type"] != "settled":
            assert "t5" not in event["text"]
        conversation_id = shown["conversation"]["id"]
        async with Page(user) as later:
            await later.say(type="attach", conversation=conversation_id)
            again = await later.hear("conversation")

    row = await Message.objects.aget(role="assistant")
    assert row.content.endswith("[redacted] t7")
    assert "[redacted]" in row.reasoning
    conversation = await Conversation.objects.aget()
    told = f"{again} {row.content} {row.reasoning} {conversation.title}"
    assert not [word for word in ("t1", "t2", "t5", "t6") if word in told]


async def test_a_page_that_comes_in_mid_answer_sees_what_may_be_seen(site, user):
    await new_rule(terms="t5 t6", action="redact", direction="output")
    await take_over()
    async with Page(user) as page, Page(user) as other:
        shown = await page.ask("hm [[tokens=40 interval_ms=20]]")
        await page.hear("delta")
        conversation_id = shown["conversation"]["id"]
        await other.say(type="attach", conversation=conversation_id)
        await other.hear("conversation")
        text, message = await other.read_answer()

    assert text == message["content"]
    assert "t4 [redacted] t7" in text
    assert "t5" not in text


async def test_an_answer_that_goes_on_does_not_complete_what_a_rule_redacts(
    site, user, engine
):
    await new_rule(terms="t5 t6", action="redact", direction="output")
    await take_over()
    setup = {"max_tokens": "6"}
    async with Page(user) as page:
        await page.ask("hm", setup=setup)
        text, cut = await page.read_answer()
        assert (text, cut["finish_reason"]) == ("t0 t1 t2 t3 t4 t5", "length")

        await page.say(type="continue", message=cut["id"], text="Go on.")
        await page.hear("conversation")
        text, _whole = await page.read_answer()

    row = await Message.objects.aget(role="assistant")
    assert engine.requests()[-1].body["continue_final_message"] is True
    assert row.content == text
    assert text.startswith("t0 t1 t2 t3 t4 t5[redacted] t7")


async def test_an_answer_that_a_rule_ends_keeps_what_came_before(site, user):
    await new_rule(terms="t5 t6", direction="output")
    await take_over()
    async with Page(user) as page:
        await page.ask("hm [[tokens=8 interval_ms=2]]")
        text, message = await page.read_answer()

    assert message["finish_reason"] == "content_filter"
    row = await Message.objects.aget(role="assistant")
    assert row.content == text == "t0 t1 t2 t3 t4 "


async def test_a_rule_of_a_team_holds_in_the_chat_for_its_members(site, user):
    other = await sync_to_async(make_user)()
    team = await new_team(user)
    await new_rule(terms="falcon", teams=[team.pk])
    await take_over()
    states = []
    for person in (user, other):
        async with Page(person) as page:
            await page.ask("falcon")
            states.append((await page.read_answer())[1]["state"])

    assert states == ["failed", "complete"]


async def test_who_is_banned_is_told_in_the_chat_why_and_until_when(site, user):
    ends_at = now() + timedelta(hours=1)
    await new_ban(user, reason="Spam.", ends_at=ends_at)
    await take_over()
    async with Page(user) as page:
        await page.ask("hello")
        _text, message = await page.read_answer()

    when = f"{ends_at:%Y-%m-%d %H:%M} UTC"
    assert message["error_code"] == "user_banned"
    assert f"until {when}: Spam." in message["error"]
    shown = await sync_to_async(home_of)(user)
    assert 'id="ban"' in shown
    assert f"You cannot ask models until {when}: Spam." in shown
    await sync_to_async(user.bans.lift)(user)
    await take_over()
    assert 'id="ban"' not in await sync_to_async(home_of)(user)


def home_of(user) -> str:
    client = Client()
    client.force_login(user)
    return client.get(reverse("chat:home")).content.decode()
