"""How long a match of a pattern can get, which RE2 does not tell.

Reads RE2's syntax (https://github.com/google/re2/wiki/Syntax) of a pattern that RE2 has
taken: what is wrong with a pattern is RE2's to say, so this may be lenient. A part that
it does not know counts as a character, as nearly every escape does.
"""

import math
import re

UNBOUNDED = math.inf

_REPEAT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_GROUP = re.compile(r"\?(?:P?<\w+>|([a-zA-Z-]*)([:)]))")
_ESCAPE = re.compile(
    r"\\(?:[pP](?:\{[^}]*\}|.)|x(?:\{[^}]*\}|..)|[0-7]{1,3}|.)", re.DOTALL
)
_EMPTY = frozenset({r"\A", r"\b", r"\B", r"\z"})
# Under (?i) RE2 lets one character match one; so a character is always one long.


def longest_match(pattern: str) -> float:
    """The most characters that a match can have; `UNBOUNDED` if nothing limits it."""
    return _Walk(pattern).alternatives()


class _Walk:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> float:
        """The longest of what stands between bars, up to a bracket or the end."""
        longest = self._sequence()
        while self._peek() == "|":
            self._at += 1
            longest = max(longest, self._sequence())
        return longest

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _sequence(self) -> float:
        total = 0.0
        while (char := self._peek()) and char not in "|)":
            width = self._atom(char)
            total += self._repeated(width)
        return total

    def _atom(self, char: str) -> float:
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        self._at += 1
        return 0 if char in "^$" else 1

    def _group(self) -> float:
        self._at += 1
        if found := _GROUP.match(self._pattern, self._at):
            self._at = found.end()
            if found.group(2) == ")":  # flags alone, such as (?s)
                return 0
        width = self.alternatives()
        self._at += 1
        return width

    def _class(self) -> float:
        at = self._at + 1
        if self._pattern[at : at + 1] == "^":
            at += 1
        first = at
        while self._pattern[at : at + 1] not in {"]", ""} or at == first:
            if self._pattern.startswith("[:", at):
                at = self._pattern.find(":]", at) + 1
            elif self._pattern[at] == "\\":
                found = _ESCAPE.match(self._pattern, at)
                at = found.end() - 1 if found else at
            at += 1
        self._at = at + 1
        return 1

    def _escape(self) -> float:
        if self._pattern.startswith(r"\Q", self._at):
            begin = self._at + 2
            end = self._pattern.find(r"\E", begin)
            end = len(self._pattern) if end < 0 else end
            self._at = end + 2
            return end - begin
        found = _ESCAPE.match(self._pattern, self._at)
        self._at = found.end() if found else self._at + 1
        return 0 if found and found.group() in _EMPTY else 1

    def _repeated(self, width: float) -> float:
        """The width with the repetitions behind it, which RE2 lets stack up."""
        while (char := self._peek()) and char in "*+?{":
            if char == "{":
                found = _REPEAT.match(self._pattern, self._at)
                if found is None:
                    break
                self._at = found.end()
                least, comma, most = found.groups()
                times = float(most or (UNBOUNDED if comma else least))
            else:
                self._at += 1
                times = 1 if char == "?" else UNBOUNDED
            if self._peek() == "?":  # as few as possible: no longer than others
                self._at += 1
            width = width * times if width and times else 0
        return width
