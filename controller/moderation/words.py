"""Where words begin and end, in scripts that part them by spaces.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan run words together: a term of
theirs is whole wherever it stands. Korean parts words, and hangs particles on their
ends. Between two scripts there is a boundary too: 用falcon吧 has the word falcon.
"""

import re
import unicodedata

# Scripts without word breaks: line breaking class SA of UAX #14, and the East Asian
# scripts that UAX #29 leaves to dictionaries.
_RUN_TOGETHER = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1980-\u19df\u1a20-\u1aaf"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u3100-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\uaa80-\uaadf\uf900-\ufaff\U00020000-\U0003ffff]"
)
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")


def is_whole(text: str, start: int, end: int) -> bool:
    """Whether what stands there in the text is no part of a longer word."""
    return not _goes_on_before(text, start) and not _goes_on_behind(text, end)


def _goes_on_before(text: str, start: int) -> bool:
    return start > 0 and _are_one_word(text[start - 1], text[start])


def _goes_on_behind(text: str, end: int) -> bool:
    if end >= len(text) or _HANGUL.match(text[end - 1]):
        return False
    return _are_one_word(text[end - 1], text[end])


def _are_one_word(before: str, behind: str) -> bool:
    return _is_of_a_word(before) and _is_of_a_word(behind)


def _is_of_a_word(char: str) -> bool:
    is_of_one = unicodedata.category(char)[0] in "LMN" or char == "_"
    return is_of_one and not _RUN_TOGETHER.match(char)
