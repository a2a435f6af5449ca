"""Keeps the engine running: starts it, waits until it can work, starts it again."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from workers.adapter_sources import AdapterSources
from workers.backoff import Backoff
from workers.config import WorkerConfig
from workers.engine_client import EngineClient, EngineSilent
from workers.engine_process import EngineCommand, EngineProcess, start_engine
from workers.engine_watch import EngineWatch
from workers.metrics_scrape import EngineNumbers
from workers.modalities import TEXT_ONLY
from workers.protocol import ModelOffer, Task, WorkerState

logger = logging.getLogger(__name__)

READY_POLL_SECONDS = 0.25
LOADING_NOTICE_SECONDS = 30.0
MAX_FAILED_FIRST_STARTS = 3
HEALTHY_AFTER_SECONDS = 300.0
# Requests may still be under way from web processes that have not heard of the drain.
QUIET_SECONDS = 1.0
QUIET_POLL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What an engine's worker script knows and the agent does not."""

    name: str
    command: EngineCommand
    max_concurrency: int
    other_models: tuple[tuple[str, ...], ...] = ()
    """The name and aliases of each model that it serves besides the worker's first."""
    adapter_sources: AdapterSources | None = None
    """Where adapters are taken from while it runs; None: it takes none."""
    modalities: Callable[[], Sequence[str]] = lambda: TEXT_ONLY
    """What its first model takes in; asked when the model is on this machine."""


class EngineNeverStarted(Exception):
    """The engine ended again and again before it could work; its log says why."""


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """A start of the engine that got as far as answering."""

    start_id: str
    version: str
    tasks: tuple[Task, ...]
    context_length: int
    kv_cache_tokens: int | None
    others: tuple[ModelOffer, ...] = ()
    """Further models and adapters of its command line, which it serves to its end."""

    @property
    def tiny_task(self) -> Task:
        """What costs the engine least of all that it does with the model itself."""
        if Task.COMPLETIONS in self.tasks:
            return Task.COMPLETIONS
        return next(task for task in self.tasks if task is not Task.TOKENIZE)


class EngineSupervisor:
    """Runs `engine` while `run` is awaited; `current` is None until it can work."""

    def __init__(
        self, config: WorkerConfig, engine: Engine, client: EngineClient
    ) -> None:
        self.engine = engine
        self.client = client
        self.current: EngineRun | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when `state` has changed."""
        self.num_restarts = 0
        self._state = WorkerState.LOADING
        self._config = config
        self._process: EngineProcess | None = None
        self._numbers = EngineNumbers()
        self._changed = asyncio.Event()

    @property
    def state(self) -> WorkerState:
        return self._state

    @state.setter
    def state(self, state: WorkerState) -> None:
        if state is not self._state:
            self._state = state
            self.on_change()

    async def run(self) -> None:
        """Start the engine, and again whenever it ends; raises EngineNeverStarted."""
        backoff = Backoff(first=1.0, longest=60.0)
        num_failed_starts = 0  # before the first that worked
        ever_ready = False
        while True:
            self.state = WorkerState.LOADING
            started_at = time.monotonic()
            ending, was_ready = await self._run_once()
            self.state = WorkerState.FAILED
            ever_ready = ever_ready or was_ready
            num_failed_starts += not ever_ready
            self._give_up_if_in_vain(ending, num_failed_starts, ever_ready)
            if time.monotonic() - started_at > HEALTHY_AFTER_SECONDS:
                backoff.reset()
            pause = backoff.next_pause()
            logger.error("The engine %s; starting it again in %.1f s.", ending, pause)
            self.num_restarts += 1
            await asyncio.sleep(pause)

    def _give_up_if_in_vain(
        self, ending: str, num_failed_starts: int, ever_ready: bool
    ) -> None:
        """Raise `EngineNeverStarted` where another start would end as the last one."""
        if ever_ready:
            return
        if self._process is not None and self._process.refused_its_flags:
            raise EngineNeverStarted(
                f"The engine {ending}: it cannot be started like this. Its own lines"
                " above say why."
            )
        if num_failed_starts == MAX_FAILED_FIRST_STARTS:
            raise EngineNeverStarted(
                f"The engine {ending}, {num_failed_starts} times, before it was"
                " ready. Its own lines above say why."
            )

    async def ready(self) -> EngineRun:
        """Return the engine's present run, waiting until there is one."""
        while self.current is None:
            await self._changed.wait()
        return self.current

    async def numbers(self) -> EngineNumbers:
        """Return the engine's numbers, or its last ones while it does not answer.

        An engine too busy to answer must not look idle: it would be sent more work,
        and a drain would cut off what it is busy with.
        """
        if self.current is not None and self.state is WorkerState.READY:
            await self._read_numbers()
        return self.last_numbers

    @property
    def last_numbers(self) -> EngineNumbers:
        """The numbers as last read; of a loading engine, how far it has come."""
        if self.state is WorkerState.LOADING and self._process is not None:
            return EngineNumbers(loading_progress=self._process.loading_progress)
        return self._numbers

    async def wait_until_quiet(self, seconds: float) -> None:
        """Wait until what is in flight is done, for so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wait_until_quiet()
                return
        numbers = await self.numbers()
        if num_left := numbers.running + numbers.waiting:
            logger.warning(
                "%d request(s) not finished after %.0f s are cut off.",
                num_left,
                seconds,
            )

    def kill(self) -> None:
        """End the engine at once, unfinished answers and all."""
        if self._process is not None:
            self._process.kill()

    async def _wait_until_quiet(self) -> None:
        quiet_polls = 0
        while quiet_polls * QUIET_POLL_SECONDS < QUIET_SECONDS:
            numbers = await self.numbers()
            is_quiet = numbers.running + numbers.waiting == 0
            quiet_polls = quiet_polls + 1 if is_quiet else 0
            await asyncio.sleep(QUIET_POLL_SECONDS)

    async def _run_once(self) -> tuple[str, bool]:
        """Run the engine until it ends; return how it did and if it ever was ready."""
        try:
            process = await start_engine(self.engine.command, self.client.key)
        except OSError as error:
            return f"could not be started ({error})", False
        self._process = process
        ended = asyncio.create_task(process.wait())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({ended, working}, return_when="FIRST_COMPLETED")
            if working.done():
                return working.result(), self.current is not None
            return ended.result(), self.current is not None
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            self._set_current(None)
            self._numbers = EngineNumbers()  # what it had in hand is lost
            await process.stop()
            await ended

    async def _work(self) -> str:
        """Announce the engine once it is ready; return why it has to be restarted."""
        try:
            run = await self._wait_until_ready()
        except EngineSilent as error:
            return f"is up but cannot work ({error})"
        self.state = WorkerState.READY
        self._set_current(run)
        return await self._watch(run)

    async def _watch(self, run: EngineRun) -> str:
        """Say whether the engine is to be given work; return why it hangs, if it does.

        It may come out of it: a busy machine, a suspended one.
        """
        watch = EngineWatch(
            self.client,
            self._read_numbers,
            self._config.name,
            run.tiny_task,
            self._config.hung_seconds,
        )
        try:
            while not (reason := await watch.look()):
                self.state = (
                    WorkerState.FAILED if watch.is_suspect else WorkerState.READY
                )
                await watch.pause()
        finally:
            watch.close()
        self.state = WorkerState.FAILED
        if watch.is_silent:
            self.kill()
        return reason

    async def _read_numbers(self) -> EngineNumbers:
        with contextlib.suppress(EngineSilent):
            self._numbers = await self.client.numbers()
        return self._numbers

    async def _wait_until_ready(self) -> EngineRun:
        started_at = notice_at = time.monotonic()
        while not await self.client.is_healthy():
            await asyncio.sleep(READY_POLL_SECONDS)
            if time.monotonic() - notice_at > LOADING_NOTICE_SECONDS:
                notice_at = time.monotonic()
                seconds = notice_at - started_at
                logger.info("The engine is still loading after %.0f s.", seconds)
        run = await self._look_at_engine()
        logger.info(
            "The engine is ready after %.1f s: %s %s serves %s%s, for %s.",
            time.monotonic() - started_at,
            self.engine.name,
            run.version,
            ", ".join((*self._config.names, *(each.name for each in run.others))),
            f", {run.context_length} tokens of context" if run.context_length else "",
            ", ".join(run.tasks),
        )
        return run

    async def _look_at_engine(self) -> EngineRun:
        name = self._config.name
        context_length = await self.client.context_length(name)
        tasks = await self.client.tasks(name)
        numbers = await self.client.numbers()
        return EngineRun(
            start_id=secrets.token_hex(16),
            version=await self.client.version(),
            tasks=tuple(tasks),
            context_length=context_length,
            kv_cache_tokens=numbers.kv_cache_tokens,
            others=await self._others(context_length),
        )

    async def _others(self, context_length: int) -> tuple[ModelOffer, ...]:
        listed = {model.id: model for model in await self.client.models()}
        known = set(chain(self._config.names, *self.engine.other_models))
        adapters = [
            (name,)
            for name, model in listed.items()
            if model.parent and name not in known
        ]
        offers = [
            ModelOffer(
                name=name,
                aliases=aliases,
                tasks=await self.client.tasks(name),
                context_length=listed[name].max_model_len or context_length,
                parent=listed[name].parent,
            )
            for name, *aliases in (*self.engine.other_models, *adapters)
        ]
        return tuple(offers)

    def _set_current(self, run: EngineRun | None) -> None:
        self.current = run
        if run is None:
            self._numbers = EngineNumbers()
            self._changed.clear()
        else:
            self._changed.set()
