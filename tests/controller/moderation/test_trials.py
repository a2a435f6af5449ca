"""Rules tried in the console: on a text, and on what people wrote of late."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from chat.models import Conversation, Message
from controller.models import ModerationFlag, ModerationRule
from tests.controller.moderation.test_rows import FORM
from tests.factories import (
    make_guest,
    make_guest_link,
    make_moderation_rule,
    make_operator,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db

ADD = reverse("admin:controller_moderationrule_add")
ON_TEXT = {"_try": "text"}
ON_MESSAGES = {"_try": "messages"}


@pytest.fixture
def console(client):
    client.force_login(make_operator())
    return client


def wrote(user, text: str, role: str = "user", **fields) -> Message:
    model = fields.pop("model", "mock-1")
    conversation = Conversation.objects.create(user=user, title="x", model=model)
    return Message.objects.create(
        conversation=conversation, role=role, content=text, **fields
    )


def run(console, **fields):
    return console.post(ADD, FORM | ON_MESSAGES | fields).context["dry_run"]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("block", "a rule of this site about trade-secrets"),
        ("redact", "Meet [redacted] at 9"),
        ("flag", "waits in the review queue"),
    ],
)
def test_a_rule_is_tried_on_a_text_and_not_saved(console, action: str, words: str):
    text = {"trial_text": "Meet FALCON at 9", "action": action}

    answer = console.post(ADD, FORM | ON_TEXT | text)

    page = answer.content.decode()
    assert '<mark class="trial-match">FALCON</mark>' in page
    assert "1 match" in page
    assert words in page
    assert not ModerationRule.objects.exists()
    assert not ModerationFlag.objects.exists()


def test_a_saved_rule_is_tried_with_its_changes_and_stays_as_it_was(console):
    row = make_moderation_rule(terms="eagle")
    change = reverse("admin:controller_moderationrule_change", args=[row.pk])

    text = {"trial_text": "falcon and eagle", "terms": "falcon"}
    page = console.post(change, FORM | ON_TEXT | text).content.decode()

    assert '<mark class="trial-match">falcon</mark> and eagle' in page
    row.refresh_from_db()
    assert row.terms == "eagle"


def test_what_is_tried_does_not_become_markup(console):
    text = {"trial_text": "<script>falcon</script>"}

    page = console.post(ADD, FORM | ON_TEXT | text).content.decode()

    assert "&lt;script&gt;" in page
    assert "<script>falcon" not in page


def test_a_wrong_rule_is_not_tried(console):
    answer = console.post(ADD, FORM | ON_TEXT | {"terms": "", "pattern": "("})

    assert "text_trial" not in answer.context
    assert "missing )" in answer.content.decode()


def test_a_dry_run_says_how_many_and_who(console):
    ada, bob = make_user(username="ada"), make_user(username="bob")
    for _ in range(2):
        wrote(ada, "about Falcon")
    wrote(ada, "Falcon it is", role="assistant")
    wrote(bob, "nothing")
    wrote(bob, "falcon", written_at=now() - timedelta(days=8))

    answer = console.post(ADD, FORM | ON_MESSAGES)

    found = answer.context["dry_run"]
    assert (found.num_messages, found.num_hits, found.people) == (4, 3, [("ada", 3)])
    assert "about Falcon" in answer.content.decode()
    assert not ModerationRule.objects.exists()


def test_a_dry_run_is_over_what_the_rule_would_read(console):
    ada, bob = make_user(username="ada"), make_user(username="bob")
    team = make_team(ada)
    wrote(ada, "falcon", model="one")
    wrote(ada, "falcon", role="assistant", model="one")
    wrote(bob, "falcon", model="two")

    assert run(console).num_hits == 3
    assert run(console, direction="input").num_hits == 2
    assert run(console, direction="output").num_hits == 1
    assert run(console, teams=[str(team.pk)]).people == [("ada", 2)]
    assert run(console, faces=["api"]).num_messages == 0


def test_a_dry_run_for_a_links_team_is_over_what_its_guests_wrote(console):
    link, _secret = make_guest_link()
    wrote(make_guest(link, username="guest-1"), "falcon")
    wrote(make_user(), "falcon")

    assert run(console, teams=[str(link.team_id)]).people == [("guest-1", 1)]


def test_a_dry_run_is_bounded_and_says_so(console, monkeypatch):
    monkeypatch.setattr("controller.moderation.trials.MAX_MESSAGES", 3)
    ada = make_user()
    for _ in range(5):
        wrote(ada, "falcon")

    found = run(console)

    assert (found.num_messages, found.is_cut) == (3, True)


def test_a_dry_run_costs_the_same_queries_whatever_there_is(
    console, django_assert_max_num_queries
):
    for _ in range(20):
        wrote(make_user(), "falcon")

    with django_assert_max_num_queries(16):
        run(console)


def test_messages_are_for_those_who_may_read_them(client):
    staff = make_user(is_staff=True)
    staff.user_permissions.set(
        Permission.objects.filter(codename__in=["add_moderationrule"])
    )
    client.force_login(staff)
    wrote(make_user(username="ada"), "about Falcon")

    page = client.post(ADD, FORM | ON_MESSAGES).content.decode()

    assert "ada" in page
    assert "about Falcon" not in page
    assert "Can read what people write" in page
