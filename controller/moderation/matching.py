"""Many rules matched as one set: all literal terms by one automaton, all patterns by
RE2 (`patterns.py`). Both take time linear in the text, whatever the rules are.

A set that is compiled never changes. Positions here are canonical (`reading.py`).
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, Implementation
from django.utils.translation import gettext as _

from controller.moderation.patterns import CannotMatch, PatternSet, compile_pattern
from controller.moderation.reading import canonical
from controller.moderation.widths import longest_match
from controller.moderation.words import is_whole

MAX_TERM_CHARS = 200
MAX_PATTERN_CHARS = 1000
# So much of a stream is held back, at most, to be sure that no pattern begins there.
MAX_STREAMED_MATCH = 256
BEGINNING_CHARS = 3

BLOCK, REDACT, FLAG = "block", "redact", "flag"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is known of a rule where it is matched."""

    id: int
    name: str
    category: str
    action: str
    priority: int
    terms: tuple[str, ...] = ()
    pattern: str = ""
    whole_words: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """Of several rules, whose name is told: the smallest priority, the oldest."""
        return self.priority, self.id


class Found(NamedTuple):
    start: int
    end: int
    rule: Rule


def check_term(term: str) -> None:
    """Raise `CannotMatch` for a term that is empty or too long."""
    if not canonical(term):
        words = _("%(term)s: nothing of it can be seen.")
        raise CannotMatch(words % {"term": repr(term)})
    if len(term) > MAX_TERM_CHARS:
        words = _(
            "“%(beginning)s…” has %(given)d characters, and a term has %(most)d at"
            " most. Use a shorter part of it."
        )
        raise CannotMatch(
            words % {"beginning": term[:40], "given": len(term), "most": MAX_TERM_CHARS}
        )


def check_pattern(pattern: str, is_streamed: bool) -> None:
    """Raise `CannotMatch` for what RE2 does not take, what matches nothing at all, and,
    if it is to be found in streams, what can match too much."""
    if len(pattern) > MAX_PATTERN_CHARS:
        words = _(
            "The pattern has %(given)d characters, and may have %(most)d. Make several"
            " rules of it."
        )
        raise CannotMatch(words % {"given": len(pattern), "most": MAX_PATTERN_CHARS})
    regex = compile_pattern(pattern)
    if regex.search("") or longest_match(pattern) == 0:
        words = _(
            "%(pattern)s: it matches the empty text, which is in every text. Demand one"
            " character at least, by + in place of * for instance."
        )
        raise CannotMatch(words % {"pattern": pattern})
    for char in pattern:
        if not char.isascii() and canonical(char) != char.lower():
            words = _(
                "%(pattern)s: %(char)s never stands in a text as rules read it. Write"
                " %(instead)s."
            )
            chars = {"char": repr(char), "instead": repr(canonical(char))}
            raise CannotMatch(words % {"pattern": pattern, **chars})
    longest = longest_match(pattern)
    if is_streamed and longest > MAX_STREAMED_MATCH:
        length = _("any length") if longest == float("inf") else f"{longest:.0f}"
        words = _(
            "%(pattern)s: it can match text of %(length)s characters, and an answer"
            " that streams is held back for %(most)d at most. Limit its repetitions,"
            " such as {1,40} in place of +, or use it for input alone."
        )
        bounds = {"length": length, "most": MAX_STREAMED_MATCH}
        raise CannotMatch(words % {"pattern": pattern, **bounds})


class RuleSet:
    """Rules that hold for the same requests, compiled."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.order))
        self.acts = any(rule.action != FLAG for rule in self.rules)
        self._terms = _Terms(self.rules)
        self._patterns = _Patterns([rule for rule in self.rules if rule.pattern])

    def find(
        self, text: str, since: int = 0, resumes: dict[int, int] | None = None
    ) -> Iterator[Found]:
        """Every match in a canonical text that starts at or behind `since`, in no
        order. Matches of one pattern do not overlap: `resumes` says, by a rule's id,
        where its last one ended."""
        yield from self._terms.find(text, since)
        yield from self._patterns.find(text, since, resumes or {})

    def settled(self, text: str) -> int:
        """What starts before this is a match already, or none whatever follows."""
        return min(self._terms.settled(text), self._patterns.settled(text))


class _Terms:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules_of: dict[str, tuple[Rule, ...]] = {}
        for rule in rules:
            for term in dict.fromkeys(map(canonical, rule.terms)):
                self._rules_of[term] = (*self._rules_of.get(term, ()), rule)
        self._owners = list(self._rules_of.values())
        self._automaton = AhoCorasick(
            self._rules_of, implementation=Implementation.ContiguousNFA
        )
        # Decomposed: to an "e" at the end of a text an accent may yet come.
        self._sorted = sorted(map(_decomposed, self._rules_of))
        # Of these the letter behind must have come: they may be part of a word.
        self._words = frozenset(
            _decomposed(term)
            for term, owners in self._rules_of.items()
            if any(rule.whole_words for rule in owners)
        )
        self._longest = max(map(len, self._sorted), default=0)
        self._beginnings = frozenset(
            term[:length]
            for term in self._sorted
            for length in range(1, BEGINNING_CHARS + 1)
        )

    def find(self, text: str, since: int) -> Iterator[Found]:
        if not self._owners:
            return
        matches = self._automaton.find_matches_as_indexes(text, overlapping=True)
        for index, start, end in matches:
            if start >= since:
                for rule in self._owners[index]:
                    if not rule.whole_words or is_whole(text, start, end):
                        yield Found(start, end, rule)

    def settled(self, text: str) -> int:
        """Where the longest end of the text begins that a term begins with."""
        if not self._owners:
            return len(text)
        tail = text[-self._longest :]
        decomposed = _decomposed(tail)
        for start in range(len(decomposed)):
            is_near = decomposed[start : start + BEGINNING_CHARS] in self._beginnings
            if is_near and self._is_beginning(decomposed[start:]):
                return len(text) - len(tail) + _composed_offset(tail, start)
        return len(text)

    def _is_beginning(self, end: str) -> bool:
        at = bisect_left(self._sorted, end)
        if at < len(self._sorted) and self._sorted[at] == end:
            if end in self._words:
                return True
            at += 1  # the whole of a term: may it go on as another?
        return at < len(self._sorted) and self._sorted[at].startswith(end)


class _Patterns:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._regexes = [compile_pattern(rule.pattern) for rule in rules]
        self._longest = max((longest_match(rule.pattern) for rule in rules), default=0)
        self._set = PatternSet([rule.pattern for rule in rules])

    def find(self, text: str, since: int, resumes: dict[int, int]) -> Iterator[Found]:
        for number in self._set.matching(text):
            rule = self._rules[number]
            begin = max(since, resumes.get(rule.id, 0))
            for match in self._regexes[number].finditer(text, begin):
                if match.end() > match.start():
                    yield Found(match.start(), match.end(), rule)

    def settled(self, text: str) -> int:
        """So far from the end that a match, and the one character behind it that word
        boundaries look at, are there."""
        if not self._rules:
            return len(text)
        return max(0, len(text) - int(min(self._longest, len(text))))


def _decomposed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def _composed_offset(text: str, offset: int) -> int:
    """Which character of the text has this offset once the text is decomposed."""
    if text.isascii():
        return offset
    decomposed_length = 0
    for at, char in enumerate(text):
        decomposed_length += len(unicodedata.normalize("NFD", char))
        if decomposed_length > offset:
            return at
    return len(text)
