"""Many patterns looked for as one, by RE2: in time linear in the text, whatever they
are, and as fast in the first text as in the thousandth.

RE2 builds an automaton while it reads. One of hundreds of patterns takes milliseconds
until it has seen what people write; so a pattern is only tried, by itself, on texts
with a literal that its matches must have (FilteredRE2). Only patterns without such a
literal, numbers for instance, are an automaton together.
"""

import logging
from collections.abc import Sequence

import re2
from django.utils.translation import gettext as _

logger = logging.getLogger(__name__)

# Of one compiled pattern, and of a whole set; RE2's own is 8 MiB.
PATTERN_BYTES = 4 * 2**20
SET_BYTES = 64 * 2**20
# Where the literals of more patterns are in a text, all are looked for together.
MAX_TRIED = 32
# By this text, which is in no other, a set is seen to match what is in it.
SENTINEL = "\x00sentinel\x00"


class CannotMatch(ValueError):
    """A term or pattern that no rule can have, in words for whoever wrote it."""


def compile_pattern(pattern: str) -> "re2._Regexp":
    """The pattern, in any case. Raises `CannotMatch` with RE2's reason."""
    try:
        return re2.compile(pattern, _options(PATTERN_BYTES))
    except re2.error as exc:
        reason = exc.args[0]
        given = reason.decode() if isinstance(reason, bytes) else str(reason)
        words = _(
            "%(pattern)s: %(reason)s. Patterns are RE2's, which knows no lookaround and"
            " no backreferences."
        )
        raise CannotMatch(words % {"pattern": pattern, "reason": given}) from exc


class PatternSet:
    """Which of these patterns are in a text. Does not change once it is made."""

    def __init__(self, patterns: Sequence[str]) -> None:
        everything = range(len(patterns))
        bare = set(_filter_of(patterns).Match("", potential=True) or ())
        keyed = [number for number in everything if number not in bare]
        self._keyed = _Keyed(patterns, keyed)
        self._bare = _Joint(patterns, sorted(bare))
        # What the first two say too, for texts that are full of literals.
        self._all = _Joint(patterns, everything)

    def matching(self, text: str) -> Sequence[int]:
        """The numbers of the patterns that are in the text, and perhaps of others: it
        is for the caller to look where."""
        tried = self._keyed.worth_trying(text)
        if len(tried) > MAX_TRIED:
            return self._all.matching(text)
        return [*tried, *self._bare.matching(text)]


class _Keyed:
    """Patterns that have literals, and which of them are worth trying on a text."""

    def __init__(self, patterns: Sequence[str], numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._filter = _filter_of([patterns[number] for number in numbers])
        self._works = len(numbers) in self._worth_trying(SENTINEL)

    def worth_trying(self, text: str) -> Sequence[int]:
        if not self._works:
            return self._numbers
        return [
            self._numbers[place]
            for place in self._worth_trying(text)
            if place < len(self._numbers)
        ]

    def _worth_trying(self, text: str) -> Sequence[int]:
        return self._filter.Match(text, potential=True) or ()


class _Joint:
    """Patterns that are one automaton; tried one by one if it is too large."""

    def __init__(self, patterns: Sequence[str], numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._set = re2.Set.SearchSet(_options(SET_BYTES))
        for number in numbers:
            self._set.Add(patterns[number])
        self._sentinel = self._set.Add(re2.escape(SENTINEL))
        self._works = self._compile()
        if not self._works:
            logger.warning(
                "%d moderation patterns are too large to be matched as one, and are"
                " matched one by one, which takes longer: make them smaller",
                len(numbers),
            )

    def _compile(self) -> bool:
        """Whether the set has room to work: one that has none says "no match"."""
        try:
            self._set.Compile()
        except re2.error:
            return False
        return self._sentinel in (self._set.Match(SENTINEL) or ())

    def matching(self, text: str) -> Sequence[int]:
        if not self._numbers or not self._works:
            return self._numbers
        return [
            self._numbers[place]
            for place in self._set.Match(text) or ()
            if place != self._sentinel
        ]


def _filter_of(patterns: Sequence[str]) -> re2.Filter:
    """These patterns by their literals, and the sentinel behind them."""
    found = re2.Filter()
    for pattern in [*patterns, re2.escape(SENTINEL)]:
        found.Add(pattern, _options(PATTERN_BYTES))
    found.Compile()
    return found


def _options(max_bytes: int) -> re2.Options:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = max_bytes
    return options
