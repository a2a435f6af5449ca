"""Embeddings, score, rerank and tokenization: what a pooling model's clients may do."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
from openai import OpenAI

from controller.errors import InvalidRequest
from openai_api.bodies import RequestBody, decode
from openai_api.pooling import EmbeddingsBody
from openai_api.tokenization import DetokenizeBody, TokenizeBody
from tests.mock_engine import MockEngine, running_mock_engine
from tests.mock_engine.pooling import DIMENSIONS
from tests.product import Product, Response, joined
from workers.protocol import Task

POOLING = [Task.EMBEDDINGS, Task.SCORE, Task.RERANK, Task.TOKENIZE]
FOX = "the quick brown fox"
LIKE_FOX = "the quick brown dog"
UNLIKE_FOX = "quarterly revenue rose again"
PARTS = [{"type": "text", "text": "x" * 6}]


@pytest.fixture(scope="module", autouse=True)
def pooling_engine(product: Product) -> Iterator[MockEngine]:
    with (
        running_mock_engine(models=("pool-1",), context_length=256) as engine,
        joined(product, engine, tasks=POOLING, aliases=["pool"]),
    ):
        yield engine


def ask(product: Product, path: str, **fields: Any) -> Response:
    content = {"model": "pool-1"} | fields
    key = product.credentials.api_key
    return product.call("POST", f"/v1/{path}", key, content)


def cosine(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


# -- Embeddings ------------------------------------------------------------------------


def test_like_texts_have_close_embeddings(client: OpenAI):
    answer = client.embeddings.create(model="pool-1", input=[FOX, LIKE_FOX, UNLIKE_FOX])

    fox, like, unlike = (each.embedding for each in answer.data)
    assert len(fox) == DIMENSIONS
    assert cosine(fox, like) > cosine(fox, unlike)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 12


def test_base64_says_the_same_as_floats(product: Product):
    packed = ask(product, "embeddings", input=FOX, encoding_format="base64").json
    plain = ask(product, "embeddings", input=FOX, encoding_format="float").json

    floats = plain["data"][0]["embedding"]
    content = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{DIMENSIONS}f", content) == pytest.approx(floats, abs=1e-6)


def test_dimensions_reach_the_engine(client: OpenAI):
    answer = client.embeddings.create(model="pool-1", input=FOX, dimensions=8)

    assert len(answer.data[0].embedding) == 8


@pytest.mark.parametrize("tokens", [[5, 6, 7], [[5, 6], [7]]])
def test_token_ids_are_taken_as_one_text_or_several(client: OpenAI, tokens: Any):
    answer = client.embeddings.create(model="pool-1", input=tokens)

    assert len(answer.data) == (1 if tokens[0] == 5 else 2)


def test_an_embedding_is_in_the_ledger_with_its_tokens(product: Product):
    answer = ask(product, "embeddings", input=FOX)

    row = product.ledger_row(request_id=answer.headers["x-request-id"])
    assert (row["endpoint"], row["model"], row["status"]) == (
        "/v1/embeddings",
        "pool-1",
        200,
    )
    assert (row["prompt_tokens"], row["completion_tokens"]) == (4, 0)
    assert not row["tokens_estimated"]
    assert 0 < float(answer.headers["x-switchyard-overhead-ms"]) < 1000


def test_a_text_too_long_to_embed_is_refused_with_both_numbers(client: OpenAI):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="pool-1", input="word " * 300)

    assert (refused.value.code, refused.value.param) == (
        "context_length_exceeded",
        "input",
    )
    assert "256" in refused.value.message
    assert "257" in refused.value.message


# -- Rerank and score ------------------------------------------------------------------


def test_a_rerank_puts_the_closest_document_first(product: Product):
    documents = [UNLIKE_FOX, LIKE_FOX, FOX]

    answer = ask(product, "rerank", query=FOX, documents=documents, top_n=2)

    results = answer.json["results"]
    assert [result["index"] for result in results] == [2, 1]
    assert results[0]["document"]["text"] == FOX
    assert results[0]["relevance_score"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("queries", "documents"),
        ("text_1", "text_2"),
    ],
)
def test_a_score_compares_one_text_with_each_of_several(
    product: Product, left: str, right: str
):
    answer = ask(product, "score", **{left: FOX, right: [LIKE_FOX, UNLIKE_FOX]})

    like, unlike = (each["score"] for each in answer.json["data"])
    assert like > unlike


@pytest.mark.parametrize(
    ("path", "fields", "tokens"),
    [
        ("rerank", {"query": FOX, "documents": [LIKE_FOX]}, 8),
        ("score", {"queries": FOX, "documents": LIKE_FOX}, 8),
    ],
)
def test_scoring_is_in_the_ledger_with_its_tokens(
    product: Product, path: str, fields: dict[str, Any], tokens: int
):
    answer = ask(product, path, **fields)

    row = product.ledger_row(request_id=answer.headers["x-request-id"])
    assert (row["endpoint"], row["prompt_tokens"]) == (f"/v1/{path}", tokens)


def test_what_the_engine_refuses_is_refused_in_its_words(product: Product):
    refused = ask(product, "score", queries=[FOX, FOX], documents=[FOX] * 3)

    assert (refused.status, refused.error["code"]) == (400, "invalid_value")
    assert "1:1, 1:N or N:N" in refused.error["message"]


# -- Tokenization ----------------------------------------------------------------------


def test_tokens_become_the_text_again(product: Product):
    tokens = ask(product, "tokenize", prompt=FOX, return_token_strs=True).json
    text = ask(product, "detokenize", tokens=tokens["tokens"]).json

    assert (tokens["count"], tokens["max_model_len"]) == (4, 256)
    assert tokens["token_strs"] == FOX.split()
    assert text == {"prompt": FOX}


def test_messages_are_tokenized(product: Product):
    messages = [{"role": "user", "content": FOX}, {"role": "user", "content": "Hi"}]

    assert ask(product, "tokenize", messages=messages).json["count"] == 5


def test_tokenizing_costs_nobody_any_tokens(product: Product):
    answer = ask(product, "tokenize", prompt=FOX)

    row = product.ledger_row(request_id=answer.headers["x-request-id"])
    assert (row["status"], row["prompt_tokens"], row["tokens_estimated"]) == (200, 0, 0)


# -- Refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("embeddings", {}, "input"),
        ("embeddings", {"input": []}, "input"),
        ("embeddings", {"input": {"text": "x"}}, "input"),
        ("embeddings", {"input": ["x", 1]}, "input"),
        ("embeddings", {"input": "x", "dimensions": 0}, "dimensions"),
        ("embeddings", {"input": "x", "encoding_format": "bytes"}, "encoding_format"),
        ("embeddings", {"input": "x", "stream": True}, "stream"),
        ("embeddings", {"input": "x", "Dimensions": 8}, "Dimensions"),
        ("embeddings", {"input": ["x"] * 2049}, "input"),
        ("embeddings", {"input": [[1]] * 2049}, "input"),
        ("rerank", {"query": "x"}, "documents"),
        ("rerank", {"query": "x", "documents": []}, "documents"),
        ("rerank", {"query": ["x"], "documents": ["y"]}, "query"),
        ("rerank", {"query": "x", "documents": ["y"], "top_n": -1}, "top_n"),
        ("rerank", {"query": "x", "documents": ["y"] * 2049}, "documents"),
        ("completions", {"prompt": ["x", 1]}, "prompt"),
        ("score", {"queries": "x"}, "queries"),
        ("score", {"queries": "x", "text_2": "y"}, "queries"),
        ("score", {"text_1": "x", "text_2": "y", "queries": "z"}, "queries"),
        ("score", {"text_1": "x", "text_2": [1]}, "text_2[0]"),
        ("score", {"text_1": "x", "text_2": ["y"] * 2049}, "text_2"),
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "x", "messages": [{"role": "user"}]}, "prompt"),
        ("tokenize", {"prompt": ["x"]}, "prompt"),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("detokenize", {"tokens": "x"}, "tokens"),
    ],
)
def test_a_wrong_field_is_named(
    product: Product, path: str, fields: dict[str, Any], param: str
):
    refused = ask(product, path, **fields)

    assert (refused.status, refused.error["param"]) == (400, param), refused
    assert refused.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        (TokenizeBody, {"prompt": "x" * 11}, "prompt"),
        (TokenizeBody, {"messages": [{"role": "user", "content": "x" * 11}]}, None),
        (TokenizeBody, {"messages": [{"role": "a", "content": PARTS}] * 2}, None),
        (DetokenizeBody, {"tokens": [1] * 11}, "tokens"),
    ],
)
def test_tokenization_has_a_limit(
    settings: Any, kind: type[RequestBody], fields: dict[str, Any], param: str | None
):
    settings.MAX_TOKENIZE_LENGTH = 10
    raw = msgspec.json.encode({"model": "pool-1"} | fields)

    with pytest.raises(InvalidRequest) as refused:
        decode(raw, kind, frozenset())

    assert refused.value.param == (param or "messages")


def test_as_many_inputs_as_the_limit_are_taken(product: Product):
    answer = ask(product, "embeddings", input=["x"] * 2048, dimensions=1)

    assert len(answer.json["data"]) == 2048


def test_one_text_of_many_token_ids_is_one_input(settings: Any):
    settings.MAX_INPUTS = 3
    raw = msgspec.json.encode({"model": "pool-1", "input": [7] * 200})

    checked, _ = decode(raw, EmbeddingsBody, frozenset())

    assert checked.input == [7] * 200


def test_an_engine_control_needs_its_scope(product: Product):
    refused = ask(product, "embeddings", input="x", priority=-5)

    assert (refused.status, refused.error["param"]) == (403, "priority")


def test_media_to_fetch_is_refused_when_tokenizing_too(product: Product):
    part = {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}
    messages = [{"role": "user", "content": [part]}]

    refused = ask(product, "tokenize", messages=messages)

    assert (refused.status, refused.error["code"]) == (400, "remote_media")


@pytest.mark.parametrize(
    ("model", "path", "fields", "done_instead"),
    [
        ("mock-1", "embeddings", {"input": "x"}, "chat, completions"),
        ("mock-1", "tokenize", {"prompt": "x"}, "chat, completions"),
        ("pool", "completions", {"prompt": "x"}, "embeddings, rerank, score, tokenize"),
    ],
)
def test_a_task_that_the_model_does_not_do_names_those_that_it_does(
    product: Product, model: str, path: str, fields: dict[str, Any], done_instead: str
):
    refused = ask(product, path, **{"model": model} | fields)

    assert (refused.status, refused.error["code"]) == (400, "unsupported_task")
    assert f"it does {done_instead}." in refused.error["message"]


@pytest.mark.parametrize(
    ("path", "field"),
    [("embeddings", "input"), ("tokenize", "prompt"), ("score", "text_1")],
)
def test_what_fails_the_engine_is_an_upstream_error(
    product: Product, path: str, field: str
):
    rest = {"text_2": "x"} if path == "score" else {}

    for directive in ("[[status=500]]", "[[garbage]]", "[[cut_after=0]]"):
        failed = ask(product, path, **{field: directive} | rest)

        assert (failed.status, failed.error["code"]) == (502, "upstream_error")


def test_the_engine_has_our_paths_under_its_own_names(
    product: Product, pooling_engine: MockEngine
):
    pooling_engine.reset()

    ask(product, "embeddings", input="x")
    ask(product, "rerank", query="x", documents=["y"])
    ask(product, "score", queries="x", documents=["y"])
    ask(product, "tokenize", prompt="x")
    ask(product, "detokenize", tokens=[0])

    assert [request.path for request in pooling_engine.requests()] == [
        "/v1/embeddings",
        "/v1/rerank",
        "/score",
        "/tokenize",
        "/detokenize",
    ]


def test_a_models_tasks_are_listed(product: Product):
    key = product.credentials.api_key

    listed = product.call("GET", "/v1/models/pool", key).json

    assert listed["tasks"] == ["embeddings", "rerank", "score", "tokenize"]
