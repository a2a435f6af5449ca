"""Answers held to a JSON schema, token by token, by llguidance."""

import json
import threading
from typing import TYPE_CHECKING, Any

import llguidance
import llguidance.hf
import numpy
import torch

from workers.refusals import GenerationFailed

if TYPE_CHECKING:  # the name is in the stubs alone
    from llguidance._lib import JsonCompileOptions

# One way to write each value: where blanks are free, a small model writes them forever.
JSON_LAYOUT: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


class UnusableGrammar(ValueError):
    """A grammar or schema that cannot be followed; the message says why."""


class Grammar:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> "Grammar":
        return Grammar(self._matcher.deep_copy())

    def restrict(self, scores: torch.Tensor) -> None:
        """Set the scores of all tokens that may not come next to minus infinity."""
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
        allowed = torch.from_numpy(numpy.unpackbits(bits, bitorder="little"))
        num_known = min(len(allowed), len(scores))
        scores[num_known:] = -torch.inf
        is_allowed = allowed[:num_known].bool().to(scores.device)
        scores[:num_known].masked_fill_(~is_allowed, -torch.inf)

    def accept(self, token: int) -> None:
        """Go on by `token`; raises GenerationFailed if the grammar cannot."""
        if not self._matcher.consume_token(token):
            raise GenerationFailed(
                f"The answer cannot follow its schema: {self._matcher.get_error()}"
            )

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return bool(self._matcher.is_stopped())


class GrammarCompiler:
    """Makes grammars for one model's vocabulary."""

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary_size = vocabulary_size
        self._vocabulary: llguidance.LLTokenizer | None = None
        self._lock = threading.Lock()

    def for_schema(self, schema: Any) -> Grammar:
        """Return the grammar of JSON by `schema`; raises UnusableGrammar."""
        source = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), defaults=JSON_LAYOUT
        )
        return self._compiled(source)

    def for_lark(self, source: str) -> Grammar:
        """Return the grammar written as `source` in Lark; raises UnusableGrammar."""
        return self._compiled(llguidance.LLMatcher.grammar_from_lark(source))

    def _compiled(self, source: str) -> Grammar:
        matcher = llguidance.LLMatcher(self._vocabulary_once(), source, log_level=0)
        if matcher.is_error():
            raise UnusableGrammar(matcher.get_error())
        return Grammar(matcher)

    def _vocabulary_once(self) -> llguidance.LLTokenizer:
        # A second or two, which a worker that is never asked for JSON can do without.
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = llguidance.hf.from_tokenizer(
                    self._tokenizer, self._vocabulary_size
                )
            return self._vocabulary
