from datetime import timedelta

import pytest

from controller.durations import parse_duration, rough


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        (" 1h ", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_are_a_number_and_a_unit(text, duration):
    assert parse_duration(text) == duration


@pytest.mark.parametrize("wrong", ["", "1", "h", "1.5h", "-1h", "1w", "0s", "99999d"])
def test_anything_else_is_named(wrong):
    with pytest.raises(ValueError, match=repr(wrong)):
        parse_duration(wrong)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-2, "0 s"), (3.9, "3 s"), (60, "1 min"), (7_300, "2 h"), (400_000, "4 d")],
)
def test_durations_are_shown_in_their_largest_whole_unit(seconds, shown):
    assert rough(timedelta(seconds=seconds)) == shown
