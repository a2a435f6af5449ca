"""The console's rules and flags, and what becomes of old ones."""

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.urls import reverse
from django.utils.timezone import now

from controller import tasks
from controller.models import ModerationFlag, ModerationRule, Revision
from controller.moderation.flags import Flag, FlagQueue, write_flags
from tests.controller.moderation.test_matching import rule
from tests.factories import (
    make_moderation_flag,
    make_moderation_rule,
    make_operator,
    make_team,
)

pytestmark = pytest.mark.django_db

ADD = reverse("admin:controller_moderationrule_add")
LIST = reverse("admin:controller_moderationrule_changelist")
FLAGS = reverse("admin:controller_moderationflag_changelist")
FORM = {
    "name": "Project names",
    "category": "trade-secrets",
    "action": "block",
    "direction": "both",
    "terms": "Falcon\n  Eagle \n\nfalcon",
    "pattern": "",
    "priority": "10",
    "enabled": "on",
    "on_failure": "open",
}


@pytest.fixture
def console(client):
    client.force_login(make_operator())
    return client


def test_a_rule_is_made_in_the_console_and_announced(console):
    team = make_team()
    before = Revision.current().moderation

    answer = console.post(ADD, FORM | {"faces": ["chat"], "teams": [str(team.pk)]})

    assert answer.status_code == 302, answer.content.decode()
    row = ModerationRule.objects.get()
    assert row.term_lines == ["Falcon", "Eagle", "falcon"]
    assert (row.faces, row.served_models, row.teams) == (["chat"], [], [team.pk])
    assert Revision.current().moderation == before + 1
    assert b"Falcon, Eagle, falcon" in console.get(LIST).content


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"terms": "", "pattern": "(x"}, "(x: missing ): (x"),
        ({"terms": "", "pattern": "x*"}, "x*: it matches the empty text"),
        ({"terms": "", "pattern": r"key-\w+"}, "it can match text of any length"),
        ({"terms": "fine\n" + "x" * 201}, "has 201 characters"),
        ({"terms": "", "pattern": ""}, "Write either terms or a pattern"),
        ({"pattern": "both"}, "Write either terms or a pattern"),
        ({"category": "Two Words"}, "in small letters"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(console, fields: dict, words: str):
    answer = console.post(ADD, FORM | fields)

    assert answer.status_code == 200
    told = answer.context["errors"]
    assert words in str([error for errors in told for error in errors])
    assert not ModerationRule.objects.exists()


def test_a_rule_of_a_team_that_is_gone_is_not_one_for_everybody(console):
    team = make_team()
    row = make_moderation_rule(teams=[team.pk])
    team.delete()

    page = reverse("admin:controller_moderationrule_change", args=[row.pk])
    console.post(page, FORM | {"teams": [str(row.teams[0])]})

    row.refresh_from_db()
    assert row.teams != []


def test_an_operator_reads_an_excerpt_and_changes_nothing(
    console, django_assert_max_num_queries
):
    for number in range(5):
        flag = make_moderation_flag(request_id=str(number))
    page = reverse("admin:controller_moderationflag_change", args=[flag.pk])

    with django_assert_max_num_queries(10):
        assert b"trade" not in console.get(FLAGS).content
    assert b"about Falcon" in console.get(page).content
    assert console.post(page, {"rule_name": "x"}).status_code == 403


def test_excerpts_are_stored_encrypted_and_follow_the_keys(settings):
    write_flags(
        [
            Flag(
                request_id="r",
                face="api",
                model="m",
                user_id=None,
                key_id=None,
                team_id=None,
                direction="input",
                rule=rule(),
                excerpt="about Falcon",
            )
        ]
    )
    [flag] = ModerationFlag.objects.all()
    assert "Falcon" not in flag.encrypted_excerpt

    newer = Fernet.generate_key().decode()
    settings.FIELD_KEYS = [newer, *settings.FIELD_KEYS]
    call_command("rotate_field_keys")
    settings.FIELD_KEYS = [newer]

    flag.refresh_from_db()
    assert flag.excerpt == "about Falcon"


def test_old_flags_are_deleted(settings):
    settings.MODERATION_RETENTION_DAYS = 30
    kept = make_moderation_flag(created_at=now() - timedelta(days=29))
    make_moderation_flag(created_at=now() - timedelta(days=31))

    tasks.purge_kind("moderation flags")

    assert list(ModerationFlag.objects.all()) == [kept]


def noted(queue: FlagQueue, **fields) -> int:
    """How many flags wait once this one is added."""
    values = {
        "request_id": "r",
        "face": "chat",
        "model": "m",
        "user_id": 7,
        "key_id": None,
        "team_id": None,
        "direction": "input",
        "rule": rule(action="flag"),
        "excerpt": "about Falcon",
    }
    queue.add(Flag(**values | fields))
    return len(queue._queued)


def test_what_comes_again_with_each_turn_is_noted_once_a_day():
    moment = [0.0]
    queue = FlagQueue(lambda: moment[0])

    assert [noted(queue), noted(queue, request_id="next turn")] == [1, 1]
    assert noted(queue, excerpt="about Falcons") == 2
    assert noted(queue, user_id=8) == 3
    assert noted(queue, rule=rule(2, action="redact")) == 4
    assert noted(queue, user_id=None) == 5
    assert noted(queue, user_id=None) == 6  # it may be anybody
    moment[0] += 24 * 3600
    assert noted(queue) == 7


def test_what_is_blocked_is_noted_each_time():
    queue = FlagQueue()

    assert [noted(queue, rule=rule(action="block")) for _ in range(3)] == [1, 2, 3]


def test_what_was_noted_is_not_remembered_without_bound(monkeypatch):
    monkeypatch.setattr("controller.moderation.flags.MAX_SEEN", 2)
    queue = FlagQueue()

    for user_id in range(5):
        noted(queue, user_id=user_id)

    assert len(queue._seen) == 2


def test_a_queue_of_flags_does_not_grow_without_bound(monkeypatch, caplog):
    monkeypatch.setattr("controller.moderation.flags.MAX_QUEUED", 2)
    queue = FlagQueue()

    for user_id in range(5):
        noted(queue, user_id=user_id)

    taken = [flag.user_id for flag in queue.take()]
    assert (taken, queue.num_dropped) == ([0, 1], 3)
    assert caplog.text.count("some go unwritten") == 1
