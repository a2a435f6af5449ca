"""Words as token ids that are the same in every process, as engines of one model have.

The answer's own words and the directives can be told from their ids alone, so that
another mock engine goes on from token ids as it goes on from the text.
"""

import re
import zlib
from collections.abc import Sequence
from itertools import takewhile

from tests.mock_engine.behaviour import Behaviour

_ANSWER = re.compile(r"t(\d{1,8})")
_DIRECTIVE = re.compile(r"(\[\[)?([a-z_]+)=(\d{1,6})(\]\])?")
_FIELDS = Behaviour.__struct_fields__
_OPAQUE, _IS_DIRECTIVE = 1 << 29, 1 << 30
# The words of an answer at the end of a prompt, the last of them perhaps cut.
_BEGUN_ANSWER = re.compile(r"t0( t\d+)*( t?)?$|t$")


class Vocabulary:
    """Knows the words that it has seen; of others, answers and directives only."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}

    def tokens(self, text: str) -> list[int]:
        """Return one token id for each word."""
        ids = [_id_of(word) for word in text.split()]
        self._seen.update(zip(ids, text.split(), strict=True))
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """Return the words of these tokens; those that nobody knows are left out."""
        return " ".join(filter(None, map(self._word, tokens)))

    def _word(self, token: int) -> str:
        if token in self._seen:
            return self._seen[token]
        if token < _OPAQUE:
            return f"t{token}"
        if not token & _IS_DIRECTIVE:
            return ""
        name = _FIELDS[token >> 24 & 0x1F]
        opening, closing = token >> 23 & 1, token >> 22 & 1
        value = token & 0x3FFFFF
        return f"{'[[' * opening}{name}={value}{']]' * closing}"


def num_begun(tokens: Sequence[int]) -> int:
    """Return how many tokens of an answer these end with."""
    return len(list(takewhile(lambda token: token < _OPAQUE, reversed(tokens))))


def begun_answer(prompt: str) -> str:
    """Return the part of an answer that the text ends with."""
    found = _BEGUN_ANSWER.search(prompt)
    return found[0] if found else ""


def _id_of(word: str) -> int:
    if found := _ANSWER.fullmatch(word):
        return int(found[1])
    found = _DIRECTIVE.fullmatch(word)
    if found and found[2] in _FIELDS:
        flags = bool(found[1]) << 23 | bool(found[4]) << 22
        field = _FIELDS.index(found[2])
        return _IS_DIRECTIVE | field << 24 | flags | int(found[3])
    return _OPAQUE | zlib.crc32(word.encode()) & (_OPAQUE - 1)
