"""Durations as operators type them: `30s`, `10m`, `1h`, `7d`."""

import re
from datetime import timedelta

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=36_500)
# (seconds in it, how so many of it are written), the largest first.
ROUGH = (
    (86_400, gettext_lazy("%d d")),
    (3_600, gettext_lazy("%d h")),
    (60, gettext_lazy("%d min")),
    (1, gettext_lazy("%d s")),
)


def parse_duration(text: str) -> timedelta:
    """The duration, longer than nothing and at most a hundred years.

    Raises ValueError, with the words to show, for anything else.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if not match:
        words = _("%(text)s is no duration: write 30s, 10m, 1h or 7d.")
        raise ValueError(words % {"text": repr(text)})
    duration = timedelta(**{UNITS[match[2]]: int(match[1])})
    if not timedelta(0) < duration <= LONGEST:
        words = _("%(text)s is out of range: more than 0, at most 36500d.")
        raise ValueError(words % {"text": repr(text)})
    return duration


def rough(duration: timedelta) -> str:
    """The duration in its largest whole unit, such as `3 s`, `5 min`, `2 h`, `4 d`."""
    seconds = max(0, int(duration.total_seconds()))
    size, words = next((each for each in ROUGH if seconds >= each[0]), ROUGH[-1])
    return str(words) % (seconds // size)
