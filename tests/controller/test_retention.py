"""What goes with age: the purge, its preview, and the console's page about both."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.urls import reverse
from django.utils.timezone import now

import config.celery  # noqa: F401  # whose settings have `delay` run here
from controller import retention, tasks
from controller.models import Invitation, JoinToken, LedgerEntry, ModerationFlag
from tests.controller.console import make_everything
from tests.factories import (
    make_invitation,
    make_join_token,
    make_ledger_entry,
    make_moderation_flag,
    make_operator,
    make_user,
    make_worker,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def kind(name):
    return next(each for each in retention.kinds() if each.name == name)


def printed(capsys, *arguments):
    call_command("purge", *arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [each.name for each in retention.kinds()])
def test_every_kind_can_be_previewed_and_purged(name):
    make_everything()
    before = retention.preview(kind(name))

    num_purged = retention.purge(name)

    assert num_purged == before.num_due
    assert retention.preview(kind(name)).num_rows == before.num_rows - num_purged


def test_a_preview_counts_what_the_purge_then_deletes(settings, capsys):
    settings.MODERATION_RETENTION_DAYS = 30
    for days in (29, 31, 32):
        make_moderation_flag(created_at=now() - days * DAY)

    preview = printed(capsys, "--preview")
    assert ModerationFlag.objects.count() == 3
    oldest = f"{now() - 32 * DAY:%Y-%m-%d}"
    assert f"moderation flags: 2 of 3 due, oldest {oldest}" in preview
    assert "(MODERATION_RETENTION_DAYS=30)" in preview

    assert "moderation flags: 2 deleted" in printed(capsys)
    assert ModerationFlag.objects.count() == 1


def test_one_kind_that_fails_stops_no_other(settings, monkeypatch):
    make_moderation_flag(created_at=now() - 1000 * DAY)
    broken = retention.kinds()[0]

    def fail():
        raise ConnectionError

    monkeypatch.setitem(
        retention._kinds,
        broken.name,
        retention.Kind(
            name=broken.name,
            label=broken.label,
            setting=broken.setting,
            rows=broken.rows,
            before=fail,
            dated_by=broken.dated_by,
        ),
    )
    tasks.purge()

    assert not ModerationFlag.objects.exists()
    assert broken.name not in retention.purged_at()
    assert now() - retention.purged_at()["moderation flags"] < timedelta(minutes=1)


def test_nothing_is_due_of_what_is_kept_for_ever():
    forever = retention.Kind(
        name="for ever",
        label="",
        setting="CHAT_RETENTION_DAYS",
        rows=LedgerEntry.objects.all,
        before=lambda: None,
        dated_by="created_at",
    )
    make_ledger_entry(created_at=now() - 9999 * DAY)

    assert retention.preview(forever).num_due == 0
    assert forever.purge() == 0


def test_join_tokens_go_when_they_ended_and_no_worker_came_by_them(settings):
    settings.ENDED_RETENTION_DAYS = 10
    long_ago, lately = now() - 11 * DAY, now() - 9 * DAY
    open_for_ever, _ = make_join_token(created_at=long_ago)
    revoked_lately, _ = make_join_token(revoked_at=lately)
    reusable, _ = make_join_token(is_reusable=True, used_at=long_ago)
    of_a_worker, _ = make_join_token(expires_at=long_ago)
    make_worker("llama", join_token=of_a_worker)
    make_join_token(expires_at=long_ago)
    make_join_token(revoked_at=long_ago)
    make_join_token(used_at=long_ago)

    assert retention.purge("join tokens") == 3
    kept = {open_for_ever, revoked_lately, reusable, of_a_worker}
    assert set(JoinToken.objects.all()) == kept


def test_invitations_go_when_they_were_accepted_or_ran_out(settings):
    settings.ENDED_RETENTION_DAYS = 10
    still_open, _ = make_invitation(created_at=now() - 11 * DAY)
    make_invitation(expires_at=now() - 11 * DAY)
    make_invitation(accepted_at=now() - 11 * DAY)

    assert retention.purge("invitations") == 2
    assert Invitation.objects.get() == still_open


def test_ended_sessions_go_with_the_addresses_of_their_devices(client):
    user = make_user()
    client.force_login(user)
    live = client.session.session_key
    Session.objects.create(
        session_key="ended", session_data="", expire_date=now() - DAY
    )
    for key in (live, "ended", "deleted"):
        UserSession.objects.update_or_create(
            session_key=key, defaults={"user": user, "ip": "10.0.0.1", "user_agent": ""}
        )

    tasks.purge()

    assert Session.objects.get().session_key == live
    assert UserSession.objects.get().session_key == live


def test_what_is_brought_back_while_a_purge_runs_stays(settings, monkeypatch):
    settings.MODERATION_RETENTION_DAYS = 30
    flag = make_moderation_flag(created_at=now() - 31 * DAY)
    queryset = type(ModerationFlag.objects.all())
    original = queryset.delete

    def touched_first(self):
        ModerationFlag.objects.filter(pk=flag.pk).update(created_at=now())
        return original(self)

    monkeypatch.setattr(queryset, "delete", touched_first)
    retention.purge("moderation flags")

    assert ModerationFlag.objects.get() == flag


def test_the_page_shows_each_kind_with_its_setting_and_what_is_due(client, settings):
    settings.MODERATION_RETENTION_DAYS = 30
    make_moderation_flag(created_at=now() - 31 * DAY)
    client.force_login(make_operator())

    page = client.get(reverse("retention")).content.decode()

    assert "MODERATION_RETENTION_DAYS=30" in page
    assert "SESSION_COOKIE_AGE=1209600" in page
    for each in retention.kinds():
        assert str(each.label) in page
    assert ModerationFlag.objects.count() == 1


def test_the_page_counts_no_further_than_it_says(client, monkeypatch):
    monkeypatch.setattr("controller.admin.retention.COUNTED", 2)
    for _ in range(4):
        make_ledger_entry()
    client.force_login(make_operator())

    page = client.get(reverse("retention")).content.decode()

    assert "more than 2" in page


def test_the_page_is_for_staff_with_the_permission(client):
    client.force_login(make_user(is_staff=True))

    assert client.get(reverse("retention")).status_code == 403
