"""Classifiers: prompts judged by an endpoint or a served model before they are sent."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.urls import reverse

from controller.errors import ContentBlocked, ModerationUnavailable
from controller.models import Classifier, ModerationFlag, ModerationRule
from controller.moderation import classifying
from controller.moderation.classifying import (
    ClassifierFailed,
    ClassifierView,
    Judges,
    judgement_of,
)
from controller.moderation.rules import read_rules
from tests.controller.moderation.fake_classifier import (
    FakeClassifier,
    running_classifier,
)
from tests.controller.moderation.test_rows import FORM
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    make_request,
    read_all,
)
from tests.factories import make_moderation_rule, make_operator
from tests.mock_engine import running_mock_engine

pytestmark = pytest.mark.django_db(transaction=True)

RULES = "admin:controller_moderationrule"
CLASSIFIERS = "admin:controller_classifier"


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,), tokens=10) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture(scope="module")
def running() -> Iterator[FakeClassifier]:
    with running_classifier() as fake:
        yield fake


@pytest.fixture
def classifier(running: FakeClassifier) -> FakeClassifier:
    running.forget()
    return running


@sync_to_async
def new_rule(classifier: FakeClassifier | None = None, **fields) -> ModerationRule:
    """A rule that blocks what this endpoint says is against something; without one,
    what `MODEL` says."""
    of_row = {"name": "judge", "timeout_seconds": 20}
    if classifier is None:
        of_row |= {"kind": Classifier.Kind.MODEL, "model": MODEL}
    else:
        of_row |= {"url": classifier.url}
    for name in ("threshold", "names", "timeout_seconds", "instructions"):
        if name in fields:
            of_row[name] = fields.pop(name)
    row = Classifier(**of_row)
    row.key = classifier.key if classifier else ""
    row.full_clean()
    row.save()
    return make_moderation_rule(classifier=row, terms="", category="safety", **fields)


async def flags(gateway) -> list[ModerationFlag]:
    await gateway._write_flags()
    return [flag async for flag in ModerationFlag.objects.order_by("id")]


def asked_of(engine) -> list:
    return [each.body for each in engine.requests()]


# -- An endpoint -----------------------------------------------------------------------


async def test_what_a_classifier_flags_reaches_no_worker(engine, classifier):
    await new_rule(classifier)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request("some peace")))
        with pytest.raises(ContentBlocked, match="about safety"):
            await gateway.open(CALLER, make_request("some violence"))

        assert await is_idle(gateway)
        [flag] = await flags(gateway)
    assert len(asked_of(engine)) == 1
    assert (flag.excerpt, flag.category) == ("some violence", "safety")


@pytest.mark.parametrize(
    ("fields", "is_blocked"),
    [
        ({"classifier_categories": ["violence"]}, True),
        ({"classifier_categories": ["hate"]}, False),
        ({"threshold": 0.95}, False),
        ({"threshold": 0.1, "classifier_categories": ["hate"]}, True),
        ({"names": {"violence": "war"}, "classifier_categories": ["war"]}, True),
        ({"action": "flag"}, False),
        ({"teams": [2]}, True),
        ({"teams": [3]}, False),
        ({"faces": ["chat"]}, False),
    ],
)
async def test_a_rule_says_what_counts(
    engine, classifier, fields: dict, is_blocked: bool
):
    await new_rule(classifier, **fields)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        if is_blocked:
            with pytest.raises(ContentBlocked):
                await gateway.open(CALLER, make_request("some violence"))
        else:
            await read_all(await gateway.open(CALLER, make_request("some violence")))


async def test_only_what_is_new_is_asked_about(engine, classifier):
    await new_rule(classifier)
    first = {"role": "user", "content": "first"}
    later = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "on"}]
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        for messages in ([first], [first, *later], [first, *later]):
            body = {"model": MODEL, "stream": True, "messages": messages}
            await read_all(await gateway.open(CALLER, make_request(body=body)))

    assert classifier.texts == ["first", "yes", "on"]


async def test_a_classifier_sees_what_the_model_would(engine, classifier):
    await new_rule(classifier)
    await sync_to_async(make_moderation_rule)(action="redact", terms="falcon")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        await read_all(await gateway.open(CALLER, make_request("a falcon")))

    assert classifier.texts == ["a [redacted]"]


async def test_a_long_text_is_judged_to_its_end(engine, classifier):
    await new_rule(classifier)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        text = "".join(f"word {number} " for number in range(2000)) + "violence"
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request(text))

    first, *_others, last = classifier.texts
    assert len(first) == 8000
    assert last.endswith("violence")
    assert first[-200:] in classifier.texts[1]


def many(number: int, last: str) -> dict:
    """A body with so many messages, the last of which says this."""
    texts = [*(f"message {each}" for each in range(number - 1)), last]
    said = [{"role": "user", "content": text} for text in texts]
    return {"model": MODEL, "stream": True, "messages": said}


async def test_a_long_conversation_that_is_new_here_is_judged_whole(engine, classifier):
    await new_rule(classifier, on_failure="closed")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        peace, violence = many(150, "some peace"), many(150, "some violence")
        await read_all(await gateway.open(CALLER, make_request(body=peace)))
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request(body=violence))

    assert [len(each["input"]) for each in classifier.asked] == [64, 64, 22, 1]


async def test_nothing_hides_behind_more_texts_than_are_judged_at_once(
    engine, classifier, monkeypatch
):
    monkeypatch.setattr(classifying, "MAX_NEW_TEXTS", 100)
    await new_rule(classifier, on_failure="open")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        body = many(180, "some violence")
        with pytest.raises(ModerationUnavailable):
            await gateway.open(CALLER, make_request(body=body))
        with pytest.raises(ContentBlocked):  # it goes on where it was
            await gateway.open(CALLER, make_request(body=body))

        assert await is_idle(gateway)
    assert len(classifier.texts) == 180
    assert asked_of(engine) == []


async def test_a_key_that_nobody_can_read_fails_the_rule_as_it_says(
    engine, classifier, settings, caplog
):
    rule = await new_rule(classifier, on_failure="closed")
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ModerationUnavailable):
            await gateway.open(CALLER, make_request("Hi"))
        rule.on_failure = "open"
        await rule.asave()
        await gateway.moderator.adopt(await sync_to_async(read_rules)())
        await read_all(await gateway.open(CALLER, make_request("Hi")))

    assert caplog.text.count("none of FIELD_KEYS reads its key") == 1
    assert classifier.asked == []


FAILURES = {
    "hangs": {"is_hanging": True},
    "refuses": {"status": 500},
    "redirects": {"status": 302},
    "babbles": {"body": b"<html>"},
    "says too little": {"body": b'{"results": []}'},
    "says too much": {"body": b" " * (2**20 + 2)},
    "other key": {"key": "another"},
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_classifier_that_fails_is_open_or_closed_as_the_rule_says(
    engine, classifier, monkeypatch, caplog, failure: str
):
    rule = await new_rule(classifier, on_failure="closed", timeout_seconds=0.3)
    for name, value in FAILURES[failure].items():
        monkeypatch.setattr(classifier, name, value)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ModerationUnavailable) as refused:
            await gateway.open(CALLER, make_request("some violence"))
        assert (refused.value.status, refused.value.retry_after) == (503, 10)
        rule.on_failure = "open"
        await rule.asave()
        await gateway.moderator.adopt(await sync_to_async(read_rules)())
        await read_all(await gateway.open(CALLER, make_request("some violence")))

        assert await is_idle(gateway)
    assert caplog.text.count("the classifier judge fails") == 1
    assert classifier.key not in caplog.text
    assert "violence" not in caplog.text
    assert len(asked_of(engine)) == 1


# -- A served model --------------------------------------------------------------------


async def test_a_served_model_judges_and_is_not_judged(engine):
    await new_rule(instructions="Judge.")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ContentBlocked):
            await gateway.open(CALLER, make_request("[[echo]] unsafe"))

        assert await is_idle(gateway)
    [asked] = asked_of(engine)
    assert asked["messages"][0] == {"role": "system", "content": "Judge."}
    assert not asked.get("stream")


async def test_a_model_that_does_not_judge_fails_the_rule(engine):
    await new_rule(on_failure="closed")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(ModerationUnavailable):
            await gateway.open(CALLER, make_request("Hi"))

        assert await is_idle(gateway)


VIEW = ClassifierView(
    id=1,
    name="judge",
    kind="model",
    url="",
    key="",
    model=MODEL,
    instructions="",
    threshold=None,
    names=(("S1", "violence"),),
    timeout_seconds=1,
)


async def test_what_others_push_out_of_memory_meanwhile_is_known_all_the_same(
    monkeypatch,
):
    monkeypatch.setattr(classifying, "MAX_REMEMBERED", 2)
    view = replace(VIEW, timeout_seconds=20)

    async def answer(_model: str, messages: list) -> str:
        text = messages[-1]["content"]
        if text == "new":
            await judges.judge(view, ["one", "two", "three"])
        return "unsafe" if "violence" in text else "safe"

    judges = Judges(answer)
    await judges.judge(view, ["some violence"])
    judged = await judges.judge(view, ["some violence", "new"])

    assert [each.is_flagged for each in judged] == [True, False]


@pytest.mark.parametrize(
    ("answer", "categories"),
    [
        ("safe", None),
        ("\n\nunsafe\nS1,S10", {"violence", "s10"}),
        ("Safety: Unsafe\nCategories: Hate, S1", {"hate", "violence"}),
        ("unsafe", set()),
        ("**Safe**", None),
    ],
)
def test_a_models_answer_is_understood(answer: str, categories: set | None):
    judgement = judgement_of(VIEW, answer)

    assert judgement.is_flagged == (categories is not None)
    assert judgement.categories == (categories or set())


def test_another_answer_is_no_judgement():
    with pytest.raises(ClassifierFailed, match="neither safe nor unsafe"):
        judgement_of(VIEW, "I cannot say.")


# -- In the console --------------------------------------------------------------------


@pytest.fixture
def console(client):
    client.force_login(make_operator())
    return client


def test_a_classifiers_key_is_stored_encrypted_and_never_shown(console):
    form = {
        "name": "judge",
        "kind": "endpoint",
        "url": "https://example.com/v1/moderations",
        "key": "very-secret",
        "names": "{}",
        "timeout_seconds": "3",
    }
    answer = console.post(reverse(f"{CLASSIFIERS}_add"), form)
    assert answer.status_code == 302, answer.context["errors"]
    row = Classifier.objects.get()
    change = reverse(f"{CLASSIFIERS}_change", args=[row.pk])
    console.post(change, form | {"key": "", "name": "other"})

    row.refresh_from_db()
    assert (row.name, row.key) == ("other", "very-secret")
    assert "very-secret" not in row.encrypted_key
    assert b"very-secret" not in console.get(change).content
    logged = str([entry.changes for entry in LogEntry.objects.get_for_object(row)])
    assert row.encrypted_key not in logged


@pytest.mark.parametrize(
    ("address", "key", "kept"),
    [
        ("https://example.com/v2/moderations", "", "very-secret"),
        ("https://example.org/v1/moderations", "", ""),
        ("https://example.com:8443/v1/moderations", "", ""),
        ("http://example.com/v1/moderations", "", ""),
        ("https://example.org/v1/moderations", "another", "another"),
    ],
)
def test_a_key_is_not_taken_along_to_another_address(console, address, key, kept):
    row = Classifier(name="judge", url="https://example.com/v1/moderations")
    row.key = "very-secret"
    row.save()
    form = {
        "name": "judge",
        "kind": "endpoint",
        "url": address,
        "key": key,
        "names": "{}",
        "timeout_seconds": "3",
    }

    change = reverse(f"{CLASSIFIERS}_change", args=[row.pk])
    answer = console.post(change, form, follow=True)

    row.refresh_from_db()
    assert (row.url, row.key) == (address, kept)
    assert ("was forgotten" in answer.content.decode()) is (kept == "")


def test_a_rule_whose_classifier_nobody_can_read_is_tried_without_an_error(
    console, settings
):
    row = Classifier(name="judge", url="http://localhost/")
    row.key = "very-secret"
    row.save()
    rule = make_moderation_rule(classifier=row, terms="")
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    form = FORM | {"terms": "", "direction": "input", "classifier": row.pk}

    page = reverse(f"{RULES}_change", args=[rule.pk])
    answer = console.post(page, form | {"_try": "text", "trial_text": "Hi"})

    assert answer.status_code == 200


def test_a_classifiers_key_follows_the_field_keys(settings):
    row = Classifier(name="judge", url="http://localhost/")
    row.key = "very-secret"
    row.save()
    newer = Fernet.generate_key().decode()
    settings.FIELD_KEYS = [newer, *settings.FIELD_KEYS]

    call_command("rotate_field_keys")
    settings.FIELD_KEYS = [newer]

    assert Classifier.objects.get().key == "very-secret"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"direction": "both"}, "A classifier reads prompts"),
        ({"action": "redact"}, "does not tell what to redact"),
        ({"terms": "falcon"}, "choose a classifier"),
    ],
)
def test_a_rule_that_no_classifier_can_keep_is_refused(console, fields, words: str):
    row = Classifier.objects.create(name="judge", url="http://localhost/")
    form = FORM | {"terms": "", "direction": "input", "classifier": row.pk}

    answer = console.post(reverse(f"{RULES}_add"), form | fields)

    assert words in answer.content.decode()
    assert not ModerationRule.objects.exists()


def test_a_rule_with_a_classifier_is_made_in_the_console(console):
    row = Classifier.objects.create(name="judge", url="http://localhost/")
    form = FORM | {"terms": "", "direction": "input", "classifier": row.pk}

    answer = console.post(
        reverse(f"{RULES}_add"), form | {"classifier_categories": "violence, hate"}
    )

    assert answer.status_code == 302, answer.context["errors"]
    rule = ModerationRule.objects.get()
    assert rule.classifier_categories == ["violence", "hate"]
    change = reverse(f"{RULES}_change", args=[rule.pk])
    assert b"violence, hate" in console.get(change).content
    assert b"judge" in console.get(reverse(f"{RULES}_changelist")).content
