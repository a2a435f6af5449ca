"""What is watched for in one request and direction, and what was found in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.identity.caller import Caller
from controller.moderation.flags import Flag, FlagQueue, excerpt
from controller.moderation.matching import REDACT, Rule, RuleSet
from controller.moderation.reading import Reading

MARK = "[redacted]"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a text a rule has matched."""

    start: int
    end: int
    rule: Rule


@dataclass(slots=True)
class Watch:
    """The rules that hold, and who is noted, once a rule, when one of them matches."""

    sets: tuple[RuleSet, ...]
    direction: str
    caller: Caller
    model: str
    request_id: str
    flags: FlagQueue
    _noted: set[int] = field(default_factory=set)

    def note(self, text: str, spot: Spot) -> None:
        """Have it written down that this was found."""
        if spot.rule.id in self._noted:
            return
        self._noted.add(spot.rule.id)
        caller = self.caller
        self.flags.add(
            Flag(
                request_id=self.request_id,
                face=caller.face,
                model=self.model,
                user_id=caller.user_id,
                key_id=caller.key_id,
                team_id=caller.team_id,
                direction=self.direction,
                rule=spot.rule,
                excerpt=excerpt(text, spot.start, spot.end),
            )
        )


def find_spots(sets: tuple[RuleSet, ...], text: str) -> list[Spot]:
    """All matches in a text that is whole, the first first."""
    reading = Reading(text)
    found = [each for rules in sets for each in rules.find(reading.canonical)]
    spots = [Spot(*reading.span(each.start, each.end), each.rule) for each in found]
    spots.sort(key=lambda spot: (spot.start, spot.end))
    return spots


def redacted(text: str, spots: list[Spot], begin: int = 0) -> str:
    """The text with a mark in place of what is to be redacted; `spots` are sorted.

    Matches that overlap have one mark together. Their positions are those of a longer
    text if this one is the part of it at `begin`; a match that began in an earlier part
    has its mark there.
    """
    return "".join(_pieces(text, spots, begin))


def _pieces(text: str, spots: list[Spot], begin: int) -> Iterator[str]:
    at, end = begin, begin + len(text)
    for spot in spots:
        if spot.rule.action != REDACT or spot.start >= end:
            continue
        if spot.start >= at:
            yield text[at - begin : spot.start - begin]
            yield MARK
        at = max(at, spot.end)
    yield text[at - begin :]
