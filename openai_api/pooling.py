"""Bodies of the calls that a model answers with numbers: embeddings, score, rerank.

Embeddings are OpenAI's; score and rerank are as vLLM, Jina and Cohere have them.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from django.conf import settings
from msgspec import Meta

from controller.errors import InvalidRequest
from openai_api.bodies import Ceiling, Count, Prompt, RequestBody, refuse_mixed

Texts = str | Annotated[list[str], Meta(min_length=1)]

# They change how the texts are cut or read, or the form of the numbers.
PASSED = frozenset(
    {
        "add_special_tokens",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_activation",
    }
)
SCORING_PASSED = PASSED | {"instruction", "max_tokens_per_doc", "max_tokens_per_query"}


class EmbeddingsBody(RequestBody, kw_only=True):
    passed: ClassVar[frozenset[str]] = PASSED | {"embed_dtype", "endianness"}

    input: Prompt
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        given = self.input
        is_one = isinstance(given, str) or isinstance(given[0], int)
        return (("input", 1 if is_one else len(given), settings.MAX_INPUTS),)

    def check(self) -> None:
        refuse_mixed("input", self.input)


class RerankBody(RequestBody, kw_only=True):
    passed: ClassVar[frozenset[str]] = SCORING_PASSED

    query: str
    documents: Annotated[list[str], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=0)] | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        return (("documents", len(self.documents), settings.MAX_INPUTS),)


class ScoreBody(RequestBody, kw_only=True):
    """Two sides, under any of the names that vLLM gives them."""

    passed: ClassVar[frozenset[str]] = SCORING_PASSED

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        sides = ((name, getattr(self, name)) for name in SIDE_NAMES)
        return (
            (name, len(side), settings.MAX_INPUTS)
            for name, side in sides
            if isinstance(side, list)
        )

    def check(self) -> None:
        given = {name for name in SIDE_NAMES if getattr(self, name) is not None}
        if given not in SIDES:
            raise InvalidRequest(
                "Send what is to be compared as `queries` and `documents`, or as"
                " `text_1` and `text_2`: both, and nothing of another pair.",
                param="queries",
            )


SIDES = (
    {"queries", "documents"},
    {"queries", "items"},
    {"text_1", "text_2"},
    {"data_1", "data_2"},
)
SIDE_NAMES = sorted(set().union(*SIDES))
