"""`/v1/embeddings`: from a checked request to OpenAI's answer."""

import asyncio
import base64
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta, Struct

from workers.refusals import RequestRefused
from workers.transformers_engine.embedder import Embedder
from workers.transformers_engine.errors import context_exceeded, unsupported
from workers.transformers_engine.requests import Count, Prompts, prompt_list

MAX_INPUTS = 2048


class EmbeddingRequest(Struct, kw_only=True, frozen=True):
    input: Prompts
    model: str = ""
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: Annotated[str, Meta(max_length=1000)] | None = None
    truncate_prompt_tokens: Any = None
    """Of vLLM; refused, since the vector would be another one's."""


async def embeddings_answer(
    request: EmbeddingRequest, embedder: Embedder, model: str
) -> dict[str, Any]:
    """Return OpenAI's answer; raises RequestRefused.

    `dimensions` keeps the first so many and brings them back to length 1: right for
    models trained for that (Matryoshka), a loss for others.
    """
    if request.truncate_prompt_tokens:
        field = "truncate_prompt_tokens"
        raise unsupported(field, field)
    loaded = embedder.loaded
    wished = request.dimensions or loaded.num_dimensions
    if wished > loaded.num_dimensions:
        raise RequestRefused(
            f"dimensions: this model's vectors have {loaded.num_dimensions}.",
            "dimensions",
        )
    texts = await asyncio.to_thread(_tokens, request, embedder)
    futures = embedder.submit(texts)
    try:
        vectors = await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()  # of a client that left; those done stay done
    entries = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(_shortened(vector, wished), request.encoding_format),
        }
        for index, vector in enumerate(vectors)
    ]
    num_tokens = sum(map(len, texts))
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": entries, "model": model, "usage": usage}


def _tokens(request: EmbeddingRequest, embedder: Embedder) -> list[list[int]]:
    loaded = embedder.loaded
    inputs = prompt_list(request.input, "input")
    if len(inputs) > MAX_INPUTS:
        raise RequestRefused(f"input: at most {MAX_INPUTS} at once.", "input")
    texts = [
        list(loaded.tokenizer(text)["input_ids"]) if isinstance(text, str) else text
        for text in inputs
    ]
    for text in texts:
        if not text:
            raise RequestRefused("input: an empty one has no vector.", "input")
        if max(text) >= loaded.vocabulary_size:
            raise RequestRefused(
                f"input: {max(text)} is not a token of this model.", "input"
            )
        if len(text) > loaded.context_length:
            raise context_exceeded(loaded.context_length, len(text), None, "input")
    return texts


def _shortened(vector: torch.Tensor, num_dimensions: int) -> torch.Tensor:
    if num_dimensions == len(vector):
        return vector
    return torch.nn.functional.normalize(vector[:num_dimensions], dim=0)


def _encoded(vector: torch.Tensor, encoding: str | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
    return [*vector.tolist()]
