"""The audit log: who changed what, who signed in, and what it must never hold."""

import json
from datetime import timedelta

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from allauth.usersessions.models import UserSession
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.core.cache import cache
from django.urls import reverse
from django.utils.timezone import now

from chat.models import Comparison, Conversation, Message
from controller import models, tasks
from controller.audit.events import (
    FACTOR_REFUSED,
    HELD_BACK,
    REFUSALS,
    REFUSED,
    SESSION_ENDED,
    SIGNED_IN,
    SIGNED_OUT,
    UNKNOWN,
    record_refusal,
)
from tests.controller.console import make_everything
from tests.factories import (
    make_key,
    make_moderation_flag,
    make_moderation_rule,
    make_operator,
    make_team,
    make_user,
    make_worker,
)

PASSWORD = "correct horse battery"
SIGN_IN = reverse("account_login")
LIST = reverse("admin:auditlog_logentry_changelist")
# Written by the system, by the thousand or every second: a row and a query for each
# change would be the greater part of the work.
HOT = {
    models.LedgerEntry,
    models.LedgerHour,
    models.UsageHour,
    models.UsageDay,
    models.Spending,
    models.Lease,
    models.Revision,
    models.ProcessHeard,
    models.Placement,
    models.WorkerBreaker,
    models.EngineStart,
    models.BudgetAlert,
    models.ModerationFlag,
    Comparison,
    Conversation,
    Message,
}


@pytest.fixture
def console(client, db):
    cache.clear()
    client.force_login(make_operator(username="operator"))
    LogEntry.objects.all().delete()
    return client


def url(model, page, *args):
    return reverse(f"admin:controller_{model}_{page}", args=args)


def events():
    """(what happened, to whom, who did it), oldest first."""
    entries = LogEntry.objects.order_by("pk").select_related("actor")
    return [
        (
            each.additional_data["event"],
            each.object_repr,
            each.actor and each.actor.username,
        )
        for each in entries
        if each.additional_data
    ]


def test_a_change_names_who_made_it_from_where_and_what_it_was(console):
    team = make_team(name="before")
    form = {
        "name": "after",
        "memberships-TOTAL_FORMS": "0",
        "memberships-INITIAL_FORMS": "0",
    }

    console.post(url("team", "change", team.pk), form)

    entry = LogEntry.objects.get(action=LogEntry.Action.UPDATE)
    assert entry.changes == {"name": ["before", "after"]}
    assert (entry.actor.username, entry.remote_addr) == ("operator", "127.0.0.1")


def test_no_client_chooses_the_address_that_is_logged(console):
    forged = {"X-Forwarded-For": "198.51.100.7"}
    form = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}

    console.post(url("team", "add"), {"name": "new"} | form, headers=forged)

    assert LogEntry.objects.get().remote_addr == "127.0.0.1"


def test_the_log_tells_of_a_rows_own_fields_and_no_others(db):
    team = make_team()

    entry = LogEntry.objects.get_for_object(team).get()
    assert set(entry.changes) == {"id", "name", "created_at"}


def test_what_the_system_does_has_no_actor(db):
    team = make_team()

    entry = LogEntry.objects.get_for_object(team).get()
    assert (entry.actor, entry.remote_addr) == (None, None)


def test_a_drain_of_many_workers_is_in_the_log(console):
    workers = [make_worker("llama"), make_worker("llama")]
    LogEntry.objects.all().delete()
    selected = [worker.pk for worker in workers]

    console.post(
        url("worker", "changelist"), {"action": "drain", "_selected_action": selected}
    )

    assert events() == [("Drained.", str(each), "operator") for each in workers]


def test_signing_in_and_out_is_logged(client, db):
    cache.clear()
    make_user(username="ann", password=PASSWORD)

    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})
    client.post(reverse("account_logout"))

    assert events() == [(SIGNED_IN, "ann", "ann"), (SIGNED_OUT, "ann", "ann")]


def test_a_refused_sign_in_is_logged_without_what_was_typed(client, db):
    cache.clear()
    make_user(username="ann", password=PASSWORD)

    client.post(SIGN_IN, {"login": "ann", "password": "a wrong secret"})
    client.post(SIGN_IN, {"login": "typed-the-password-here", "password": "x"})

    assert events() == [(REFUSED, "ann", None), (REFUSED, UNKNOWN, None)]
    stored = str(list(LogEntry.objects.values()))
    assert "wrong secret" not in stored
    assert "typed-the-password-here" not in stored
    assert {each.remote_addr for each in LogEntry.objects.filter(action=3)} == {
        "127.0.0.1"
    }


def test_a_wrong_code_is_logged_without_the_code(client, db):
    cache.clear()
    user = make_user(username="ann", password=PASSWORD)
    TOTP.activate(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    client.post(reverse("mfa_authenticate"), {"code": "000123"})
    client.post(reverse("mfa_authenticate"), {"code": "wrongrecovery"})

    assert events() == [(FACTOR_REFUSED, "ann", None)] * 2
    stored = str(list(LogEntry.objects.values()))
    assert "000123" not in stored
    assert "wrongrecovery" not in stored


def test_a_wrong_code_of_somebody_signed_in_is_logged(client, db):
    cache.clear()
    user = make_user(username="ann")
    TOTP.activate(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    client.force_login(user)
    LogEntry.objects.all().delete()

    client.post(reverse("mfa_reauthenticate"), {"code": "000123"})

    assert events() == [(FACTOR_REFUSED, "ann", "ann")]


def test_a_wrong_passkey_is_logged(client, db):
    cache.clear()
    user = make_user(username="ann", password=PASSWORD)
    TOTP.activate(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    forged = {"credential": '{"id": "x"}'}

    client.post(reverse("mfa_login_webauthn"), forged)
    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})
    client.post(reverse("mfa_authenticate"), forged)

    assert events() == [(FACTOR_REFUSED, UNKNOWN, None), (FACTOR_REFUSED, "ann", None)]


def test_guesses_that_are_held_back_leave_one_row(client, db):
    cache.clear()
    make_user(username="ann", password=PASSWORD)

    for _ in range(8):
        client.post(SIGN_IN, {"login": "ann", "password": "a wrong secret"})

    assert events() == [(REFUSED, "ann", None)] * 5 + [(HELD_BACK, "ann", None)]


def test_codes_that_are_held_back_leave_one_row(client, db):
    cache.clear()
    user = make_user(username="ann", password=PASSWORD)
    TOTP.activate(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    client.post(SIGN_IN, {"login": "ann", "password": PASSWORD})

    for _ in range(7):
        client.post(reverse("mfa_authenticate"), {"code": "000123"})

    refused = [(FACTOR_REFUSED, "ann", None)] * 5
    assert events() == [*refused, (HELD_BACK, "ann", None)]


def test_the_list_of_refusals_has_those_of_every_kind(console):
    ann = make_user(username="ann")
    for event in REFUSALS:
        record_refusal(ann, event)

    found = console.get(f"{LIST}?did=refused").context["cl"].result_list

    assert len(found) == len(REFUSALS)


def test_secrets_and_hashes_never_reach_the_log(console):
    user = make_user(password=PASSWORD)
    key, secret = make_key(user)
    key.rotate(timedelta(hours=1))
    user.set_password("quite another phrase")
    user.save()
    rotated = models.ApiKey.objects.get()

    stored = str(list(LogEntry.objects.values()))

    for hidden in (
        secret,
        rotated.digest,
        rotated.previous_digest,
        user.password,
        "pbkdf2",
        "quite another",
    ):
        assert hidden not in stored
    entry = LogEntry.objects.get_for_object(user).get(action=LogEntry.Action.UPDATE)
    assert entry.changes == {"password": ["…", "…"]}


def test_no_hot_model_is_watched():
    assert not HOT & set(auditlog.get_models())


def test_whatever_operators_can_change_in_the_console_is_watched(rf, db):
    request = rf.get("/")
    request.user = make_operator()
    changeable = {
        model
        for model, page in admin.site._registry.items()
        if page.has_add_permission(request) or page.has_change_permission(request)
    }

    # Retention deletes flags by the thousand; verdicts are told as decisions instead.
    told = {models.ModerationFlag}
    assert changeable - told - set(auditlog.get_models()) == set()


def test_whatever_is_deleted_in_the_console_is_in_the_log(console, rf):
    make_everything()
    request = rf.get("/")
    request.user = models.User.objects.get(username="operator")
    untold, deleted = [], []
    # With these others go.
    last = (models.User, models.Team, models.ServedModel)
    registered = sorted(admin.site._registry.items(), key=lambda each: each[0] in last)
    for model, page in registered:
        row = model._default_manager.order_by("pk").last()  # not the operator
        if row is None or not page.has_delete_permission(request, row):
            continue
        LogEntry.objects.all().delete()
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        where = reverse(f"admin:{name}_delete", args=[row.pk])
        if console.post(where, {"post": "yes"}).status_code == 302:
            deleted.append(model)
            by_us = LogEntry.objects.filter(actor=request.user)
            untold += [] if by_us.exists() else [model]

    assert untold == []
    assert {models.ModerationFlag, UserSession, models.ApiKey} <= set(deleted)


def test_a_session_that_an_operator_ends_is_told_of_its_owner(console):
    user = make_user(username="ann")
    session = UserSession.objects.create(user=user, ip="127.0.0.1", session_key="k")
    LogEntry.objects.all().delete()

    where = reverse("admin:usersessions_usersession_delete", args=[session.pk])
    console.post(where, {"post": "yes"})

    assert events() == [(SESSION_ENDED, "ann", "operator")]


def test_what_is_decided_is_logged_in_one_language(console):
    flag = make_moderation_flag()
    user = make_user()
    limit = models.Limit.put("tokens_per_day", 1000, user_id=user.pk)
    wish = models.LimitRequest.objects.create(
        user=user, limit=limit, kind=limit.kind, owner_name="ann", amount=5000
    )
    LogEntry.objects.all().delete()

    console.cookies["django_language"] = "zh-hans"
    console.post(url("moderationflag", "confirm", flag.pk), {"note": "on purpose"})
    console.post(url("limitrequest", "deny", wish.pk), {"answer": "no"})

    said = [what for what, _row, _who in events()]
    assert said == ["confirmed: on purpose", "Denied."]


def test_a_verdict_is_in_the_log(console):
    flag = make_moderation_flag()

    console.post(
        url("moderationflag", "changelist"),
        {"action": "release_all", "_selected_action": [flag.pk]},
    )

    assert [(what, who) for what, _row, who in events()] == [("released", "operator")]


def test_the_log_is_read_only_for_superusers_too(console):
    make_team()
    entry = LogEntry.objects.get()
    page = reverse("admin:auditlog_logentry_change", args=[entry.pk])

    assert console.get(page).status_code == 200
    assert console.post(page, {"object_repr": "forged"}).status_code == 403
    delete = reverse("admin:auditlog_logentry_delete", args=[entry.pk])
    assert console.post(delete, {"post": "yes"}).status_code == 403
    add = reverse("admin:auditlog_logentry_add")
    assert console.get(add).status_code == 403


def test_the_list_says_who_did_what(console):
    console.post(
        url("team", "add"),
        {
            "name": "Research",
            "memberships-TOTAL_FORMS": "0",
            "memberships-INITIAL_FORMS": "0",
        },
    )

    page = console.get(LIST).text
    assert "Research" in page
    assert "create" in page
    assert "name: Research" in page


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_the_log_is_exported_as_the_filters_say(
    async_client, transactional_db, kind
):
    from channels.db import database_sync_to_async as in_database

    operator = await in_database(make_operator)()
    await in_database(lambda: [make_team(name=f"=team {n}") for n in range(3)])()
    await async_client.aforce_login(operator)

    where = f"{reverse(f'admin:audit_export_{kind}')}?did=create&q=team"
    answer = await async_client.get(where)
    body = b"".join([block async for block in answer.streaming_content]).decode()

    lines = body.splitlines()
    if kind == "csv":
        assert lines[0] == "time,actor,address,action,kind,id,what,changes"
        assert len(lines) == 4
        assert ",'=team 0," in lines[1]
    else:
        rows = [json.loads(line) for line in lines]
        assert [row["what"] for row in rows] == ["=team 0", "=team 1", "=team 2"]
        assert rows[0]["changes"]["name"] == ["None", "=team 0"]


def test_old_entries_go_with_retention(db, settings):
    settings.AUDIT_RETENTION_DAYS = 30
    make_team()
    make_team()
    first = LogEntry.objects.order_by("pk").first()
    LogEntry.objects.filter(pk=first.pk).update(timestamp=now() - timedelta(days=31))

    tasks.purge_kind("audit log")

    assert LogEntry.objects.count() == 1
    assert not LogEntry.objects.filter(pk=first.pk).exists()


def test_a_request_for_more_is_logged_with_what_was_granted(console):
    user = make_user(username="ann")
    limit = models.Limit.put("tokens_per_day", 1000, user_id=user.pk)
    request = models.LimitRequest.objects.create(
        user=user, limit=limit, kind=limit.kind, owner_name="ann", amount=5000
    )
    LogEntry.objects.all().delete()

    console.post(url("limitrequest", "approve", request.pk), {"amount": "3000"})

    raised = LogEntry.objects.get_for_object(limit).get()
    assert raised.changes["amount"] == ["1000.000000", "3000"]
    assert raised.actor.username == "operator"
    granted = LogEntry.objects.get_for_object(request).get(action=1)
    assert granted.changes["state"] == ["open", "approved"]
    assert granted.changes["granted"] == ["None", "3000"]


def test_what_a_teams_owner_holds_a_key_to_is_logged(client, db):
    owner = make_user(username="owner")
    team = make_team(owner)
    models.Membership.objects.update(role=models.Membership.Role.OWNER)
    models.Limit.put("tokens_per_day", 1000, team_id=team.pk)
    key, _secret = make_key(team=team)
    client.force_login(owner)
    page = reverse("chat:limit_key", args=[key.pk])

    for amount in (700, 400):
        client.post(page, {"kind": "tokens_per_day", "amount": amount})

    made, changed = LogEntry.objects.get_for_object(key.limits.get()).order_by("pk")
    assert made.changes["amount"] == ["None", "700"]
    assert changed.changes == {"amount": ["700.000000", "400"]}
    assert (made.actor, changed.actor) == (owner, owner)


def test_the_list_tells_of_a_new_row_what_was_filled_in_first_things_first(console):
    rule = make_moderation_rule(name="Projects", category="trade-secrets", note="")

    row = console.get(LIST).context["cl"].result_list[0]

    told = admin.site.get_model_admin(LogEntry).changes_in_short(row)
    assert row.object_pk == str(rule.pk)
    assert told.startswith("name: Projects; category: trade-secrets; terms: forbidden")
