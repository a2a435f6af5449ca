"""Loads and unloads adapters on a running engine, as the controller wishes.

The wishes come with each heartbeat's answer and are the whole of what should be there.
What they lack is taken back from the controller before it is taken from the engine, so
that nobody is sent to an adapter that is gone.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from workers.adapter_sources import AdapterRefused, AdapterSources
from workers.backoff import Backoff
from workers.engine_client import EngineSilent
from workers.protocol import (
    MAX_REASON,
    AdapterReport,
    AdapterState,
    AdapterWish,
    ModelOffer,
)
from workers.supervisor import EngineRun, EngineSupervisor

logger = logging.getLogger(__name__)

# For web processes that have not yet heard that an adapter is leaving, and for what
# they have sent: requests that the engine has begun are finished whatever is unloaded.
NOTICE_SECONDS = 2.0


@dataclass
class Held:
    """An adapter that was loaded into the engine."""

    wish: AdapterWish
    offer: ModelOffer
    is_leaving: bool = False
    """It is offered no more, and about to be unloaded."""


@dataclass
class Failure:
    """Why the last try to load or unload an adapter was in vain."""

    wish: AdapterWish
    reason: str = ""
    retry_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=5.0, longest=60.0))


class AdapterKeeper:
    """Keeps the adapters of the engine that `supervisor` runs as they are wished.

    An engine that was started again has none but those of its command line: the others
    are loaded anew.
    """

    def __init__(self, supervisor: EngineSupervisor) -> None:
        self.join_again: Callable[[], asyncio.Event] = asyncio.Event
        """Tells the controller what is offered now; the event is set once it knows."""
        self._supervisor = supervisor
        self._client = supervisor.client
        self._run: EngineRun | None = None
        self._wishes: Mapping[str, AdapterWish] = {}
        self._held: dict[str, Held] = {}
        self._failures: dict[str, Failure] = {}
        self._heard = asyncio.Event()

    def wish(self, wishes: Sequence[AdapterWish]) -> None:
        """Have these adapters, and no others. Called at each heartbeat, which is also
        when a new run of the engine is noticed, and a failure tried again."""
        self._wishes = {wish.name: wish for wish in wishes}
        self._heard.set()

    def offers(self, run: EngineRun) -> list[ModelOffer]:
        """Return what a join is to tell of the adapters that this run was given."""
        held = self._held.values() if run is self._run else ()
        return [each.offer for each in held if not each.is_leaving]

    def reports(self, told: Collection[str], refusal: str) -> list[AdapterReport]:
        """Return how each adapter fares, by name.

        The controller knows of those in `told`; `refusal` says why it takes no others.
        """
        is_present = self._supervisor.current is self._run
        held = self._held if is_present else {}
        names = sorted({*self._wishes, *held})
        return [self._report(name, held.get(name), told, refusal) for name in names]

    async def run(self, sources: AdapterSources) -> None:
        """Do what is wished, one adapter after another, until cancelled."""
        while True:
            self._look_at(await self._supervisor.ready())
            try:
                has_worked = await self._step(sources)
            except Exception:
                # A disk that fails, say. The engine serves on.
                logger.exception("The adapters could not be looked after.")
                has_worked = False
            if not has_worked:
                await self._heard.wait()
                self._heard.clear()

    def _look_at(self, run: EngineRun) -> None:
        if run is not self._run:
            self._run, self._held, self._failures = run, {}, {}

    async def _step(self, sources: AdapterSources) -> bool:
        """Unload or load one adapter; False where nothing is to be done now."""
        for held in self._held.values():
            if not self._is_wished(held) and self._is_due(held.wish):
                await self._unload(held)
                return True
        for wish in self._wishes.values():
            is_there = wish.name in self._held or wish.name in self._names_of_its_own
            if not is_there and self._is_due(wish):
                await self._load(wish, sources)
                return True
        return False

    @property
    def _names_of_its_own(self) -> set[str]:
        """What is on the engine's command line, which is not ours to load."""
        return {offer.name for offer in self._run.others} if self._run else set()

    async def _load(self, wish: AdapterWish, sources: AdapterSources) -> None:
        run = self._run
        assert run is not None, "adapters are loaded once there is an engine"
        logger.info("Loading the adapter %s from %s.", wish.name, wish.source)
        try:
            folder = await sources.find(wish.source)
            if wish.name in {model.id for model in await self._client.models()}:
                # By a try that we gave up on, and that came to an end all the same.
                await self._client.unload_adapter(wish.name)
            await self._client.load_adapter(wish.name, str(folder))
            tasks = await self._client.tasks(wish.name)
        except (AdapterRefused, EngineSilent) as error:
            self._fail(wish, "is not loaded", error)
            return
        if self._supervisor.current is not run:
            return  # it was started again meanwhile, without the adapter
        self._failures.pop(wish.name, None)
        self._held[wish.name] = Held(
            wish,
            ModelOffer(
                name=wish.name,
                tasks=tasks,
                context_length=run.context_length,
                parent=wish.parent,
            ),
        )
        logger.info("The adapter %s is loaded, for %s.", wish.name, ", ".join(tasks))
        self.join_again()

    async def _unload(self, held: Held) -> None:
        """Let it be offered no more, and then take it from the engine."""
        name = held.wish.name
        logger.info("Unloading the adapter %s.", name)
        held.is_leaving = True
        await self.join_again().wait()
        await asyncio.sleep(NOTICE_SECONDS)
        if self._is_wished(held):  # after all
            held.is_leaving = False
            self.join_again()
            return
        try:
            await self._client.unload_adapter(name)
        except EngineSilent as error:
            self._fail(held.wish, "is not unloaded", error)
            return
        self._failures.pop(name, None)
        if self._held.get(name) is held:
            del self._held[name]
        logger.info("The adapter %s is unloaded.", name)

    def _is_wished(self, held: Held) -> bool:
        return self._wishes.get(held.wish.name) == held.wish

    def _is_due(self, wish: AdapterWish) -> bool:
        failure = self._failures.get(wish.name)
        if failure is None or failure.wish != wish:
            return True
        return time.monotonic() >= failure.retry_at

    def _fail(self, wish: AdapterWish, what: str, error: Exception) -> None:
        """Remember why, for the operator to see, and when to try again."""
        failure = self._failures.get(wish.name)
        if failure is None or failure.wish != wish:
            failure = self._failures[wish.name] = Failure(wish)
        failure.reason = _in_words(error)
        failure.retry_at = time.monotonic() + failure.backoff.next_pause()
        logger.warning("The adapter %s %s: %s", wish.name, what, failure.reason)

    def _report(
        self, name: str, held: Held | None, told: Collection[str], refusal: str
    ) -> AdapterReport:
        failure = self._failures.get(name)
        reason = failure.reason if failure is not None else ""
        is_served = held is not None or name in self._names_of_its_own
        if held is not None and (held.is_leaving or not self._is_wished(held)):
            state = AdapterState.UNLOADING
        elif is_served and name in told:
            state = AdapterState.LOADED
        elif is_served and refusal:
            state, reason = AdapterState.FAILED, refusal[:MAX_REASON]
        elif failure is not None and failure.wish == self._wishes.get(name):
            state = AdapterState.FAILED
        else:
            state, reason = AdapterState.LOADING, ""
        return AdapterReport(name=name, state=state, reason=reason)


def _in_words(error: Exception) -> str:
    """Return the reason, such that a heartbeat can carry it and a database keep it."""
    reason = error.reason if isinstance(error, EngineSilent) else ""
    text = reason or str(error)
    sayable = text.encode(errors="replace").decode().replace("\0", "")
    return sayable[:MAX_REASON]
