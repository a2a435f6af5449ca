"""Texts that come in pieces: nothing forbidden goes out, and nothing waits too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.identity.caller import chat_caller
from controller.moderation.flags import FlagQueue
from controller.moderation.matching import Rule, RuleSet
from controller.moderation.reading import canonical
from controller.moderation.streaming import StreamedText
from controller.moderation.watch import Watch, find_spots, redacted
from tests.controller.moderation.test_matching import rule


def watch(*rules: Rule) -> Watch:
    return Watch(
        (RuleSet(rules),), "output", chat_caller(1), "m", "request", FlagQueue()
    )


def pieces_out(pieces: list[str], *rules: Rule) -> list[str]:
    """What goes out after each piece, and at the end."""
    text = StreamedText(watch(*rules))
    return [*(text.feed(piece) for piece in pieces), text.feed("", is_end=True)]


def test_a_term_in_pieces_is_redacted_and_what_precedes_it_does_not_wait():
    pieces = ["say fal", "con", "e", "t or falc", "on ", "now"]

    out = pieces_out(pieces, rule(terms=("falcon",)))

    assert out == ["say ", "[redacted]", "e", "t or ", "[redacted] ", "now", ""]


@pytest.mark.parametrize(
    ("begun", "pieces", "out"),
    [
        ("say fal", ["con", " now"], "[redacted] now"),
        ("say fal", ["low", " ground"], "low ground"),
        ("say falcon", [" and falcon"], " and [redacted]"),
        ("say", [" nothing"], " nothing"),
    ],
)
def test_what_begins_in_a_text_that_goes_on_is_redacted_from_there(begun, pieces, out):
    text = StreamedText(watch(rule(terms=("falcon",))), begun)

    seen = [text.feed(piece) for piece in pieces]

    assert "".join(seen) + text.feed("", is_end=True) == out


def test_a_term_that_another_begins_with_waits_for_it():
    out = pieces_out(["a fal", "con", "ry"], rule(terms=("falcon", "falconry")))

    assert out == ["a ", "", "[redacted]", ""]


def test_no_more_waits_than_the_longest_term():
    pieces = ["x", "aaa", "aaaa", "aab", "c"]

    text = StreamedText(watch(rule(terms=("aaaab",))))
    for piece in pieces:
        text.feed(piece)
        assert text.length - text.sent < len("aaaab")


def test_what_a_pattern_may_want_waits_for_it():
    out = pieces_out(["tel 555", "-01", "00 ", "ok"], rule(pattern=r"\b\d{3}-\d{4}\b"))

    assert "".join(out) == "tel [redacted] ok"
    assert out[0] == ""  # "tel 555" is shorter than the longest match


def test_a_word_boundary_waits_for_the_letter_behind():
    boundary = rule(pattern=r"\bfoo\b")

    assert "".join(pieces_out(["foo", "d foo", " x foo"], boundary)) == (
        "food [redacted] x [redacted]"
    )
    assert "".join(pieces_out(["a", "foo b"], boundary)) == "afoo b"


def test_a_whole_word_waits_for_the_letter_behind():
    word = rule(terms=("foo", "bar"), whole_words=True)

    assert pieces_out(["a foo", "d", " fo", "o", ", foo"], word) == [
        "a ",
        "food",
        " ",
        "",
        "[redacted], ",
        "[redacted]",
    ]


def test_blocking_lets_out_what_stands_before():
    text = StreamedText(watch(rule(action="block", terms=("falcon",))))

    out = text.feed("the fal") + text.feed("con flies")

    assert out == "the "
    assert text.blocked_by is not None


def test_an_accent_that_comes_late_does_not_save_a_term():
    out = "".join(pieces_out(["un caf", "e", "\u0301 noir"], rule(terms=("café",))))

    assert out == "un [redacted] noir"


def test_a_term_that_begins_with_an_accent_is_held_from_its_first_letter():
    assert pieces_out(["un \u00e9", "lan"], rule(terms=("\u00e9lan",))) == [
        "un ",
        "[redacted]",
        "",
    ]


def test_a_term_is_not_cut_in_two_by_a_pause():
    text = StreamedText(watch(rule(terms=("falcon",))))

    out = [text.feed("the fal"), text.pause(), text.feed("con"), text.feed(" flies")]

    assert out == ["the ", "fal", "[redacted]", " flies"]


def test_a_pause_within_no_term_changes_nothing():
    text = StreamedText(watch(rule(terms=("falcon",))))

    out = [text.feed("fal"), text.pause(), text.feed("se falcon"), text.pause()]

    assert out == ["", "fal", "se [redacted]", ""]


TERMS = st.text("abc", min_size=1, max_size=4)
PATTERNS = st.sampled_from([r"\bab\b", "a{2,3}", "b[ac]", "^a", "c$", "(a|ab)(c|bcd)?"])
PIECES = st.lists(st.text("abc ", max_size=6), max_size=12)
WORDS = st.booleans()
ACTIONS = st.sampled_from(["redact", "flag"])


@given(PIECES, st.lists(st.tuples(TERMS, ACTIONS, WORDS), max_size=3), PATTERNS)
def test_it_does_not_matter_where_a_text_is_cut(
    pieces: list[str], terms: list, pattern: str
):
    rules = [
        rule(number, action=action, terms=(term,), whole_words=whole_words)
        for number, (term, action, whole_words) in enumerate(terms)
    ]
    rules.append(rule(99, pattern=pattern))
    text = "".join(pieces)

    whole = redacted(text, find_spots((RuleSet(rules),), text))

    assert "".join(pieces_out(pieces, *rules)) == whole


@given(
    st.lists(st.text("ab\u200b\u0301éＡ炸", max_size=4), max_size=12),
    st.lists(st.text("abé炸", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_spelling_gets_a_term_out(pieces: list[str], terms: list[str]):
    out = "".join(pieces_out(pieces, rule(terms=tuple(terms))))

    assert all(canonical(term) not in part for term in terms for part in parts(out))


def parts(text: str) -> list[str]:
    """What stands between the marks, as rules read it."""
    return [canonical(part) for part in text.split("[redacted]")]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_long_text_is_not_kept(size: int):
    text = StreamedText(watch(rule(terms=("falcon",))))

    for _ in range(500):
        text.feed("no bird here "[:size])

    assert len(text._held) < 40
