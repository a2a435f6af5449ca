"""Text as rules read it: in one case, in one spelling, without what nobody sees.

NFKC makes one of full-width and usual letters, of ligatures and of composed and
decomposed accents (UAX #15); then case is folded, and what Unicode calls default
ignorable (zero-width characters, soft hyphens, variation selectors) is left out. What
is found is told in positions of the text as it was written.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

# Default_Ignorable_Code_Point, DerivedCoreProperties.txt of Unicode 15.
IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


# Longer runs of marks stand in no language, and take normalization quadratic time; so
# much of one is read (UAX #15, Stream-Safe Text Format).
MAX_MARKS = 30
MAX_CACHED_CHARS = 8


# Characters that are but marks. A set, since `re` takes long over a class of so many.
_MARKS = frozenset(
    char
    for char in map(chr, range(0x300, 0x1F000))
    if all(map(unicodedata.combining, unicodedata.normalize("NFKD", char)))
)


def canonical(text: str) -> str:
    """The text as rules read it. Takes time linear in its length."""
    if text.isascii():
        return text.lower()
    seen = IGNORED.sub("", text)
    if not _MARKS.isdisjoint(seen):
        seen = "".join(_with_few_marks(seen))
    return unicodedata.normalize("NFKC", seen).casefold()


def _with_few_marks(text: str) -> Iterator[str]:
    num_marks = 0
    for char in text:
        num_marks = num_marks + 1 if char in _MARKS else 0
        if num_marks <= MAX_MARKS:
            yield char


@lru_cache(maxsize=16_384)
def extends(char: str) -> bool:
    """Whether it may become one character with what stands before it, or vanishes."""
    if char.isascii():
        return False
    first = unicodedata.normalize("NFKD", char)[0]
    return (
        unicodedata.category(first).startswith("M")
        or "\u1161" <= first <= "\u1175"  # Hangul: a vowel, or a final consonant
        or "\u11a8" <= first <= "\u11c2"
        or IGNORED.match(char) is not None
    )


class Reading:
    """A text, what rules read of it, and the way back.

    The way back is only worked out when it is asked for: nearly no text has a match.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.canonical = canonical(text)
        self._is_plain = len(self.canonical) == len(text) and text.isascii()
        self._begins: list[int] = []
        """Where each cluster begins in the text; at last, where the text ends."""
        self._offsets: list[int] = []
        """The same in the canonical text."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where canonical characters `start` to `end` stand in the text, whole."""
        if self._is_plain:
            return start, end
        self._find_clusters()
        last = bisect_right(self._offsets, end - 1) - 1
        return self.begin(start), self._begins[last + 1]

    def begin(self, offset: int) -> int:
        """Where in the text the character begins that has this canonical offset; the
        text's length for its end."""
        if self._is_plain:
            return offset
        if offset >= len(self.canonical):
            return len(self.text)
        self._find_clusters()
        return self._begins[bisect_right(self._offsets, offset) - 1]

    def offset(self, begin: int) -> int:
        """The canonical offset of what begins at or after `begin` in the text."""
        if self._is_plain:
            return begin
        self._find_clusters()
        at = bisect_right(self._begins, begin - 1)
        return self._offsets[min(at, len(self._offsets) - 1)]

    def _find_clusters(self) -> None:
        if self._begins:
            return
        begins, offsets, offset = self._begins, self._offsets, 0
        for begin, end in _clusters(self.text):
            cluster = self.text[begin:end]
            if cluster.isascii():  # several, each of one character
                begins.extend(range(begin, end))
                offsets.extend(range(offset, offset + end - begin))
                offset += end - begin
                continue
            begins.append(begin)
            offsets.append(offset)
            offset += _canonical_length(cluster)
        begins.append(len(self.text))
        offsets.append(offset)


_RUN = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]")


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each character with all that extends it; of a run of ASCII as
    one."""
    begin = 0
    for run in _RUN.finditer(text):
        start = run.start()
        if start and extends(text[start]):
            if text[start - 1].isascii() and begin < start - 1:
                yield begin, start - 1
                begin = start - 1
            continue
        if start:
            yield begin, start
        begin = start
    if text:
        yield begin, len(text)


def _canonical_length(cluster: str) -> int:
    if len(cluster) > MAX_CACHED_CHARS:
        return len(canonical(cluster))
    return _short_canonical_length(cluster)


@lru_cache(maxsize=16_384)
def _short_canonical_length(cluster: str) -> int:
    return len(canonical(cluster))
