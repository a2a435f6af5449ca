"""The test bench: all rules at once, and which of them decides."""

import pytest
from django.urls import reverse

from chat.models import Conversation, Message
from controller.models import Classifier, ModerationFlag, ModerationRule
from controller.moderation.bench import (
    UNAVAILABLE,
    Situation,
    decide_with_classifiers,
)
from controller.moderation.classifying import Judges
from controller.moderation.rules import INPUT, RuleBook, read_rules
from tests.factories import (
    make_guest,
    make_guest_link,
    make_moderation_rule,
    make_operator,
    make_served_model,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db

BENCH = reverse("admin:controller_moderationrule_bench")
PROMPT = {"_try": "text", "direction": "input", "face": "chat", "model": ""}
ANSWER = PROMPT | {"direction": "output"}


@pytest.fixture
def console(client):
    client.force_login(make_operator())
    return client


def rule(name: str, terms: str, action: str, **fields) -> ModerationRule:
    fields = {"direction": "both", "category": name.lower().replace(" ", "-")} | fields
    return make_moderation_rule(name=name, terms=terms, action=action, **fields)


def tried(console, text: str, form=PROMPT, **fields):
    return console.post(BENCH, form | {"text": text} | fields)


def names(answer) -> list[str]:
    return [each.rule.name for each in answer.context["decision"].findings]


def test_the_rule_that_blocks_wins_and_its_writer_is_told_by_priority(console):
    rule("notes", "falcon", "flag", priority=1)
    rule("hides", "falcon", "redact", priority=2)
    rule("late", "falcon", "block", priority=200)
    rule("early", "falcon", "block", priority=100)
    rule("silent", "eagle", "block")

    answer = tried(console, "Meet Falcon")

    assert answer.context["decision"].winner.name == "early"
    assert names(answer) == ["early", "late", "hides", "notes"]
    assert "a rule of this site about early" in answer.text
    assert not ModerationFlag.objects.exists()


def test_of_an_answer_is_shown_what_its_readers_would_see(console):
    rule("hides", "eagle", "redact")
    rule("ends", "falcon", "block")

    decision = tried(console, "An eagle and a falcon", ANSWER).context["decision"]

    assert (decision.outcome, decision.text) == ("block", "An [redacted] and a ")


def test_only_rules_that_would_hold_are_tried(console):
    team = make_team(name="Research")
    make_served_model("llama")
    rule("of a team", "falcon", "block", teams=[team.pk])
    rule("of a model", "falcon", "redact", served_models=["llama"])
    rule("of the API", "falcon", "flag", faces=["api"])
    rule("of answers", "falcon", "block", direction="output")
    rule("off", "falcon", "block", enabled=False)

    assert names(tried(console, "falcon")) == []
    assert names(tried(console, "falcon", teams=[team.pk])) == ["of a team"]
    assert names(tried(console, "falcon", model="llama")) == ["of a model"]
    assert names(tried(console, "falcon", face="api")) == ["of the API"]
    assert names(tried(console, "falcon", ANSWER)) == ["of answers"]


@pytest.mark.parametrize(
    ("on_failure", "outcome"), [("open", "redact"), ("closed", UNAVAILABLE)]
)
async def test_a_classifier_that_fails_is_open_or_closed(
    transactional_db, on_failure, outcome
):
    from channels.db import database_sync_to_async as in_database

    def make() -> RuleBook:
        nowhere = Classifier.objects.create(
            name="nowhere", kind="endpoint", url="http://127.0.0.1:9/"
        )
        rule("hides", "falcon", "redact")
        rule(
            "judged",
            "",
            "block",
            direction="input",
            classifier=nowhere,
            on_failure=on_failure,
        )
        return RuleBook(read_rules())

    book = await in_database(make)()
    judges = Judges(None)
    try:
        decision = await decide_with_classifiers(
            book, Situation(INPUT, "chat", ""), "falcon", judges
        )
    finally:
        await judges.close()

    assert (decision.outcome, decision.text) == (outcome, "[redacted]")
    assert any(each.failure for each in decision.findings)


def test_a_dry_run_says_which_rule_decides_how_often(console):
    ada = make_user(username="ada")
    link, _secret = make_guest_link()
    rule("ends", "falcon", "block", teams=[make_team(ada).pk, link.team_id])
    rule("notes", "falcon", "flag")
    for user, text in (
        (ada, "falcon"),
        (make_guest(link), "falcon"),
        (make_user(), "falcon"),
        (ada, "nothing"),
    ):
        conversation = Conversation.objects.create(user=user, title="x", model="m")
        Message.objects.create(conversation=conversation, role="user", content=text)

    run = console.post(BENCH, {"_try": "messages"}).context["dry_run"]

    counts = {each.rule.name: (each.num_won, each.num_found) for each in run.tallies}
    assert (run.num_messages, run.num_touched) == (4, 3)
    assert counts == {"ends": (2, 2), "notes": (1, 3)}


def test_what_is_tried_is_no_markup(console):
    rule("hides", "falcon", "redact")

    assert (
        "<script>"
        not in tried(console, "<script>x</script> falcon")
        .text.split('id="content-main"')[1]
        .split("</form>")[0]
    )
