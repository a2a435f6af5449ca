"""Verdicts on flags, the strikes that they are, and bans."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller.errors import UserBanned
from controller.identity.caller import chat_caller
from controller.models import Ban, ModerationFlag, Revision
from controller.moderation.verdicts import decide, num_strikes
from tests.controller.relaying import (
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    ledger_row,
    make_request,
    read_all,
)
from tests.factories import make_ban, make_moderation_flag, make_operator, make_user
from tests.mock_engine import running_mock_engine

Verdict = ModerationFlag.Verdict
CREATED, UPDATED = LogEntry.Action.CREATE, LogEntry.Action.UPDATE
QUEUE = reverse("admin:controller_moderationflag_changelist")
BANS = reverse("admin:controller_ban_changelist")


@pytest.fixture
def operator(db):
    return make_operator()


@pytest.fixture
def console(client, operator):
    client.force_login(operator)
    return client


@pytest.fixture(autouse=True)
def strikes(settings):
    settings.MODERATION_STRIKES = 3
    settings.MODERATION_STRIKE_DAYS = 30
    settings.MODERATION_BAN_DAYS = 2


def confirmed(user, operator, num: int, **fields) -> list[ModerationFlag]:
    """So many flags of this user, each in a request of its own, all confirmed."""
    flags = [make_moderation_flag(user=user, **fields) for _ in range(num)]
    for flag in flags:
        decide(flag.pk, operator, Verdict.CONFIRMED)
    return flags


# -- Strikes ---------------------------------------------------------------------------


def test_enough_strikes_ban_a_user_for_a_while(operator):
    user = make_user()
    before = Revision.current().moderation

    confirmed(user, operator, 2)
    assert not Ban.objects.exists()
    confirmed(user, operator, 1, category="violence")

    ban = user.bans.get()
    assert ban.by_strikes
    assert timedelta(days=1.9) < ban.ends_at - now() <= timedelta(days=2)
    assert (
        ban.reason
        == "3 requests went against this site's rules about secrets, violence."
    )
    assert Revision.current().moderation == before + 1
    assert num_strikes(user.pk) == 0  # they have had their effect


@pytest.mark.parametrize(
    "fields",
    [{"request_id": "one"}, {"created_at": now() - timedelta(days=31)}],
    ids=["of one request", "long ago"],
)
def test_what_is_no_strike_bans_nobody(operator, fields: dict):
    user = make_user()

    confirmed(user, operator, 3, **fields)

    assert not Ban.objects.exists()


def test_without_a_number_of_strikes_nobody_is_banned(operator, settings):
    settings.MODERATION_STRIKES = 0

    confirmed(make_user(), operator, 5)

    assert not Ban.objects.exists()


def test_a_strike_that_is_released_after_all_lifts_the_ban(operator):
    user = make_user()
    flag, *_others = confirmed(user, operator, 3)

    decide(flag.pk, operator, Verdict.RELEASED, "a false alarm")

    ban = user.bans.get()
    assert (ban.is_in_force, ban.lifted_by) == (False, operator)
    assert num_strikes(user.pk) == 2
    confirmed(user, operator, 1)
    assert user.bans.in_force().exists()


# -- The queue -------------------------------------------------------------------------


def test_an_operator_releases_and_confirms_with_a_note(console, operator):
    flag = make_moderation_flag(user=make_user(username="ada"))
    confirm = reverse("admin:controller_moderationflag_confirm", args=[flag.pk])

    change = reverse("admin:controller_moderationflag_change", args=[flag.pk])
    assert ">waiting<" in "".join(console.get(change).content.decode().split())
    page = console.get(confirm).content.decode()
    assert "about Falcon" in page
    assert "strike 1 of 3 for ada" in page
    answer = console.post(confirm, {"note": "on purpose"}, follow=True)

    flag.refresh_from_db()
    logged = LogEntry.objects.get_for_object(flag).get()
    assert "confirmed" in logged.additional_data["event"].lower()
    assert logged.actor == operator
    assert "The flag is confirmed." in answer.content.decode()
    assert (flag.verdict, flag.verdict_note) == ("confirmed", "on purpose")
    assert flag.decided_by == operator
    assert answer.context["cl"].result_count == 0  # nothing waits any more


def test_a_flag_of_somebody_who_went_is_judged_all_the_same(console):
    flag = make_moderation_flag(user_id=12345)  # written after the account was deleted

    for verb in ("confirm", "release"):
        page = reverse(f"admin:controller_moderationflag_{verb}", args=[flag.pk])
        assert console.get(page).status_code == 200
        assert console.post(page, {"note": ""}).status_code == 302

    change = reverse("admin:controller_moderationflag_change", args=[flag.pk])
    assert console.get(change).status_code == 200


def test_flags_are_judged_together(console):
    user = make_user(username="ada")
    flags = [make_moderation_flag(user=user) for _ in range(3)]

    chosen = {"_selected_action": [flag.pk for flag in flags], "action": "confirm_all"}
    asked = console.post(QUEUE, chosen)
    assert "enough strikes are a ban" in asked.content.decode()
    assert not Ban.objects.exists()
    answer = console.post(QUEUE, chosen | {"post": "yes"}, follow=True)

    assert "3 flags are confirmed." in answer.content.decode()
    assert "ada is banned until" in answer.content.decode()


@pytest.mark.django_db
def test_what_people_write_is_for_those_who_may_read_it(client):
    flag = make_moderation_flag()
    auditor = make_user(is_staff=True)
    auditor.user_permissions.set(
        Permission.objects.filter(codename__in=["view_moderationflag"])
    )
    client.force_login(auditor)
    page = reverse("admin:controller_moderationflag_change", args=[flag.pk])
    confirm = reverse("admin:controller_moderationflag_confirm", args=[flag.pk])

    assert b"about Falcon" not in client.get(page).content
    assert client.post(confirm).status_code == 403

    auditor.user_permissions.add(
        Permission.objects.get(codename="view_message_text"),
        Permission.objects.get(codename="change_moderationflag"),
    )
    assert b"about Falcon" in client.get(page).content
    auditor.user_permissions.remove(
        Permission.objects.get(codename="view_message_text")
    )
    assert b"about Falcon" not in client.get(confirm).content


@pytest.mark.parametrize("url", [QUEUE, BANS])
def test_lists_cost_the_same_queries_whatever_their_length(
    console, operator, django_assert_max_num_queries, url: str
):
    for _ in range(20):
        make_moderation_flag(user=make_user())
        make_ban(make_user(), created_by=operator)

    with django_assert_max_num_queries(10):
        console.get(url)


# -- Bans ------------------------------------------------------------------------------


def test_an_operator_bans_and_lifts(console, operator):
    user = make_user()
    add = reverse("admin:controller_ban_add")
    form = {"user": user.pk, "reason": "Spam.", "ends_at_0": "2999-01-01"}

    answer = console.post(add, form | {"ends_at_1": "00:00"})
    assert answer.status_code == 302, answer.context["errors"]
    ban = user.bans.get()
    assert (ban.is_in_force, ban.created_by, ban.by_strikes) == (True, operator, False)
    console.post(BANS, {"_selected_action": [ban.pk], "action": "lift"})

    ban.refresh_from_db()
    logged = LogEntry.objects.get_for_object(ban)
    assert logged.get(action=CREATED).changes_dict["reason"] == ["None", "Spam."]
    assert "lifted_at" in logged.get(action=UPDATED).changes_dict
    assert (ban.is_in_force, ban.lifted_by) == (False, operator)


def test_a_ban_is_not_for_the_past(console):
    add = reverse("admin:controller_ban_add")
    form = {"user": make_user().pk, "reason": "x", "ends_at_0": "2001-01-01"}

    answer = console.post(add, form | {"ends_at_1": "00:00"})

    assert "This moment has passed." in answer.content.decode()
    assert not Ban.objects.exists()


@pytest.fixture(scope="module")
def engine():
    with running_mock_engine(key=KEY, models=(MODEL,), tokens=10) as running:
        yield running


new_ban = sync_to_async(make_ban)


@pytest.mark.django_db(transaction=True)
async def test_who_is_banned_is_told_why_and_until_when(engine):
    user = await sync_to_async(make_user)()
    ends_at = now() + timedelta(hours=1)
    await new_ban(user, reason="Spam.", ends_at=now() + timedelta(minutes=1))
    await new_ban(user, reason="More spam.", ends_at=ends_at)
    await new_ban(user, reason="Long ago.", ends_at=now() - timedelta(days=1))
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(UserBanned) as refused:
            await gateway.open(chat_caller(user.pk), make_request())
        assert (refused.value.status, refused.value.code) == (403, "user_banned")
        assert (
            f"until {ends_at:%Y-%m-%d %H:%M} UTC: More spam." in refused.value.message
        )

        await read_all(await gateway.open(chat_caller(user.pk + 1), make_request()))
        await sync_to_async(Ban.objects.all().lift)(user)
        await gateway._look_for_changes()
        await read_all(await gateway.open(chat_caller(user.pk), make_request()))


@pytest.mark.django_db(transaction=True)
async def test_a_ban_ends_what_runs_and_by_itself(engine, monkeypatch):
    user = await sync_to_async(make_user)()
    caller = chat_caller(user.pk)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        asked = make_request("[[tokens=1000 interval_ms=20]]")
        exchange = await gateway.open(caller, asked)
        await new_ban(user, ends_at=now() + timedelta(hours=1))
        await gateway._look_for_changes()

        assert b"user_banned" in await read_all(exchange)
        assert await is_idle(gateway)
        assert (await ledger_row(gateway)).error_code == "user_banned"
        with pytest.raises(UserBanned):
            await gateway.open(caller, make_request())
        later = now() + timedelta(hours=1)
        monkeypatch.setattr("controller.moderation.bans.now", lambda: later)
        await read_all(await gateway.open(caller, make_request()))
