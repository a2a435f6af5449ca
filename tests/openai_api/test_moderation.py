"""Moderation as clients meet it, and `/v1/moderations`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.controller.moderation.fake_classifier import (
    FakeClassifier,
    running_classifier,
)
from tests.mock_engine import MockEngine
from tests.product import Product, events_of, joined, manage, quick_product
from tests.product import wait_until as until

RULES = """
from controller.models import Classifier, ModerationRule as Rule, Revision
judge = Classifier(name="judge", url="URL")
judge.key = "classifier-key"
judge.save()
Rule(name="judged", category="safety", action="flag", classifier=judge,
     classifier_categories=["hate"]).save()
Rule(name="names", category="trade-secrets", action="block", terms="Falcon").save()
Rule(name="phones", category="phone", action="redact", direction="both",
     pattern=r"\\b555-\\d{4}\\b").save()
Rule(name="words", category="violence", direction="output", action="block",
     terms="t5 t6").save()
Rule(name="chat", category="chat-only", action="block", terms="x",
     faces=["chat"]).save()
Revision.bump("moderation")
"""


@pytest.fixture(scope="module")
def classifier() -> Iterator[FakeClassifier]:
    with running_classifier() as fake:
        yield fake


@pytest.fixture(scope="module")
def product(
    engine: MockEngine, new_var_dir: Callable[[], Path], classifier: FakeClassifier
) -> Iterator[Product]:
    var_dir = new_var_dir()
    rules = RULES.replace("URL", classifier.url)
    written = manage(var_dir, "shell", "--verbosity=0", "-c", rules)
    assert written.returncode == 0, written.stdout
    with quick_product(var_dir) as product, joined(product, engine):
        yield product


def test_a_client_is_told_the_category_and_nothing_else(
    client: OpenAI, product: Product, engine: MockEngine
):
    engine.reset()

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="mock-1", messages=[{"role": "user", "content": "the FALCON papers"}]
        )

    assert refused.value.code == "content_policy_violation"
    assert "trade-secrets" in refused.value.message
    assert "falcon" not in refused.value.message.lower()
    assert not [each for each in engine.requests() if each.path != "/health"]
    request_id = refused.value.response.headers["x-request-id"]
    assert product.ledger_row(request_id=request_id)["status"] == 400
    assert "FALCON" not in product.log.read_text()


def test_a_redacted_prompt_and_answer(client: OpenAI):
    answer = client.chat.completions.create(
        model="mock-1",
        messages=[{"role": "user", "content": "[[echo]] call 555-0100 now"}],
    )

    assert "call [redacted] now" in (answer.choices[0].message.content or "")


def test_a_blocked_stream_ends_with_its_reason(client: OpenAI, product: Product):
    stream = client.chat.completions.create(
        model="mock-1",
        messages=[{"role": "user", "content": "[[tokens=500 interval_ms=5]]"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "t0 t1 t2 t3 t4 "
    assert chunks[-2].choices[0].finish_reason == "content_filter"
    assert chunks[-1].usage is not None
    row = product.ledger_row(finish_reason="content_filter")
    assert row["completion_tokens"] == chunks[-1].usage.completion_tokens < 500


def test_a_resumed_stream_gives_nothing_away(product: Product):
    key = product.credentials.api_key
    content = {
        "model": "mock-1",
        "stream": True,
        "messages": [{"role": "user", "content": "[[tokens=9]]"}],
    }
    sent = {"x-switchyard-resumable": "1"}
    first = product.call("POST", "/v1/chat/completions", key, content, sent)

    stream_id = first.headers["x-request-id"]
    again = product.call("GET", f"/v1/streams/{stream_id}", key)

    for body in (first.body, again.body):
        assert b"t4" in body
        assert b"t5" not in body
        assert b"t6" not in body


def test_flags_are_written(product: Product):
    product.chat("About Falcon")

    def written() -> list:
        return product.query("SELECT * FROM controller_moderationflag")

    row = until(written, "a flag")[0]
    assert (row["rule_name"], row["direction"]) == ("names", "input")
    assert "falcon" not in str(row).lower()


# -- /v1/moderations -------------------------------------------------------------------


def test_moderations_answer_from_the_rules(client: OpenAI):
    answer = client.moderations.create(input=["all fine", "falcon, call 555-0100"])

    fine, found = answer.results
    assert (fine.flagged, found.flagged) == (False, True)
    names = {name for name, is_so in dict(found.categories).items() if is_so}
    assert names == {"trade-secrets", "phone"}
    assert dict(found.category_scores)["trade-secrets"] == 1.0
    assert found.categories.violence is False
    assert found.categories.self_harm is False
    assert "chat-only" not in dict(found.categories)


def test_output_rules_count_in_moderations_too(client: OpenAI):
    result = client.moderations.create(input="t5 t6").results[0]

    assert result.categories.violence


def test_a_classifiers_categories_are_told_by_openais_names(client: OpenAI):
    answer = client.moderations.create(input=["some hate", "some violence"])

    counted, other = answer.results
    assert (counted.flagged, other.flagged) == (True, False)
    assert counted.categories.hate
    assert dict(counted.categories)["safety"]
    assert counted.category_scores.hate == 0.9
    assert other.category_scores.violence == 0.9
    assert not other.categories.violence  # the rule is about hate alone


def test_parts_are_one_thing(client: OpenAI):
    parts = [{"type": "text", "text": "fine"}, {"type": "text", "text": "Falcon"}]

    answer = client.moderations.create(input=parts)  # type: ignore[arg-type]

    assert [result.flagged for result in answer.results] == [True]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"input": [{"type": "image_url", "image_url": {"url": "data:"}}]}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({}, "input"),
        ({"input": "x", "other": 1}, None),
        ({"input": ["x"] * 2049}, "input"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    product: Product, content: dict, param: str | None
):
    key = product.credentials.api_key

    answer = product.call("POST", "/v1/moderations", key, content)

    assert (answer.status, answer.error["param"]) == (400, param)


def test_moderations_need_a_key(product: Product):
    answer = product.call("POST", "/v1/moderations", "", {"input": "x"})

    assert answer.status == 401


def test_what_no_rule_is_about_comes_as_the_engine_said_it(product: Product):
    events = events_of(product.chat("[[tokens=3]]", stream=True).body)

    text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e)
    assert text == "t0 t1 t2"
