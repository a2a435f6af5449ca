"""What rules find in texts, however they are written, and which rules there can be."""

import math
import time
from itertools import pairwise

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from controller.moderation.matching import (
    MAX_STREAMED_MATCH,
    Rule,
    RuleSet,
    check_pattern,
    check_term,
)
from controller.moderation.patterns import MAX_TRIED, CannotMatch, PatternSet
from controller.moderation.reading import Reading, canonical
from controller.moderation.watch import find_spots, redacted
from controller.moderation.widths import longest_match


def rule(number: int = 1, action: str = "redact", **fields) -> Rule:
    values = {"name": f"rule {number}", "category": "c", "priority": 100}
    return Rule(id=number, action=action, **values | fields)


def found(text: str, *rules: Rule) -> list[str]:
    """The parts of the text that are found, as they are written."""
    spots = find_spots((RuleSet(rules),), text)
    return [text[spot.start : spot.end] for spot in spots]


@pytest.mark.parametrize(
    ("term", "text", "part"),
    [
        ("Falcon", "project FALCON-9", "FALCON"),
        ("falcon", "ｆａｌｃｏｎ", "ｆａｌｃｏｎ"),
        ("falcon", "fal\u200bcon!", "fal\u200bcon"),
        ("falcon", "f\u00ada\u2060l\ufe0fcon!", "f\u00ada\u2060l\ufe0fcon"),
        ("café", "le cafe\u0301 noir", "cafe\u0301"),
        ("cafe\u0301", "le café noir", "café"),
        ("office", "the oﬃce", "oﬃce"),
        ("strasse", "die Straße", "Straße"),
        ("炸弹", "他说炸弹在这里", "炸弹"),
        ("ガス", "半角ｶﾞｽです", "ｶﾞｽ"),
        ("가나", "한글 가나다", "가나"),
    ],
)
def test_a_term_is_found_however_it_is_written(term: str, text: str, part: str):
    assert found(text, rule(terms=(term,))) == [part]


@pytest.mark.parametrize(
    ("term", "text", "is_found"),
    [
        ("ass", "an ass.", True),
        ("ass", "a class", False),
        ("ass", "assess", False),
        ("ass", "ass_2", False),
        ("ass", "ASS\u200b", True),
        ("ass", "a\u200bss e", True),
        ("falcon", "用falcon吧", True),
        ("炸弹", "他说炸弹在这里", True),
        ("ガス", "プロパンガスです", True),
        ("ระเบิด", "มีระเบิดอยู่", True),
        ("서울", "서울은 크다", True),
        ("서울", "새서울", False),
        ("год", "народ", False),
        ("год", "новый год!", True),
        ("क", "कि", False),
        ("c++", "in c++11", True),
    ],
)
def test_whole_words_are_looked_for_where_a_script_has_words(
    term: str, text: str, is_found: bool
):
    assert bool(found(text, rule(terms=(term,), whole_words=True))) == is_found


def test_patterns_and_terms_of_many_rules_are_found_together():
    rules = [
        rule(1, terms=("alpha", "beta")),
        rule(2, pattern=r"\b\d{3}-\d{4}\b"),
        rule(3, pattern=r"ACME-\w{2,5}", terms=()),
    ]

    assert found("Alpha calls 555-0100 of acme-x1", *rules) == [
        "Alpha",
        "555-0100",
        "acme-x1",
    ]


def test_overlapping_matches_are_redacted_together():
    spots = find_spots((RuleSet([rule(terms=("abcd", "cdef"))]),), "xabcdefx cdef")

    assert redacted("xabcdefx cdef", spots) == "x[redacted]x [redacted]"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_the_way_back_is_that_of_the_canonical_text(text: str):
    """NFKC of the whole is that of its clusters, one after another: else positions
    would drift."""
    reading = Reading(text)

    reading.offset(0)
    begins = pairwise(reading._begins)
    clusters = [canonical(text[begin:end]) for begin, end in begins]
    assert reading._is_plain or "".join(clusters) == reading.canonical


def test_a_flood_of_marks_is_read_in_linear_time():
    text = "a" + "\u0301\u0323" * 200_000 + " falcon"

    begun_at = time.process_time()
    assert found(text, rule(terms=("falcon",))) == ["falcon"]
    assert time.process_time() - begun_at < 5  # 160 s where each pair is sorted


# -- Rules that cannot be --------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing"),
        (r"(?=x)y", "no lookaround"),
        (r"(a)\1", "no backreferences"),
        ("a*", "empty text"),
        ("|b", "empty text"),
        (r"\b", "empty text"),
        ("straß+e", "Write 'ss'"),
        ("a{2000}", "repetition"),
        ("x" * 1001, "may have 1000"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_with_the_reason(pattern: str, reason: str):
    with pytest.raises(CannotMatch, match=reason):
        check_pattern(pattern, is_streamed=False)


def test_what_can_match_without_end_is_for_input_alone():
    check_pattern(r"key-\w+", is_streamed=False)
    check_pattern(r"key-\w{1,40}", is_streamed=True)

    with pytest.raises(CannotMatch, match="any length"):
        check_pattern(r"key-\w+", is_streamed=True)
    with pytest.raises(CannotMatch, match="257 characters"):
        check_pattern(f"x{{{MAX_STREAMED_MATCH + 1}}}", is_streamed=True)


@pytest.mark.parametrize("term", ["\u200b", "\ufe0f\u200d", "x" * 201])
def test_a_term_that_cannot_be_is_refused(term: str):
    with pytest.raises(CannotMatch):
        check_term(term)


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("abc", 3),
        (r"\bab?\b$", 2),
        (r"a|bcd|ef", 3),
        (r"(?i)(?:ab|c){2,3}x", 7),
        (r"(?P<name>[a-z\]]{4})", 4),
        (r"[]a]{2}[^\]]", 3),
        (r"[[:alpha:]_]{3}\p{Han}\pN\x{4e2d}\x41\n", 8),
        (r"\Qa.b{9}\E{2}", 12),
        (r"a{,3}", 5),
        (r"(a{2}){3}?", 6),
        ("a+", math.inf),
        ("(ab*)?", math.inf),
        ("a{3,}", math.inf),
    ],
)
def test_the_longest_match_of_a_pattern_is_known(pattern: str, longest: float):
    assert longest_match(pattern) == longest


ATOMS = st.sampled_from(
    ["a", "b", ".", r"\d", "[ab]", "[^a]", "(a|bc)", "(?:ab)", r"\b", "^"]
)
REPEATS = st.sampled_from(["", "?", "{2}", "{1,3}", "{0,2}?"])


@given(
    st.lists(st.tuples(ATOMS, REPEATS), min_size=1, max_size=6),
    st.text("ab1 ", max_size=40),
)
def test_no_match_is_longer_than_the_longest(parts: list, text: str):
    pattern = "".join(map("".join, parts))

    lengths = [end - start for start, end in spans(pattern, text)]

    assert max(lengths, default=0) <= longest_match(pattern)


def spans(pattern: str, text: str) -> list[tuple[int, int]]:
    options = re2.Options()
    options.log_errors = False
    options.longest_match = True
    try:
        regex = re2.compile(pattern, options)
    except re2.error:  # such as a repeated \b
        return []
    return [match.span() for match in regex.finditer(text)]


SOME_PATTERNS = [
    r"abc\d{1,3}",
    r"\d{3}-\d{4}",
    r"(?:ab|cd)\s?e",
    "école",
    "炸弹",
    r"k\d",
    r"x[^y]z",
    ".{2}q",
]


@given(
    st.lists(st.sampled_from(SOME_PATTERNS), max_size=8),
    st.text("abcdekqxyz0123-é炸弹 ", max_size=40) | st.sampled_from(["abc555-0123"]),
)
def test_no_pattern_that_matches_is_passed_over(patterns: list[str], text: str):
    matching = PatternSet(patterns).matching(text)

    for number, pattern in enumerate(patterns):
        assert number in matching or not re2.search(pattern, text)


def test_a_text_full_of_literals_is_read_once_for_all_patterns():
    patterns = [rf"word{number}x\d" for number in range(MAX_TRIED * 2)]
    text = " ".join(f"word{number}x" for number in range(MAX_TRIED * 2)) + "7"

    assert list(PatternSet(patterns).matching(text)) == [MAX_TRIED * 2 - 1]


def test_patterns_too_large_for_one_set_are_matched_one_by_one(monkeypatch, caplog):
    monkeypatch.setattr("controller.moderation.patterns.SET_BYTES", 2000)

    rules = [rule(number, pattern=rf"x{number}y{{1,9}}z") for number in range(50)]

    assert found("x7yyyz", *rules) == ["x7yyyz"]
    assert "one by one" in caplog.text
