"""Moderation in one web process: the rules that hold, and what they have found."""

import asyncio
from collections.abc import Sequence

from controller.errors import SwitchyardError
from controller.identity.caller import Caller
from controller.moderation.flags import FlagQueue
from controller.moderation.input import moderate_input
from controller.moderation.output import OutputScreen, moderate_whole
from controller.moderation.rules import INPUT, OUTPUT, RuleBook, ScopedRule
from controller.moderation.watch import Watch, find_spots
from controller.relay.exchange import Exchange
from controller.relay.request import InferenceRequest
from workers.protocol import Task

# Longer bodies are looked through in a thread, so that nobody else waits for them.
MAX_BYTES_ON_LOOP = 100_000
GENERATING = frozenset({Task.CHAT, Task.COMPLETIONS})


class Moderator:
    """What the gateway asks about requests. Lives on its event loop."""

    def __init__(self) -> None:
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

    def judge(
        self, caller: Caller, model: str, inputs: Sequence[Sequence[str]]
    ) -> tuple[set[str], list[set[str]]]:
        """(the categories of all rules that hold for the caller, those that each
        input's texts have). Whatever the direction; nothing is noted."""
        sets = {
            rules
            for direction in (INPUT, OUTPUT)
            for rules in self.book.sets_for(direction, caller.face, model, caller.teams)
        }
        known = {rule.category for rules in sets for rule in rules.rules}
        watched = tuple(sets)
        return known, [
            {spot.rule.category for text in texts for spot in find_spots(watched, text)}
            for texts in inputs
        ]

    def _screen(self, exchange: Exchange) -> None:
        if exchange.request.task not in GENERATING:
            return
        watch = self._watch(OUTPUT, exchange)
        if watch is None:
            return
        if exchange.request.stream:
            exchange.screen = OutputScreen(watch, exchange)
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
