"""The gateway of one web process: fleet, keys, connections and ledger, and their loops.

`gateway()` is the one that runs in this process; the ASGI lifespan starts and stops it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import msgspec
from django.conf import settings

from controller import metrics
from controller.cors import OriginRules, load_origin_rules
from controller.errors import (
    AuthenticationFailed,
    BudgetUnavailable,
    ContextLengthExceeded,
    GuestLinkEnded,
    ModelNotFound,
    NoWorkerAvailable,
    QueueFull,
    QuotaSpent,
    ShuttingDown,
    UpstreamFailed,
)
from controller.fleet.breaker_rows import BreakerRows, write_breakers
from controller.fleet.heartbeats import mark_expired, read_heartbeats, write_heartbeats
from controller.fleet.line import Place
from controller.fleet.live import Fleet
from controller.fleet.probing import Prober
from controller.fleet.samples import SampleBook, write_samples
from controller.fleet.snapshot import ModelView, load_snapshot
from controller.fleet.turns import Turns
from controller.guests.watch import GuestBook, read_guest_book
from controller.identity.caller import Caller
from controller.identity.keyring import (
    KeyRing,
    imported_digests,
    unrevoked_ids,
    write_last_used,
)
from controller.identity.memberships import Memberships
from controller.ledger.queue import LedgerQueue, write_batch
from controller.limits.book import load_book
from controller.limits.leases import DatabaseLeases
from controller.limits.limiter import Limiter
from controller.limits.sharing import Sharing
from controller.loops import Loops
from controller.models import LedgerEntry, Revision
from controller.models.revision import Counts
from controller.moderation.bans import BanBook, read_bans
from controller.moderation.flags import write_flags
from controller.moderation.moderator import Moderator
from controller.moderation.rules import read_rules
from controller.relay.client import UpstreamClient
from controller.relay.exchange import Exchange
from controller.relay.preparing import (
    add_defaults,
    keep_in_context,
    with_system_prompt,
)
from controller.relay.request import InferenceRequest
from controller.relay.resumable import ResumableStreams
from controller.relay.retrying import RetryBudget
from controller.threads import DatabaseThread
from workers.protocol import Task

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")

# Questions of moderation to a model that judges: nobody's use, and not judged again.
CLASSIFYING = Caller(face=LedgerEntry.Face.PROBE.value, identity="moderation")
SAMPLE_INTERVAL = timedelta(seconds=30)
HEARTBEAT_WRITE_INTERVAL = timedelta(seconds=1)
BREAKER_WRITE_INTERVAL = timedelta(seconds=1)
KEY_USE_INTERVAL = timedelta(seconds=10)
TURN_INTERVAL = timedelta(seconds=0.25)
STALL_INTERVAL = timedelta(seconds=0.5)
# No worker of a model has taken the request: its fallback may.
UNTAKEN = (NoWorkerAvailable, QueueFull, UpstreamFailed)
# The fallback is too small for the request, or too dear for what is left of a budget.
UNFIT = (ContextLengthExceeded, QuotaSpent, BudgetUnavailable)
LEASE_REPORT_INTERVAL = timedelta(seconds=30)
RATE_SHARE_INTERVAL = timedelta(seconds=0.25)
EXCHANGE_INTERVAL = timedelta(seconds=0.1)
PLACES_TEND_INTERVAL = timedelta(minutes=1)


class Gateway:
    """What every face calls to reach a model. Lives on one event loop."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.turns = Turns(self.fleet)
        self.ledger = LedgerQueue(settings.LEDGER_MAX_QUEUED)
        self.samples = SampleBook()
        self.client = UpstreamClient()
        self.retries = RetryBudget()
        self._prober = Prober(self.fleet, self.client)
        self._breaker_rows = BreakerRows(self.fleet)
        self._reads = DatabaseThread("gateway-reads")
        self._writes = DatabaseThread("gateway-writes")
        # Apart: requests wait for leases, and the ledger's batches may be long.
        self._leases = DatabaseThread("gateway-leases")
        self.keys = KeyRing(self._reads.run)
        self._memberships = Memberships(self._reads.run)
        self.origins = OriginRules()
        self._sharing = Sharing(settings.REDIS_URL) if settings.REDIS_URL else None
        self.limits = Limiter(DatabaseLeases(self._leases.run), self._sharing)
        self.moderator = Moderator(self._ask_classifier)
        self.bans = BanBook()
        self.guests = GuestBook()
        self.exchanges: set[Exchange] = set()
        self.resumable = ResumableStreams()
        self.is_ready = False
        self.is_stopping = False
        self._revision = Counts(-1, -1, -1)
        self._reloading = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self.loops = Loops()

    @property
    def database_fails(self) -> bool:
        """Whether one of the loops has failed to read or write, its last time."""
        return bool(self.loops.failing)

    # -- serving ---------------------------------------------------------------

    async def open(self, caller: Caller, request: InferenceRequest) -> Exchange:
        """An exchange whose first bytes are there. The caller closes it.

        Those of a stream that must wait for long are comments that tell its place.
        Raises `SwitchyardError` when there will be no answer.
        """
        if self.is_stopping:
            raise ShuttingDown("This server is being restarted.", retry_after=2)
        self.bans.check(caller)
        self.guests.check(caller)
        model = self.find_model(caller, request.model)
        add_defaults(request, model.default_parameters)
        exchange = Exchange(
            caller,
            request,
            model,
            fleet=self.fleet,
            turns=self.turns,
            client=self.client,
            retries=self.retries,
            on_close=self._close,
        )
        keep_in_context(request, model, exchange.wish)
        exchange.reservation = await self.limits.reserve(exchange)
        self.exchanges.add(exchange)
        self._idle.clear()
        try:
            await self._start(exchange)
        except BaseException:
            await exchange.aclose()
            raise
        return exchange

    async def chat_caller(self, user_id: int) -> Caller:
        """Who a signed-in user is, teams and all, or of which guest link. No query, but
        for the first time.

        Raises `StoreUnavailable`.
        """
        return await self._memberships.caller_of(user_id)

    async def _start(self, exchange: Exchange) -> None:
        """Begin with the model that was asked for, or else with its fallback."""
        try:
            await self._ask(exchange)
        except UNTAKEN as exc:
            fallback = self._fallback_of(exchange)
            if fallback is None:
                raise
            logger.info("%s is asked for %s", fallback.name, exchange.model.name)
            exchange.fall_back(fallback)
            try:
                keep_in_context(exchange.request, fallback, exchange.wish)
                await exchange.reservation.cover()
                await self._ask(exchange)
            # Why the model that was asked for did not answer says more.
            except (*UNTAKEN, *UNFIT):
                exchange.error = exc
                raise exc from None

    async def _ask(self, exchange: Exchange) -> None:
        if self.moderator.book and exchange.caller is not CLASSIFYING:
            await self.moderator.moderate(exchange)
        request, asked = exchange.request, exchange.request.body
        request.body = with_system_prompt(request, exchange.model.system_prompt)
        try:
            await exchange.start()
        except BaseException:
            request.body = asked  # the next model has a system prompt of its own
            raise

    def _fallback_of(self, exchange: Exchange) -> ModelView | None:
        """What to ask where no worker of the model took the request; None for nothing
        that would do, or that the caller may use."""
        model = self.fleet.snapshot.models.get(exchange.model.fallback)
        if model is None or exchange.request.task not in model.tasks:
            return None
        return model if model.is_for(exchange.caller) else None

    def find_model(self, caller: Caller, name: str) -> ModelView:
        """The model of this name or alias. Raises `ModelNotFound`, also for one that
        the caller may not use."""
        model = self.fleet.snapshot.models.get(name)
        if model is None or not model.is_for(caller):
            raise ModelNotFound(name)
        return model

    def find_live_model(self, caller: Caller, name: str) -> ModelView:
        """The same, if a request for it would be dispatched now. Raises
        `NoWorkerAvailable` with the reason if not."""
        model = self.find_model(caller, name)
        if model not in self.models(caller):
            raise self.fleet.why_none(model)
        return model

    def models(self, caller: Caller) -> list[ModelView]:
        """What would be dispatched to now for this caller, by name. No I/O."""
        live = {model.name for model in self.fleet.models() if model.is_for(caller)}
        return [
            model
            for model in self.fleet.snapshot.listed
            if (model.name in live or model.fallback in live) and model.is_for(caller)
        ]

    async def _ask_classifier(self, model: str, messages: list[dict[str, str]]) -> str:
        """What a served model says that judges texts. Raises `SwitchyardError`."""
        body = {"messages": messages, "max_tokens": 100, "temperature": 0}
        request = InferenceRequest(
            endpoint="/v1/chat/completions",
            task=Task.CHAT,
            model=model,
            body={"model": model, **body},
            size=sum(len(each["content"]) for each in messages),
        )
        exchange = await self.open(CLASSIFYING, request)
        async with aclosing(exchange):
            answer = msgspec.json.decode(exchange.body())
        return str(answer["choices"][0]["message"].get("content") or "")

    def outlook(self, model: ModelView) -> Place | None:
        """Where a request that came now would stand in this process's line for the
        model; None where nobody waits. No I/O."""
        return self.turns.outlook(model.name)

    def _close(self, exchange: Exchange) -> None:
        self.exchanges.discard(exchange)
        finished = exchange.record()
        exchange.settle_turn(finished)
        self.limits.settle(exchange.reservation, exchange, finished)
        self.ledger.add(finished)
        self.samples.note(finished)
        if not self.exchanges:
            self._idle.set()

    # -- starting and stopping -------------------------------------------------

    async def start(self) -> None:
        """Load the fleet and begin to listen. Raises what the database raises."""
        await self._look_for_changes()
        every = self.loops.every
        self.loops.keep(self._tick_forever())
        every(settings.REVISION_INTERVAL, self._look_for_changes)
        every(settings.LEDGER_FLUSH_INTERVAL, self.flush)
        every(settings.LEDGER_FLUSH_INTERVAL, self._write_flags)
        every(HEARTBEAT_WRITE_INTERVAL, self._write_heartbeats)
        every(BREAKER_WRITE_INTERVAL, self._write_breakers)
        every(SAMPLE_INTERVAL, self._write_samples)
        every(settings.PROBE_INTERVAL, self._prober.probe_suspects)
        every(KEY_USE_INTERVAL, self._write_key_use)
        every(TURN_INTERVAL, self._tick_turns)
        every(STALL_INTERVAL, self._look_for_stalls)
        every(LEASE_REPORT_INTERVAL, self.limits.report)
        every(RATE_SHARE_INTERVAL, self.limits.share)
        if self._sharing is not None:
            every(EXCHANGE_INTERVAL, self._exchange)
            every(EXCHANGE_INTERVAL, self._sharing.places.settle)
            every(PLACES_TEND_INTERVAL, self._sharing.places.tend)
        self.is_ready = True

    async def stop(self) -> None:
        """Interrupt what still runs, write what is queued, end the loops."""
        self.is_ready, self.is_stopping = False, True
        self.interrupt()
        with suppress(TimeoutError):  # their readers need a moment for the last event
            async with asyncio.timeout(1):
                await self.until_idle()
        await self.resumable.close()
        for exchange in list(self.exchanges):
            await exchange.aclose()
        await self.loops.stop()
        await self.loops.once(self.flush)
        await self.loops.once(self._write_flags)
        await self.loops.once(self._write_key_use)
        if self._breaker_rows.has_rows:
            await self.loops.once(self._forget_breakers)
        await self.loops.once(self.limits.give_back)
        await self.moderator.judges.close()
        self.client.close()
        await self._reads.close()
        await self._writes.close()
        await self._leases.close()
        if self._sharing is not None:
            await self._sharing.close()

    async def until_idle(self) -> None:
        """Return when no request is under way."""
        await self._idle.wait()

    def interrupt(self) -> None:
        """End every answer under way, with an event that says why."""
        for exchange in list(self.exchanges):
            exchange.interrupt(ShuttingDown("This server was stopped in mid-answer."))

    # -- the loops -------------------------------------------------------------

    async def reload(self) -> None:
        """Take over now what the rows say of the fleet."""
        async with self._reloading:
            self.fleet.adopt(await self._reads.run(load_snapshot))

    async def flush(self) -> None:
        """Write finished requests; keep what fails for the next try."""
        batch = self.ledger.take()
        await self._write_or(self.ledger.give_back, write_batch, batch)
        await self._writes.run(metrics.observe, batch)

    async def _write_or(
        self,
        give_back: Callable[[Batch], None],
        write: Callable[[Batch], None],
        batch: Batch,
    ) -> None:
        """Write what was taken to be written; give it back if that fails."""
        try:
            await self._writes.run(write, batch)
        except BaseException:
            give_back(batch)
            raise

    async def _write_flags(self) -> None:
        batch = self.moderator.flags.take()
        if batch:
            await self._write_or(self.moderator.flags.give_back, write_flags, batch)

    async def _write_heartbeats(self) -> None:
        self.client.sweep()
        heard = self.fleet.take_heartbeats()
        self.samples.hear(heard)
        await self._write_or(self.fleet.give_back, write_heartbeats, heard)
        await self._writes.run(mark_expired, self.fleet.silent_workers())

    async def _write_samples(self) -> None:
        # Those of a database that fails are lost: they are for looking at.
        if taken := self.samples.take(self.fleet.snapshot.workers):
            await self._writes.run(write_samples, taken)

    async def _write_breakers(self) -> None:
        held = self._breaker_rows.take_due()
        if held is None:
            return
        try:
            await self._writes.run(write_breakers, held)
        except BaseException:
            self._breaker_rows.give_back()
            raise

    async def _forget_breakers(self) -> None:
        await self._writes.run(write_breakers, [])

    async def _look_for_changes(self) -> None:
        counts, known = await self._reads.run(Revision.current), self._revision
        if counts.keys != known.keys:
            self.keys.forget(await self._reads.run(imported_digests))
            self._memberships.forget()
            self.limits.adopt(await self._reads.run(load_book))
            self.guests = await self._reads.run(read_guest_book)
            await self._end_revoked()
        if counts.origins != known.origins:
            self.origins = await self._reads.run(load_origin_rules)
        if counts.moderation != known.moderation:
            await self.moderator.adopt(await self._reads.run(read_rules))
            self.bans = await self._reads.run(read_bans)
            self._end_banned()
        # With the keys' topic it is announced who is in which team.
        if counts.fleet != known.fleet or counts.keys != known.keys:
            await self.reload()
        self._revision = counts
        if settings.WEB_PROCESSES > 1:
            for heard in await self._reads.run(read_heartbeats):
                self.fleet.hear_of(*heard)

    def _end_banned(self) -> None:
        """Interrupt what runs for people who were banned since it began."""
        for exchange in list(self.exchanges):
            if (error := self.bans.refusal(exchange.caller)) is not None:
                exchange.interrupt(error)

    def _end_visits(self) -> None:
        """Interrupt what runs for guests whose link is over."""
        for exchange in list(self.exchanges):
            if self.guests.has_ended(exchange.caller):
                exchange.interrupt(GuestLinkEnded())

    async def _end_revoked(self) -> None:
        """Interrupt what runs on keys that were revoked since it began."""
        used = {
            each.caller.key_id
            for each in self.exchanges
            if each.caller.key_id is not None
        }
        if not used:
            return
        revoked = used - await self._reads.run(unrevoked_ids, used)
        for exchange in list(self.exchanges):
            if exchange.caller.key_id in revoked:
                exchange.interrupt(
                    AuthenticationFailed("The API key of this request was revoked.")
                )

    async def _write_key_use(self) -> None:
        used = self.keys.take_used()
        if used.digests:
            await self._writes.run(write_last_used, used)

    async def _exchange(self) -> None:
        """Tell the other web processes what is under way here, and hear of theirs."""
        assert self._sharing is not None
        elsewhere = await self._sharing.exchange(self.fleet.in_flight())
        self.fleet.hear_of_others(elsewhere)

    async def _tick_turns(self) -> None:
        self.turns.tick()

    async def _look_for_stalls(self) -> None:
        self._end_visits()
        for exchange in list(self.exchanges):
            exchange.leave_if_stalled()
            await exchange.end_if_unread()

    async def _tick_forever(self) -> None:
        while True:
            self.fleet.clock.tick()
            self.fleet.look_after()
            await asyncio.sleep(self.fleet.clock.LONGEST_TICK / 4)


_running: Gateway | None = None


def gateway() -> Gateway:
    """The gateway of this web process. Raises `RuntimeError` where none was started."""
    if _running is None:
        raise RuntimeError("no gateway runs in this process: it is started by `serve`")
    return _running


def is_running() -> bool:
    return _running is not None


@asynccontextmanager
async def running_gateway() -> AsyncIterator[Gateway]:
    """A started gateway, which `gateway()` returns inside the block."""
    global _running
    started = Gateway()
    await started.start()
    before, _running = _running, started
    try:
        yield started
    finally:
        await started.stop()
        _running = before
