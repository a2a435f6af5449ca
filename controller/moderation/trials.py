"""Rules tried out, before they are saved or after: nothing is sent, kept or flagged."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils.timezone import now

from controller.identity.memberships import speakers_of
from controller.moderation import samples
from controller.moderation.classifying import ClassifierFailed, Judges
from controller.moderation.flags import excerpt
from controller.moderation.matching import RuleSet
from controller.moderation.rules import INPUT, OUTPUT, Judging, ScopedRule
from controller.moderation.samples import Sample
from controller.moderation.watch import Spot, find_spots, redacted

LAST_DAYS = 7
MAX_MESSAGES = 5_000
MAX_SECONDS = 5.0
SHOWN_PEOPLE = 20
SHOWN_MESSAGES = 10
SHOWN_MATCHES = 100


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, and whether the rule has matched it."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class TextTrial:
    """What a rule finds in one text."""

    pieces: Sequence[Piece] = ()
    num_matches: int = 0
    redacted: str = ""
    categories: Sequence[str] = ()
    """Those that a classifier named."""
    failure: str = ""
    """Why it could not be tried."""

    @property
    def is_match(self) -> bool:
        return self.num_matches > 0


def try_text(rule: ScopedRule, text: str) -> TextTrial:
    """What the rule finds in this text, whatever its scope."""
    spots = find_spots((RuleSet([rule.rule]),), text)
    return TextTrial(list(_pieces(text, spots)), len(spots), redacted(text, spots))


async def try_classifier(judges: Judges, judging: Judging, text: str) -> TextTrial:
    """What the rule's classifier says of this text, which is sent to it."""
    try:
        [judgement] = await judges.judge(judging.classifier, [text])
    except ClassifierFailed as exc:
        return TextTrial(failure=str(exc))
    return TextTrial(
        num_matches=int(judgement.is_of(judging.categories)),
        categories=sorted(judgement.among(judging.categories)),
    )


def _pieces(text: str, spots: list[Spot]) -> Iterator[Piece]:
    at = 0
    for spot in spots[:SHOWN_MATCHES]:
        start = max(at, spot.start)
        if start > at:
            yield Piece(text[at:start], is_match=False)
        if spot.end > start:
            yield Piece(text[start : spot.end], is_match=True)
        at = max(at, spot.end)
    if at < len(text):
        yield Piece(text[at:], is_match=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that the rule would have found something in."""

    sample: Sample
    excerpt: str


@dataclass(slots=True)
class DryRun:
    """What a rule would have found in what people wrote of late."""

    num_messages: int = 0
    num_hits: int = 0
    is_cut: bool = False
    """There were more messages than are looked at."""
    latest: list[Hit] = field(default_factory=list)
    _people: Counter[str] = field(default_factory=Counter)

    @property
    def num_people(self) -> int:
        return len(self._people)

    @property
    def people(self) -> list[tuple[str, int]]:
        """(who, in how many messages), those with most first."""
        return self._people.most_common(SHOWN_PEOPLE)

    def note(self, sample: Sample, spots: list[Spot]) -> None:
        self.num_messages += 1
        if not spots:
            return
        self.num_hits += 1
        self._people[sample.username] += 1
        if len(self.latest) < SHOWN_MESSAGES:
            found = excerpt(sample.text, spots[0].start, spots[0].end)
            self.latest.append(Hit(sample, found))


def dry_run(rule: ScopedRule) -> DryRun:
    """The rule over messages of the last days, the latest first: at most MAX_MESSAGES
    of them, and for MAX_SECONDS. Three queries at most."""
    sets = (RuleSet([rule.rule]),)
    run = DryRun()
    members = _members_of(rule)
    deadline = time.monotonic() + MAX_SECONDS
    since = now() - timedelta(days=LAST_DAYS)
    for num_read, sample in enumerate(
        samples.recent(rule.scope.faces, since, MAX_MESSAGES + 1)
    ):
        if num_read >= MAX_MESSAGES or time.monotonic() > deadline:
            run.is_cut = True
            break
        if _is_of_concern(rule, sample, members):
            run.note(sample, find_spots(sets, sample.text))
    return run


def _members_of(rule: ScopedRule) -> frozenset[int] | None:
    """Who speaks for one of the rule's teams; None: everybody."""
    if not rule.scope.teams:
        return None
    return frozenset(user_id for user_id, _team_id in speakers_of(rule.scope.teams))


def _is_of_concern(
    rule: ScopedRule, sample: Sample, members: frozenset[int] | None
) -> bool:
    other_way = OUTPUT if sample.is_prompt else INPUT
    return (
        rule.direction != other_way
        and (not rule.scope.models or sample.model in rule.scope.models)
        and (members is None or sample.user_id in members)
    )
