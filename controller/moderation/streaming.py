"""A text that comes in pieces, let out as soon as no rule can want it any more.

What is found and let out does not depend on where the pieces were cut.
"""

from typing import NamedTuple

from controller.moderation.matching import BLOCK, REDACT, Rule
from controller.moderation.reading import Reading
from controller.moderation.watch import MARK, Spot, Watch

# Kept before what is looked at: a match may ask what stands before it.
CONTEXT_CHARS = 8


class Range(NamedTuple):
    """Characters of the whole text, counted from its beginning."""

    start: int
    end: int

    def meets(self, other: "Range") -> bool:
        return self.start < other.end and other.start < self.end


class StreamedText:
    """Positions are of the whole text; of it, what `base` and all behind is held.

    What the text goes on from, `begun`, is out already: a match that begins there is
    redacted from where the new text begins, or blocks it.
    """

    def __init__(self, watch: Watch, begun: str = "") -> None:
        self._watch = watch
        self._held = begun
        self._base = 0
        reading = Reading(begun)
        self._decided = reading.begin(self._settled(reading))
        """Every match that starts before this has been seen to."""
        self._pattern_ends: dict[int, int] = {}
        self.sent = len(begun)
        """What stands before this is out, or gone."""
        self._released = len(begun) or -1
        """Where the text was that was let out before it was clear what it begins."""
        self.redactions: list[Range] = []
        self.blocked_by: Rule | None = None

    @property
    def length(self) -> int:
        """Of all that came so far."""
        return self._base + len(self._held)

    @property
    def holds(self) -> bool:
        return self.sent < self.length

    def feed(self, text: str, is_end: bool = False) -> str:
        """What may go out now that this came too; at the end, all that may.

        Where a rule blocks it is what stands before its match, and `blocked_by` is set.
        """
        self._held += text
        reading = Reading(self._held)
        decided = len(reading.canonical)
        if not is_end:
            decided = self._settled(reading)
        out = self._see_to_all(reading, decided)
        if self.blocked_by is not None:
            return out
        self._decided = self._base + reading.begin(decided)
        out += self._let_out(self._decided)
        self._forget()
        return out

    def _settled(self, reading: Reading) -> int:
        """Before this no match begins that is not sure by now, in canonical text."""
        settled = (each.settled(reading.canonical) for each in self._watch.sets)
        return min(settled, default=len(reading.canonical))

    def pause(self) -> str:
        """All that may go out as the choice goes on with a call or a thought.

        Should this text go on after all, a match that began here is still found: what
        of it is not out by now is redacted, or blocks.
        """
        reading = Reading(self._held)
        out = self._see_to_all(reading, len(reading.canonical))
        if self.blocked_by is None:
            out += self._let_out(self.length)
            self._released = self.sent
        return out

    def _see_to_all(self, reading: Reading, decided: int) -> str:
        out = ""
        for spot in self._spots(reading, decided):
            self._watch.note(self._held, spot)
            out += self._see_to(spot)
            if self.blocked_by is not None:
                break
        return out

    def _spots(self, reading: Reading, decided: int) -> list[Spot]:
        """The matches that are sure by now and have not been seen to."""
        since = reading.offset(self._decided - self._base)
        ends = {
            rule_id: reading.offset(end - self._base)
            for rule_id, end in self._pattern_ends.items()
            if end > self._decided
        }
        spots = []
        for rules in self._watch.sets:
            for found in rules.find(reading.canonical, since, ends):
                if found.start < decided:
                    spot = Spot(*reading.span(found.start, found.end), found.rule)
                    spots.append(spot)
                    if found.rule.pattern:
                        self._pattern_ends[found.rule.id] = self._base + spot.end
        spots.sort(key=lambda spot: (spot.start, spot.rule.action != BLOCK))
        return spots

    def _see_to(self, spot: Spot) -> str:
        start, end = self._base + spot.start, self._base + spot.end
        if spot.rule.action == BLOCK:
            self.blocked_by = spot.rule
            return self._let_out(start)
        if spot.rule.action != REDACT:
            return ""
        is_begun = self.sent == self._released and end > self.sent
        out = ""
        if start >= self.sent or is_begun:
            out = self._let_out(start) + MARK
        self.sent = max(self.sent, end)
        self.redactions.append(Range(start, end))
        return out

    def _let_out(self, until: int) -> str:
        out = self._held[self.sent - self._base : max(0, until - self._base)]
        self.sent = max(self.sent, until)
        return out

    def _forget(self) -> None:
        keep = min(self.sent, self._decided) - CONTEXT_CHARS
        if keep > self._base:
            self._held = self._held[keep - self._base :]
            self._base = keep
