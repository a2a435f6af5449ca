"""Embeddings of a real encoder, and of several models in one engine."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests import engines
from tests.workers.in_process import InProcessEngine
from workers.transformers_engine.app import Application
from workers.transformers_engine.embedder import Embedder
from workers.transformers_engine.embedding_model import load_embedding_model
from workers.transformers_engine.model import LoadSettings
from workers.transformers_engine.served import ServedModel
from workers.transformers_engine.source import find_model

pytestmark = pytest.mark.engine

TEXTS = [
    "The cat sits on the mat.",
    "A kitten rests on a rug.",
    "Interest rates rose by half a point after the bank's meeting on Tuesday." * 3,
]


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    source = find_model(str(engines.minilm()))
    assert source.makes_embeddings
    settings = LoadSettings(device="cpu", dtype="float32")
    made = Embedder(load_embedding_model(source, settings))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(embedder: Embedder) -> InProcessEngine:
    return InProcessEngine(Application([ServedModel(("minilm", "small"), embedder)]))


def by_hand(text: str) -> list[float]:
    """Return the vector as the model's own description computes it."""
    folder = engines.minilm()
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    vector: list[float] = torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist()
    return vector


async def embed(client: InProcessEngine, wished: Any, **fields: Any) -> Any:
    answered = await client.post("/v1/embeddings", input=wished, **fields)
    assert answered.status == 200, answered.body
    return answered.json


async def test_vectors_are_the_models_whatever_is_embedded_beside(
    client: InProcessEngine,
) -> None:
    answer = await embed(client, TEXTS, model="small")

    assert answer["model"] == "small"
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]
    for entry, text in zip(answer["data"], TEXTS, strict=True):
        assert entry["embedding"] == pytest.approx(by_hand(text), abs=1e-5)
    cat, kitten, bank = (numpy.array(entry["embedding"]) for entry in answer["data"])
    assert cat @ kitten > 0.5 > cat @ bank


async def test_many_clients_are_embedded_together_and_all_tokens_are_counted(
    client: InProcessEngine, embedder: Embedder
) -> None:
    before = embedder.prompt_tokens_total

    answers = await asyncio.gather(*(embed(client, text) for text in TEXTS * 5))

    counted = sum(answer["usage"]["prompt_tokens"] for answer in answers)
    assert embedder.prompt_tokens_total - before == counted
    assert answers[0]["data"] == answers[3]["data"]
    assert embedder.num_waiting == embedder.num_running == 0


async def test_base64_holds_the_same_numbers(client: InProcessEngine) -> None:
    floats = await embed(client, "Hello", encoding_format="float")
    encoded = await embed(client, "Hello", encoding_format="base64")

    raw = base64.b64decode(encoded["data"][0]["embedding"])
    numbers = numpy.frombuffer(raw, dtype="<f4")
    assert numbers.tolist() == pytest.approx(floats["data"][0]["embedding"])


async def test_fewer_dimensions_are_the_first_ones_at_length_one(
    client: InProcessEngine,
) -> None:
    whole = (await embed(client, "Hello"))["data"][0]["embedding"]

    short = (await embed(client, "Hello", dimensions=100))["data"][0]["embedding"]

    first = numpy.array(whole[:100])
    assert short == pytest.approx((first / numpy.linalg.norm(first)).tolist(), abs=1e-6)


async def test_tokens_are_taken_as_they_are(client: InProcessEngine) -> None:
    tokens = (await client.answer("/tokenize", prompt="Hello"))["tokens"]

    by_text, by_tokens = await embed(client, "Hello"), await embed(client, tokens)

    assert by_text["data"] == by_tokens["data"]
    assert by_text["usage"]["prompt_tokens"] == len(tokens)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("dimensions", {"input": "Hi", "dimensions": 385}),
        ("encoding_format", {"input": "Hi", "encoding_format": "hex"}),
        ("input", {"input": []}),
        ("input", {"input": [[]]}),
        ("input", {"input": [99_999]}),
        ("input", {"input": "word " * 300}),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_its_field(
    client: InProcessEngine, field: str, fields: Any
) -> None:
    error = await client.refusal("/v1/embeddings", **fields)

    assert error["param"] == field


async def test_an_encoder_offers_no_text(client: InProcessEngine) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        body = {"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi"}
        error = await client.refusal(path, **body)

        assert "makes embeddings" in error["message"]


async def test_a_failure_is_told_and_the_next_is_served(
    client: InProcessEngine, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as broken:
        broken.setattr(type(embedder.loaded), "embed", fail)
        answered = await client.post("/v1/embeddings", input="Hello")

    assert answered.status == 500
    assert "out of memory" in answered.json["error"]["message"]
    assert len((await embed(client, "Hello"))["data"]) == 1
