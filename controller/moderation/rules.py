"""All rules of a web process, compiled: which of them hold for a request."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from controller.models import ModerationRule
from controller.moderation.classifying import ClassifierView
from controller.moderation.matching import Rule, RuleSet, check_term
from controller.moderation.patterns import CannotMatch, compile_pattern

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000  # combinations of face, model and teams

INPUT, OUTPUT, BOTH = "input", "output", "both"


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom and what rules hold; empty is everyone and everything."""

    faces: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    teams: frozenset[int] = frozenset()

    def covers(self, face: str, model: str, teams: frozenset[int]) -> bool:
        return (
            (not self.faces or face in self.faces)
            and (not self.models or model in self.models)
            and (not self.teams or not self.teams.isdisjoint(teams))
        )


@dataclass(frozen=True, slots=True)
class Judging:
    """How a rule asks a classifier."""

    classifier: ClassifierView
    categories: frozenset[str]
    """Those that count; empty: all."""
    fails_closed: bool


@dataclass(frozen=True, slots=True)
class ScopedRule:
    """A rule as its row has it."""

    rule: Rule
    direction: str
    scope: Scope
    judging: Judging | None = None
    """For one that has neither terms nor a pattern."""


class RuleBook:
    """Rules by direction and scope. Those of one scope are matched as one set.

    Made anew with each change, and not changed then.
    """

    def __init__(self, rules: Iterable[ScopedRule] = ()) -> None:
        by_scope: dict[tuple[str, Scope], list[Rule]] = defaultdict(list)
        judged = []
        for each in rules:
            if each.judging is not None:
                judged.append(each)
                continue
            for direction in (INPUT, OUTPUT):
                if each.direction in {direction, BOTH}:
                    by_scope[direction, each.scope].append(each.rule)
        self._sets = {key: RuleSet(scoped) for key, scoped in by_scope.items()}
        # The first by priority is told; it is the first to be asked too.
        self._judged = sorted(judged, key=lambda each: each.rule.order)
        self._teams = frozenset(
            team_id for _way, scope in self._sets for team_id in scope.teams
        )
        self._found: dict[
            tuple[str, str, str, frozenset[int]], tuple[RuleSet, ...]
        ] = {}

    def __bool__(self) -> bool:
        return bool(self._sets or self._judged)

    def judged_for(
        self, face: str, model: str, teams: frozenset[int]
    ) -> list[ScopedRule]:
        """The rules by which prompts are judged by classifiers."""
        return [each for each in self._judged if each.scope.covers(face, model, teams)]

    def sets_for(
        self, direction: str, face: str, model: str, teams: frozenset[int]
    ) -> tuple[RuleSet, ...]:
        """The sets of all rules that hold for somebody of these teams; empty for
        none."""
        if not self._sets:
            return ()
        # Of other teams no rule speaks: who differs in them is asked for but once.
        asked = (direction, face, model, teams & self._teams)
        found = self._found.get(asked)
        if found is None:
            found = tuple(
                rules
                for (way, scope), rules in self._sets.items()
                if way == direction and scope.covers(face, model, teams)
            )
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            self._found[asked] = found
        return found


def read_rules() -> list[ScopedRule]:
    """The enabled rules. One query.

    One that cannot be compiled, which no form has let through, is logged and left out.
    """
    scoped = []
    rows = ModerationRule.objects.filter(enabled=True).select_related("classifier")
    for row in rows:
        try:
            scoped.append(scoped_rule(row))
        except CannotMatch as exc:
            logger.error("the moderation rule %s is left out: %s", row.name, exc)
    return scoped


def scoped_rule(row: ModerationRule) -> ScopedRule:
    """The row, stored or not, as it is matched. Raises `CannotMatch`."""
    terms = tuple(row.term_lines)
    for term in terms:
        check_term(term)
    if row.pattern:
        compile_pattern(row.pattern)
    rule = Rule(
        id=row.pk or 0,
        name=row.name,
        category=row.category,
        action=row.action,
        priority=row.priority,
        terms=terms,
        pattern=row.pattern,
        whole_words=row.whole_words,
    )
    scope = Scope(
        frozenset(row.faces), frozenset(row.served_models), frozenset(row.teams)
    )
    return ScopedRule(rule, row.direction, scope, _judging(row))


def _judging(row: ModerationRule) -> Judging | None:
    if row.classifier is None:
        return None
    return Judging(
        ClassifierView.of(row.classifier),
        frozenset(row.classifier_categories),
        row.on_failure == ModerationRule.OnFailure.CLOSED,
    )
