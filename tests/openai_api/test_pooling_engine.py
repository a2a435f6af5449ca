"""A real embedding model behind a real product, asked as its users ask."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests import engines
from tests.product import Product, quick_product, wait_until_listed

pytestmark = pytest.mark.engine

NAME = "minilm"
POOLING = ("--runner", "pooling", "--max-model-len", "256")
CAT = "A cat sleeps on the sofa."
KITTEN = "A kitten is napping on the couch."
MARKET = "The stock market fell sharply today."


@pytest.fixture(scope="module")
def product(
    new_var_dir: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A product whose only worker is vLLM with the embedding model."""
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    with (
        quick_product(new_var_dir()) as product,
        engines.start_vllm_worker(
            tmp_path_factory.mktemp("pooling-worker"),
            controller=product.url,
            join_token=product.credentials.join_token,
            name=NAME,
            model=engines.minilm(),
            flags=POOLING,
        ),
    ):
        wait_until_listed(product, NAME)
        yield product


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{product.url}/v1",
        api_key=product.credentials.api_key,
        max_retries=0,
    ) as client:
        yield client


def ask(product: Product, path: str, **fields: Any) -> Any:
    key = product.credentials.api_key
    return product.call("POST", f"/v1/{path}", key, {"model": NAME} | fields)


def cosine(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


def test_the_worker_offers_what_an_embedding_model_does(client: openai.OpenAI) -> None:
    model = client.models.retrieve(NAME).to_dict()

    assert model["tasks"] == ["embeddings", "rerank", "score", "tokenize"]
    assert model["max_model_len"] == 256


def test_like_sentences_have_closer_embeddings_than_unlike_ones(
    client: openai.OpenAI,
) -> None:
    answer = client.embeddings.create(model=NAME, input=[CAT, KITTEN, MARKET])

    cat, kitten, market = (each.embedding for each in answer.data)
    assert len(cat) == 384
    assert cosine(cat, cat) == pytest.approx(1.0, abs=1e-3)
    assert cosine(cat, kitten) > 0.5 > 0.3 > cosine(cat, market)
    assert answer.usage.prompt_tokens > 20


def test_base64_and_floats_are_the_same_numbers(client: openai.OpenAI) -> None:
    # Not told otherwise, the client asks for base64 and unpacks it.
    packed = client.embeddings.create(model=NAME, input=CAT)
    plain = client.embeddings.create(model=NAME, input=CAT, encoding_format="float")

    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)


def test_token_ids_embed_as_their_text_does(
    product: Product, client: openai.OpenAI
) -> None:
    tokens = ask(product, "tokenize", prompt=CAT, add_special_tokens=False).json

    of_text = client.embeddings.create(model=NAME, input=CAT)
    of_tokens = client.embeddings.create(
        model=NAME, input=[101, *tokens["tokens"], 102]
    )

    one, other = of_text.data[0].embedding, of_tokens.data[0].embedding
    assert cosine(one, other) == pytest.approx(1.0, abs=1e-3)


def test_a_model_of_one_size_refuses_another_number_of_dimensions(
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=NAME, input=CAT, dimensions=64)

    assert "Matryoshka" in refused.value.message


def test_a_score_is_higher_for_what_is_alike(product: Product) -> None:
    answer = ask(product, "score", queries=CAT, documents=[KITTEN, MARKET]).json

    kitten, market = (each["score"] for each in answer["data"])
    assert kitten > market
    assert answer["usage"]["prompt_tokens"] > 0


def test_a_rerank_puts_what_fits_the_query_first(product: Product) -> None:
    documents = [MARKET, KITTEN, "Bread is baked in an oven."]

    answer = ask(product, "rerank", query=CAT, documents=documents, top_n=2).json

    assert len(answer["results"]) == 2
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"]["text"] == KITTEN


def test_a_text_becomes_tokens_and_they_the_text(product: Product) -> None:
    tokens = ask(product, "tokenize", prompt="hello world", return_token_strs=True).json
    text = ask(product, "detokenize", tokens=tokens["tokens"]).json

    assert tokens["token_strs"] == ["[CLS]", "hello", "world", "[SEP]"]
    assert tokens["count"] == 4
    assert text["prompt"] == "[CLS] hello world [SEP]"


def test_what_the_model_cannot_do_is_refused_with_what_it_can(
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "Hi"}]
        )

    assert refused.value.code == "unsupported_task"
    assert "embeddings, rerank, score, tokenize" in refused.value.message


def test_a_text_too_long_is_refused_with_both_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=NAME, input="word " * 300)

    assert (refused.value.code, refused.value.param) == (
        "context_length_exceeded",
        "input",
    )
    assert "256" in refused.value.message


def test_the_ledger_has_the_engines_own_count(
    product: Product, client: openai.OpenAI
) -> None:
    answer = client.embeddings.with_raw_response.create(model=NAME, input=[CAT, MARKET])

    row = product.ledger_row(request_id=answer.headers["x-request-id"])
    assert row["prompt_tokens"] == answer.parse().usage.prompt_tokens
    assert not row["tokens_estimated"]
