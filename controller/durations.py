"""Durations as operators type them: `30s`, `10m`, `1h`, `7d`."""

import re
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """The duration, longer than nothing and at most a hundred years.

    Raises ValueError, with the words to show, for anything else.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no duration: write 30s, 10m, 1h or 7d.")
    duration = timedelta(**{UNITS[match[2]]: int(match[1])})
    if not timedelta(0) < duration <= LONGEST:
        raise ValueError(f"{text!r} is out of range: more than 0, at most 36500d.")
    return duration


def rough(duration: timedelta) -> str:
    """The duration in its largest whole unit, such as `3 s`, `5 min`, `2 h`, `4 d`."""
    seconds = max(0, int(duration.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
