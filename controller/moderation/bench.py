"""All rules at once on a text, or on what people wrote of late: what would be done, and
which rule decides. The same code decides as for requests; nothing is kept or flagged.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.utils.timezone import now

from controller.identity.caller import Caller
from controller.identity.memberships import speakers_of
from controller.moderation import samples
from controller.moderation.classifying import ClassifierFailed, Judges
from controller.moderation.flags import FlagQueue
from controller.moderation.matching import BLOCK, FLAG, REDACT, Rule, RuleSet
from controller.moderation.rules import INPUT, OUTPUT, RuleBook, ScopedRule
from controller.moderation.samples import Sample
from controller.moderation.streaming import StreamedText
from controller.moderation.trials import (
    LAST_DAYS,
    MAX_MESSAGES,
    MAX_SECONDS,
    SHOWN_PEOPLE,
)
from controller.moderation.watch import Spot, Watch, find_spots, redacted

UNAVAILABLE = "unavailable"
"""A classifier that must answer did not: the prompt is refused for now."""
PASSES = ""
# Which of several wins, whatever their priorities.
RANKS = {BLOCK: 0, REDACT: 1, FLAG: 2}


@dataclass(frozen=True, slots=True)
class Situation:
    """What a text is, and who is asking."""

    direction: str
    face: str
    model: str
    teams: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule has to say of the text."""

    rule: Rule
    num_matches: int = 0
    categories: Sequence[str] = ()
    """Those that a classifier named."""
    failure: str = ""
    """Why its classifier gave no judgement."""
    fails_closed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What all rules together do to a text."""

    outcome: str = PASSES
    """`block`, `redact`, `flag`, UNAVAILABLE or PASSES."""
    winner: Rule | None = None
    text: str = ""
    """What goes on: to the model, or of an answer to its readers."""
    findings: Sequence[Finding] = ()
    """The winner's first."""


def decide(sets: tuple[RuleSet, ...], direction: str, text: str) -> Decision:
    """What terms and patterns do to it."""
    spots = find_spots(sets, text)
    if not spots:
        return Decision(text=text)
    if direction == INPUT:
        winner, goes_on = _first(spots), redacted(text, spots)
    else:
        streamed = StreamedText(_watch(sets))
        goes_on = streamed.feed(text, is_end=True)
        winner = streamed.blocked_by or _first(spots)
    counts = Counter(spot.rule.id for spot in spots)
    rules = {spot.rule.id: spot.rule for spot in spots}
    findings = [Finding(rule, counts[rule.id]) for rule in rules.values()]
    return Decision(winner.action, winner, goes_on, _in_order(findings, winner))


async def decide_with_classifiers(
    book: RuleBook, situation: Situation, text: str, judges: Judges
) -> Decision:
    """The same, and what classifiers say, which read prompts only: of the text as it is
    once it was redacted, if no term has blocked it. It is sent to them."""
    face, model, teams = situation.face, situation.model, situation.teams
    sets = book.sets_for(situation.direction, face, model, teams)
    decision = decide(sets, situation.direction, text)
    if situation.direction != INPUT or decision.outcome == BLOCK:
        return decision
    asked = book.judged_for(face, model, teams)
    judged = await asyncio.gather(
        *(_ask(judges, scoped, decision.text) for scoped in asked)
    )
    return _with_judgements(decision, [each for each in judged if each is not None])


async def _ask(judges: Judges, scoped: ScopedRule, text: str) -> Finding | None:
    judging = scoped.judging
    assert judging is not None  # those of `judged_for` have one
    try:
        [judgement] = await judges.judge(judging.classifier, [text])
    except ClassifierFailed as exc:
        return Finding(scoped.rule, failure=str(exc), fails_closed=judging.fails_closed)
    if not judgement.is_of(judging.categories):
        return None
    return Finding(scoped.rule, 1, sorted(judgement.among(judging.categories)))


def _with_judgements(decision: Decision, judged: Sequence[Finding]) -> Decision:
    findings = [*decision.findings, *judged]
    if any(each.fails_closed for each in judged):
        return replace(decision, outcome=UNAVAILABLE, winner=None, findings=findings)
    found = [each.rule for each in findings if each.num_matches]
    if not found:
        return replace(decision, findings=findings)
    winner = min(found, key=lambda rule: (RANKS[rule.action], rule.order))
    ordered = _in_order(findings, winner)
    return replace(decision, outcome=winner.action, winner=winner, findings=ordered)


def _first(spots: Iterable[Spot]) -> Rule:
    rules = [spot.rule for spot in spots]
    return min(rules, key=lambda rule: (RANKS[rule.action], rule.order))


def _in_order(findings: Iterable[Finding], winner: Rule) -> list[Finding]:
    def place(finding: Finding) -> tuple[bool, int, tuple[int, int]]:
        rule = finding.rule
        return rule.id != winner.id, RANKS[rule.action], rule.order

    return sorted(findings, key=place)


def _watch(sets: tuple[RuleSet, ...]) -> Watch:
    """One that writes nothing down: its queue is nobody's."""
    nobody = Caller(face="", identity="")
    return Watch(sets, OUTPUT, nobody, "", "", FlagQueue())


# -- over what people wrote ------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """In how many messages a rule found something, and in how many it decided."""

    rule: Rule
    num_found: int = 0
    num_won: int = 0


@dataclass(slots=True)
class DryRun:
    """What all rules would have done to what people wrote of late."""

    num_messages: int = 0
    num_touched: int = 0
    is_cut: bool = False
    """There were more messages than are looked at."""
    num_unasked: int = 0
    """Rules of classifiers, to whom no message is sent here."""
    _tallies: dict[int, Tally] = field(default_factory=dict)
    _people: Counter[str] = field(default_factory=Counter)

    @property
    def tallies(self) -> list[Tally]:
        """Those that decided most first."""
        return sorted(self._tallies.values(), key=lambda each: -each.num_won)

    @property
    def people(self) -> list[tuple[str, int]]:
        """(who, in how many messages), those with most first."""
        return self._people.most_common(SHOWN_PEOPLE)

    def note(self, sample: Sample, decision: Decision) -> None:
        self.num_messages += 1
        if decision.winner is None:
            return
        self.num_touched += 1
        self._people[sample.username] += 1
        for each in decision.findings:
            tally = self._tallies.setdefault(each.rule.id, Tally(each.rule))
            tally.num_found += 1
            tally.num_won += each.rule.id == decision.winner.id


def dry_run_of_all(rules: Sequence[ScopedRule]) -> DryRun:
    """The rules over messages of the last days, the latest first: at most MAX_MESSAGES
    of them, and for MAX_SECONDS. Three queries at most."""
    book = RuleBook(rules)
    run = DryRun(num_unasked=sum(each.judging is not None for each in rules))
    teams_of = _teams_by_user(rules)
    deadline = time.monotonic() + MAX_SECONDS
    for num_read, (face, sample) in enumerate(_recent()):
        if num_read >= MAX_MESSAGES or time.monotonic() > deadline:
            run.is_cut = True
            break
        direction = INPUT if sample.is_prompt else OUTPUT
        teams = frozenset(teams_of.get(sample.user_id, ()))
        sets = book.sets_for(direction, face, sample.model, teams)
        run.note(sample, decide(sets, direction, sample.text))
    return run


def _recent() -> Iterator[tuple[str, Sample]]:
    since = now() - timedelta(days=LAST_DAYS)
    for face in samples.faces():
        for sample in samples.recent([face], since, MAX_MESSAGES + 1):
            yield face, sample


def _teams_by_user(rules: Iterable[ScopedRule]) -> dict[int, set[int]]:
    """For which of the teams that rules name each user speaks."""
    teams = {team_id for each in rules for team_id in each.scope.teams}
    found: dict[int, set[int]] = {}
    for user_id, team_id in speakers_of(teams):
        found.setdefault(user_id, set()).add(team_id)
    return found
