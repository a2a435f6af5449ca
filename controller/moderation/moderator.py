"""Moderation in one web process: the rules that hold, and what they have found."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from controller.errors import (
    ContentBlocked,
    ModerationUnavailable,
    SwitchyardError,
)
from controller.identity.caller import Caller
from controller.moderation.classifying import (
    AskModel,
    ClassifierFailed,
    Judgement,
    Judges,
    TooManyTexts,
    together,
)
from controller.moderation.flags import FlagQueue
from controller.moderation.input import judged_texts, moderate_input
from controller.moderation.matching import BLOCK, RuleSet
from controller.moderation.output import OutputScreen, moderate_whole
from controller.moderation.rules import INPUT, OUTPUT, RuleBook, ScopedRule
from controller.moderation.watch import Spot, Watch, find_spots
from controller.relay.exchange import Exchange
from controller.relay.request import InferenceRequest
from workers.protocol import Task

# Longer bodies are looked through in a thread, so that nobody else waits for them.
MAX_BYTES_ON_LOOP = 100_000
GENERATING = frozenset({Task.CHAT, Task.COMPLETIONS})


class Moderator:
    """What the gateway asks about requests. Lives on its event loop."""

    def __init__(self, ask_model: AskModel) -> None:
        self.judges = Judges(ask_model)
        self.book = RuleBook()
        self.flags = FlagQueue()
        self._rules: list[ScopedRule] = []

    async def adopt(self, rules: list[ScopedRule]) -> None:
        """Go by these rules from now on. They are compiled in a thread, if they are
        others than before."""
        if rules != self._rules:
            self.book = await asyncio.to_thread(RuleBook, rules)
            self._rules = rules

    async def moderate(self, exchange: Exchange) -> None:
        """Redact what the exchange would ask, and have its answer moderated. Call it
        before it starts, where there are rules.

        Raises what the request is refused with: `ContentBlocked`, `InvalidRequest`.
        """
        watch = self._watch(INPUT, exchange)
        try:
            if watch is not None:
                await self._moderate_input(exchange.request, watch)
            await self._judge_input(exchange)
            if exchange.error is not None:  # interrupted meanwhile
                raise exchange.error
        except SwitchyardError as exc:
            exchange.error = exc
            raise
        self._screen(exchange)

    async def _moderate_input(self, request: InferenceRequest, watch: Watch) -> None:
        if request.size > MAX_BYTES_ON_LOOP:
            await asyncio.to_thread(moderate_input, request.body, watch)
        else:
            moderate_input(request.body, watch)

    async def _judge_input(self, exchange: Exchange) -> None:
        """Have classifiers judge what is asked, as it is once it was redacted. Raises
        `ContentBlocked` and `ModerationUnavailable`."""
        caller, model = exchange.caller, exchange.model.name
        if exchange.request.task not in GENERATING:
            return
        rules = self.book.judged_for(caller.face, model, caller.teams)
        if not rules:
            return
        texts = judged_texts(exchange.request.body)
        request_id = exchange.request.request_id
        watch = Watch((), INPUT, caller, model, request_id, self.flags)
        judged = await asyncio.gather(
            *(self._judgements(each, texts) for each in rules)
        )
        blocking = []
        for scoped, judgements in zip(rules, judged, strict=True):
            for text, judgement in zip(texts, judgements, strict=True):
                if judgement.is_flagged:
                    watch.note(text, Spot(0, len(text), scoped.rule))
                    blocking += [scoped.rule] if scoped.rule.action == BLOCK else []
        if blocking:
            raise ContentBlocked(blocking[0].category)

    async def judge(
        self, caller: Caller, model: str, inputs: Sequence[Sequence[str]]
    ) -> tuple[set[str], list[Judgement]]:
        """(the categories of all rules that hold for the caller, what they say of each
        input's texts). Whatever the direction; nothing is noted.

        Raises `ModerationUnavailable` where a classifier fails that must not.
        """
        sets = {
            rules
            for direction in (INPUT, OUTPUT)
            for rules in self.book.sets_for(direction, caller.face, model, caller.teams)
        }
        by_rules = await asyncio.to_thread(_judged_by, tuple(sets), inputs)
        known = {rule.category for rules in sets for rule in rules.rules}
        judged = [[each] for each in by_rules]
        for scoped in self.book.judged_for(caller.face, model, caller.teams):
            known.add(scoped.rule.category)
            texts = ["\n".join(each) for each in inputs]
            for found, judgement in zip(
                judged, await self._judgements(scoped, texts), strict=True
            ):
                found.append(judgement)
        return known, [together(found) for found in judged]

    async def _judgements(
        self, scoped: ScopedRule, texts: Sequence[str]
    ) -> list[Judgement]:
        """What a rule's classifier says, of the categories that count for the rule."""
        judging = scoped.judging
        assert judging is not None  # those of `judged_for` have one
        try:
            judged = await self.judges.judge(judging.classifier, texts)
        except TooManyTexts as exc:
            # Of rules that fail open too: the request is what is wrong, not the
            # classifier, and who hides one text among many would be let through.
            raise ModerationUnavailable from exc
        except ClassifierFailed as exc:
            if judging.fails_closed:
                raise ModerationUnavailable from exc
            return [Judgement()] * len(texts)
        return [
            replace(
                each,
                categories=each.among(judging.categories) | {scoped.rule.category},
                is_flagged=True,
            )
            if each.is_of(judging.categories)
            else replace(each, categories=frozenset(), is_flagged=False)
            for each in judged
        ]

    def _screen(self, exchange: Exchange) -> None:
        if exchange.request.task not in GENERATING:
            return
        watch = self._watch(OUTPUT, exchange)
        if watch is None:
            return
        if exchange.request.stream:
            begun = _begun(exchange.request.body)
            exchange.screen = OutputScreen(watch, exchange, begun)
        else:
            exchange.revise = lambda body: moderate_whole(body, watch)

    def _watch(self, direction: str, exchange: Exchange) -> Watch | None:
        """What to look for in this direction; None for nothing."""
        caller, model = exchange.caller, exchange.model.name
        sets = self.book.sets_for(direction, caller.face, model, caller.teams)
        if not sets:
            return None
        request_id = exchange.request.request_id
        return Watch(sets, direction, caller, model, request_id, self.flags)


def _begun(body: dict[str, Any]) -> str:
    """The text that a chat's answer is to go on from; "" for one that begins anew."""
    if not body.get("continue_final_message"):
        return ""
    content = body["messages"][-1].get("content")
    return content if isinstance(content, str) else ""


def _judged_by(
    sets: tuple[RuleSet, ...], inputs: Sequence[Sequence[str]]
) -> list[Judgement]:
    """What rules say of each input's texts: they are sure of what they find."""
    found = [
        {spot.rule.category for text in texts for spot in find_spots(sets, text)}
        for texts in inputs
    ]
    return [
        Judgement(frozenset(names), tuple((name, 1.0) for name in names), bool(names))
        for names in found
    ]
