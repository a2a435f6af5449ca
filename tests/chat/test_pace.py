"""How fast one person may ask."""

import pytest
from channels.db import database_sync_to_async

from chat.models import Message
from chat.pace import Pace
from tests.chat.pages import Page
from tests.factories import make_user


@pytest.mark.django_db(transaction=True)
async def test_who_asks_too_fast_is_told_and_nothing_is_kept(site, user, settings):
    settings.CHAT_MAX_QUESTIONS = 2
    async with Page(user) as page, Page(user) as other_page:
        for each in (page, other_page):
            await each.ask("hello")
            await each.read_answer()

        await page.say(type="send", model="mock-1", text="once more", ref=7)
        refused = await page.hear("error")

    assert (refused["code"], refused["ref"]) == ("too_many_questions", 7)
    assert "At most 2 questions" in refused["message"]
    kept = Message.objects.filter(role="user")
    assert await database_sync_to_async(kept.count)() == 2


@pytest.mark.django_db(transaction=True)
async def test_another_person_asks_at_their_own_pace(site, user, settings):
    settings.CHAT_MAX_QUESTIONS = 1
    other = await database_sync_to_async(make_user)()
    async with Page(user) as page, Page(other) as others_page:
        for each in (page, others_page):
            await each.ask("hello")
            text, _answer = await each.read_answer()
            assert text


def test_no_more_people_are_remembered_than_fit(monkeypatch):
    monkeypatch.setattr("chat.pace.MAX_KNOWN", 3)
    pace = Pace()

    for user_id in range(10):
        pace.take(user_id)

    assert len(pace._buckets) == 3
