from collections.abc import Sequence

import pytest

from workers.transformers_engine.stop_strings import StopStrings


def shown(stops: Sequence[str], pieces: Sequence[str]) -> tuple[list[str], bool]:
    """Return what is shown after each piece, and whether a stop string was met."""
    strings = StopStrings(stops)
    texts = []
    for piece in pieces:
        text, met = strings.feed(piece)
        texts.append(text)
        if met:
            return texts, True
    return [*texts, strings.rest()], False


def test_a_stop_string_across_tokens_is_never_shown() -> None:
    assert shown(["###"], ["a#", "#", "#b"]) == (["a", "", ""], True)


def test_what_only_looked_like_a_stop_string_is_shown_after_all() -> None:
    assert shown(["###"], ["a##", "b"]) == (["a", "##b", ""], False)


def test_a_beginning_left_at_the_end_is_shown() -> None:
    assert shown(["###"], ["a##"]) == (["a", "##"], False)


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert shown(["world", "lo"], ["hello world"]) == (["hel"], True)


def test_a_restarted_beginning_is_found() -> None:
    assert shown(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", ""], True)


@pytest.mark.parametrize("stops", [[], [""]])
def test_without_stop_strings_nothing_is_held_back(stops: list[str]) -> None:
    assert shown(stops, ["a", "b"]) == (["a", "b", ""], False)
