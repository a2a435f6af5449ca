"""What the mock engine answers to a pooling model's calls, and to tokenization.

A text's embedding counts its words, each in a place of its own by its hash, and has
the length 1: texts that share words are close. The shapes are those of vLLM 0.32.
"""

import base64
import math
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tests.mock_engine import answers
from tests.mock_engine.tokens import Vocabulary

DIMENSIONS = 64
Texts = str | list[str]


class Body(Struct):
    """All fields of all these calls; which of them are read depends on the path."""

    model: str
    input: str | list[str | int | list[int]] = ""
    encoding_format: str = "float"
    dimensions: int = DIMENSIONS
    query: str = ""
    queries: Texts = ""
    text_1: Texts = ""
    text_2: Texts = ""
    documents: Texts = ""
    top_n: int = 0
    prompt: str = ""
    messages: list[dict[str, str]] = []
    tokens: list[int] = []
    return_token_strs: bool = False

    def texts(self) -> list[str]:
        """All texts that the model would read."""
        given = [self.prompt, *(message["content"] for message in self.messages)]
        for texts in (self.query, self.queries, self.text_1, self.text_2):
            given += _listed(texts)
        given += _listed(self.documents)
        inputs = [self.input] if _is_one(self.input) else self.input
        given += [_as_text(each) for each in inputs]
        return [text for text in given if text]


def embeddings(body: Body, request_id: str) -> dict[str, Any]:
    inputs = [body.input] if _is_one(body.input) else body.input
    vectors = [embedding(_as_text(each), body.dimensions) for each in inputs]
    as_base64 = body.encoding_format == "base64"
    return _listing(f"embd-{request_id}", body) | {
        "data": [
            {
                "index": index,
                "object": "embedding",
                "embedding": _packed(vector) if as_base64 else vector,
            }
            for index, vector in enumerate(vectors)
        ]
    }


def score(body: Body, request_id: str) -> dict[str, Any]:
    left = _listed(body.queries or body.text_1)
    right = _listed(body.documents or body.text_2)
    left = left * len(right) if len(left) == 1 else left
    if len(left) != len(right):
        raise ValueError("Input lengths must be either 1:1, 1:N or N:N")
    return _listing(f"score-{request_id}", body) | {
        "data": [
            {"index": index, "object": "score", "score": similarity(*pair)}
            for index, pair in enumerate(zip(left, right, strict=True))
        ]
    }


def rerank(body: Body, request_id: str) -> dict[str, Any]:
    results = [
        {
            "index": index,
            "document": {"text": document, "multi_modal": None},
            "relevance_score": similarity(body.query, document),
        }
        for index, document in enumerate(_listed(body.documents))
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    num_tokens = sum(len(text.split()) for text in body.texts())
    return {
        "id": f"score-{request_id}",
        "model": body.model,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        "results": results[: body.top_n or None],
    }


CALLS: dict[bytes, Callable[[Body, str], dict[str, Any]]] = {
    b"/v1/embeddings": embeddings,
    b"/score": score,
    b"/v1/score": score,
    b"/rerank": rerank,
    b"/v1/rerank": rerank,
}


def tokenized(
    body: Body, vocabulary: Vocabulary, context_length: int
) -> dict[str, Any]:
    text = " ".join(body.texts())
    tokens = vocabulary.tokens(text)
    return {
        "count": len(tokens),
        "max_model_len": context_length,
        "tokens": tokens,
        "token_strs": text.split() if body.return_token_strs else None,
    }


def embedding(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    counts = [0.0] * dimensions
    for word in text.lower().split():
        counts[zlib.crc32(word.encode()) % dimensions] += 1
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]


def similarity(one: str, other: str) -> float:
    """The cosine of the angle between the two texts."""
    pairs = zip(embedding(one), embedding(other), strict=True)
    return sum(left * right for left, right in pairs)


def _listing(answer_id: str, body: Body) -> dict[str, Any]:
    num_tokens = sum(len(text.split()) for text in body.texts())
    details = {"prompt_tokens_details": None, "completion_tokens_details": None}
    return {
        "id": answer_id,
        "object": "list",
        "created": int(time.time()),
        "model": body.model,
        "usage": answers.usage(num_tokens, 0) | details,
    }


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _is_one(given: str | list[Any]) -> bool:
    return isinstance(given, str) or (bool(given) and isinstance(given[0], int))


def _as_text(given: Any) -> str:
    """A text, or the words that stand for its token ids."""
    return given if isinstance(given, str) else " ".join(map(str, given))


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
