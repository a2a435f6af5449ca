"""The fleet in memory: what is known of each worker, and the choice among them.

Choosing makes no query and no network call. One `Fleet` lives in each web process and
is touched from its event loop only.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.utils.timezone import now

from controller.errors import NoWorkerAvailable, SwitchyardError
from controller.fleet.breaker import Breaker, BreakerRules, BreakerState, Cause
from controller.fleet.clock import LoopClock
from controller.fleet.dispatcher import PLACELESS, Dispatcher
from controller.fleet.loads import NEVER, Slot, WorkerLoad
from controller.fleet.offering import Offering, policy_name_of
from controller.fleet.policies import POLICIES, Choice, Pool
from controller.fleet.recovery import Recovery
from controller.fleet.refusals import all_full, none_live, wrong_task
from controller.fleet.snapshot import ModelView, Snapshot, WorkerView
from controller.fleet.wishes import Wish
from workers.protocol import Heartbeat, Task, WorkerState

logger = logging.getLogger(__name__)


class Fleet:
    def __init__(self, clock: LoopClock | None = None) -> None:
        self.clock = clock or LoopClock()
        self.snapshot = Snapshot()
        self.loads: dict[UUID, WorkerLoad] = {}
        self.num_breaker_changes = 0
        self._breaker_rules = BreakerRules.of_settings()
        self._recovery = Recovery(self.clock)
        self._offering = Offering()
        self._hears_others = False
        self.on_room: Callable[[UUID | None], None] = lambda worker_id: None
        """Called when a worker, or any of them, may have more room than before."""

    @property
    def dispatchers(self) -> dict[tuple[str, Task], Dispatcher]:
        """Of each model and task that is listed."""
        return self._offering.dispatchers

    # -- What is known ---------------------------------------------------------

    def adopt(self, snapshot: Snapshot) -> None:
        """Take the rows' new state; loads of workers that stay are kept."""
        loads: dict[UUID, WorkerLoad] = {}
        for worker in snapshot.workers.values():
            load = self.loads.get(worker.id) or self._first_load(worker)
            if load.start_id != worker.start_id:  # it joined again: it is up
                load.start_id = worker.start_id
                load.state = worker.state
                load.heard_at = self.clock.now()
                load.breaker.reset()
                self._recovery.begin(load)
            load.worker, load.is_offered = worker, False
            loads[worker.id] = load
        if self.loads:  # those that were there before us are warm
            for worker_id in loads.keys() - self.loads.keys():
                self._recovery.begin(loads[worker_id])
        self.loads = loads
        self.snapshot = snapshot
        self._offering.renew(snapshot.listed)
        for load in loads.values():
            self._offer(load)
        self.on_room(None)

    def _first_load(self, worker: WorkerView) -> WorkerLoad:
        # A worker counts as heard when this process begins to listen: a controller
        # that was restarted must not take its own absence for the workers' silence.
        heard_at = NEVER if worker.expired_at else self.clock.now()
        return WorkerLoad(
            worker=worker,
            heard_at=heard_at,
            start_id=worker.start_id,
            state=worker.state,
            breaker=Breaker(
                self.clock.now,
                self._breaker_rules,
                on_change=partial(self._breaker_changed, worker.id),
            ),
            reported=worker.running + worker.waiting,
        )

    def hear(self, worker_id: UUID, heartbeat: Heartbeat) -> bool:
        """Whether this worker is known; if so it is live from now on. No I/O."""
        load = self.loads.get(worker_id)
        if load is None:
            return False
        queue_length = heartbeat.running + heartbeat.waiting
        load.kv_cache_usage = heartbeat.kv_cache_usage or 0.0
        load.heartbeat = heartbeat
        load.heartbeat_at = now()
        self._take_over(load, self.clock.now(), heartbeat.state, queue_length)
        return True

    def hear_of(
        self, worker_id: UUID, heard_at: datetime, state: str, queue_length: int
    ) -> None:
        """Take over what another web process heard and wrote down.

        A heartbeat is news once, told by its moment: read again each time, it would
        put a worker that refused us since back into service.
        """
        load = self.loads.get(worker_id)
        if load is None or heard_at <= load.heartbeat_at:
            return
        silence = max(timedelta(0), now() - heard_at)
        heard_here = max(load.heard_at, self.clock.now() - silence.total_seconds())
        load.heartbeat_at, load.heartbeat = heard_at, None
        self._take_over(load, heard_here, state, queue_length)

    def _take_over(
        self, load: WorkerLoad, heard_at: float, state: str, queue_length: int
    ) -> None:
        if self.is_silent(load):
            self._recovery.begin(load)
        load.heard_at = heard_at
        load.state = state
        load.note_reported(queue_length)
        if state == WorkerState.READY:
            load.breaker.hear()
        self._look_again(load)
        self.on_room(load.worker.id)

    def in_flight(self) -> dict[UUID, int]:
        """Requests that this process has under way, on each worker that has any."""
        return {
            worker_id: load.in_flight
            for worker_id, load in self.loads.items()
            if load.in_flight
        }

    def hear_of_others(self, in_flight: Mapping[UUID, int] | None) -> None:
        """Take over what all other web processes together have under way; None: they
        cannot be heard now."""
        if in_flight is None and not self._hears_others:
            return
        is_first, self._hears_others = not self._hears_others, in_flight is not None
        for worker_id, load in self.loads.items():
            before = load.queue_length
            if in_flight is None:
                load.forget_elsewhere()
            else:
                elsewhere = in_flight.get(worker_id, 0)
                load.note_elsewhere(elsewhere, was_reported=is_first)
            if load.queue_length != before:
                self._offering.note_room(load)
            if load.queue_length < before:
                self.on_room(worker_id)

    def is_silent(self, load: WorkerLoad) -> bool:
        silence = self.clock.now() - load.heard_at
        return silence >= settings.HEARTBEAT_EXPIRY.total_seconds()

    def is_lost(self, worker: WorkerView) -> bool:
        """Whether nothing has been heard of the worker for too long."""
        load = self.loads.get(worker.id)
        return load is None or self.is_silent(load)

    def why_not(self, worker: WorkerView) -> str:
        """Why nothing is dispatched to the worker now, in words; empty if it is."""
        load = self.loads.get(worker.id)
        if load is None:  # a request may hold an older snapshot's view of it
            return "gone"
        if not worker.is_enabled:
            return "disabled"
        if worker.drain_wished or load.state == WorkerState.DRAINING:
            return "draining"
        if self.is_silent(load):
            return "silent"
        if load.state != WorkerState.READY:
            return load.state
        return load.breaker.bar()

    def is_last_resort(self, worker: WorkerView) -> bool:
        """Whether only its breaker stands against the worker, which is reachable."""
        load = self.loads.get(worker.id)
        return (
            load is not None
            and load.breaker.is_last_resort
            and self.why_not(worker) == load.breaker.bar()
        )

    def models(self) -> list[ModelView]:
        """The models that would be dispatched to now, by name."""
        return [
            model
            for model in self.snapshot.listed
            if any(
                not self.why_not(worker) or self.is_last_resort(worker)
                for worker in model.workers
            )
        ]

    # -- The choice ------------------------------------------------------------

    def reads_prompts(self, model: ModelView) -> bool:
        """Whether the model's policy looks at what a prompt says."""
        return POLICIES[policy_name_of(model)].reads_prompts

    def acquire(
        self, model: ModelView, wish: Wish, excluded: Collection[UUID] = ()
    ) -> Slot:
        """A place on the worker to send to; one request more is in flight there.

        Every `acquire` is answered by one `release`. Raises `InvalidRequest` for a
        task that no worker of the model does, `NoWorkerAvailable` when none is live,
        and of its kind `WorkersFull` when none of those has room.
        """
        dispatchers = self._offering.dispatchers_for(model, wish)
        if not dispatchers:
            raise self._none_for(model, wish.task)
        found = self._choose_among(dispatchers, model, wish, excluded)
        if found is None and self._offer_again(model):
            found = self._choose_among(dispatchers, model, wish, excluded)
        dispatcher, choice = found or (dispatchers[0], None)
        pool = dispatcher.pool
        if choice is None:
            pool = self._last_resort(model, wish, excluded)
            choice = dispatcher.choose(wish, pool=pool)
        if choice is None:
            raise self._none_for(model, wish.task)
        dispatcher.note(choice.candidate, wish)
        load = self.loads[choice.candidate.worker.id]
        slot = Slot(
            worker=load.worker,
            choice=choice,
            prefill_tokens=wish.prompt_tokens - choice.cached_tokens,
            policy_name=dispatcher.policy_name,
            num_candidates=len(pool),
            is_last_resort=pool is not dispatcher.pool,
            is_canary=model.canary is not None and model.canary.has(load.worker),
        )
        load.breaker.begin()
        load.in_flight += 1
        load.prefill_tokens += slot.prefill_tokens
        self._offering.note_room(load)
        return slot

    def prefilled(self, slot: Slot) -> None:
        """Its first output has come: the prompt is read."""
        load = self.loads.get(slot.worker.id)
        if load is not None:
            load.prefill_tokens = max(0, load.prefill_tokens - slot.prefill_tokens)
        slot.prefill_tokens = 0

    def release(self, slot: Slot) -> None:
        self.prefilled(slot)
        load = self.loads.get(slot.worker.id)
        if load is not None:  # it may have left in between
            load.in_flight = max(0, load.in_flight - 1)
            load.breaker.end()
            self._offering.note_room(load)
            self.on_room(slot.worker.id)

    def look_again(self, model: ModelView) -> None:
        """Find the room of this model's workers that no event has spoken of."""
        for worker in model.workers:
            load = self.loads.get(worker.id)
            if load is not None:
                self._look_again(load)

    def _look_again(self, load: WorkerLoad) -> None:
        self._offer(load)
        self._offering.note_room(load)

    def reconsider(self, worker: WorkerView) -> None:
        """Dispatch to it from now on, if nothing speaks against it any more.

        To be called where the end of such a reason is known. The beginning needs no
        call: whoever is chosen is looked at before it is taken.
        """
        load = self.loads.get(worker.id)
        if load is not None:
            self._offer(load)

    def _choose_among(
        self,
        dispatchers: list[Dispatcher],
        model: ModelView,
        wish: Wish,
        excluded: Collection[UUID],
    ) -> tuple[Dispatcher, Choice | None] | None:
        """The first with a worker that takes it, and its choice; None if none has one.

        Raises `WorkersFull` where that has workers without room: a canary gets its
        share of a busy fleet too, and no more.
        """
        for dispatcher in dispatchers:
            choice = self._choose(dispatcher, wish, excluded)
            if choice is not None:
                return dispatcher, choice
            if self._is_full(dispatcher, excluded):
                raise all_full(model)
        return None

    def _choose(
        self, dispatcher: Dispatcher, wish: Wish, excluded: Collection[UUID]
    ) -> Choice | None:
        """A worker against which nothing speaks at this moment; None if none is left.

        Those against which something does are taken out on the way, each once.
        """
        while (choice := dispatcher.choose(wish, excluded)) is not None:
            worker = choice.candidate.worker
            if not self.why_not(worker):
                return choice
            self._withdraw(worker)
        return None

    def _last_resort(
        self, model: ModelView, wish: Wish, excluded: Collection[UUID]
    ) -> Pool:
        """Those whom only their breaker bars, and who are still better than nobody.

        Raises `WorkersFull` if even of them none has room.
        """
        able = [
            self.loads[worker.id]
            for worker in model.workers
            if wish.task in worker.placements[model.name].tasks
            and worker.id not in excluded
            and self.is_last_resort(worker)
        ]
        with_room = [each for each in able if each.has_room or wish.task in PLACELESS]
        if able and not with_room:
            raise all_full(model)
        return Pool(with_room)

    def _offer(self, load: WorkerLoad) -> None:
        """Put it into the pools of what it serves, unless something speaks against."""
        if load.is_offered or self.why_not(load.worker):
            return
        self._offering.offer(load)

    def _is_full(self, dispatcher: Dispatcher, excluded: Collection[UUID]) -> bool:
        """Whether there are workers that would do it, but for their being full."""
        return any(
            not self.why_not(self.loads[worker_id].worker)
            for worker_id in dispatcher.full
            if worker_id not in excluded
        )

    def _offer_again(self, model: ModelView) -> bool:
        """Whether looking at all of a model's workers again brought any back."""
        found = False
        for worker in model.workers:
            load = self.loads.get(worker.id)
            if load is not None and not load.is_offered:
                self._offer(load)
                found = found or load.is_offered
        return found

    def _withdraw(self, worker: WorkerView) -> None:
        load = self.loads.get(worker.id)
        if load is not None:
            load.is_offered = False
        self._offering.withdraw(worker)

    def _none_for(self, model: ModelView, task: Task) -> SwitchyardError:
        if model.workers and task not in model.tasks:
            return wrong_task(model, task)
        return self.why_none(model)

    def why_none(self, model: ModelView) -> NoWorkerAvailable:
        """What stands against each worker of a model that nothing serves now."""
        reasons = (self.why_not(worker) or "failing" for worker in model.workers)
        return none_live(model, reasons)

    # -- How workers fare ------------------------------------------------------

    def breaker_of(self, worker: WorkerView) -> Breaker:
        """What is held against it here; of one that has left, nothing that counts."""
        load = self.loads.get(worker.id)
        return load.breaker if load is not None else Breaker(self.clock.now)

    def refused_connection(self, worker: WorkerView, reason: str = "") -> None:
        """Nothing listens there: it is out at once."""
        breaker = self.breaker_of(worker)
        breaker.trip(Cause.REFUSING, f"refuses connections: {reason}")

    def _breaker_changed(self, worker_id: UUID, breaker: Breaker) -> None:
        self.num_breaker_changes += 1
        load = self.loads.get(worker_id)
        if load is None:  # it has left
            return
        self._recovery.watch(load)
        address = load.worker.address
        if breaker.state is BreakerState.OPEN:
            logger.warning("worker %s is taken out: %s", address, breaker.reason)
        elif breaker.state is BreakerState.HALF_OPEN:
            logger.info("worker %s is on trial", address)
        else:
            logger.warning("worker %s is in service again", address)
            self._recovery.begin(load)
            self._offer(load)
            self.on_room(worker_id)

    def look_after(self) -> None:
        """Let time act: breakers whose time is over are tried, shares grow.

        To be called about once a second. Costs nothing while all fare well.
        """
        for load in self._recovery.advance(self.loads):
            self._offer(load)

    # -- What the flusher writes -----------------------------------------------

    def take_heartbeats(self) -> dict[UUID, tuple[datetime, Heartbeat]]:
        """Heartbeats heard since the last call, the latest of each worker."""
        taken = {}
        for worker_id, load in self.loads.items():
            if load.heartbeat is not None:
                taken[worker_id] = (load.heartbeat_at, load.heartbeat)
                load.heartbeat = None
        return taken

    def give_back(self, heartbeats: dict[UUID, tuple[datetime, Heartbeat]]) -> None:
        """Keep what could not be written, unless a later one was heard meanwhile."""
        for worker_id, (_heard_at, heartbeat) in heartbeats.items():
            load = self.loads.get(worker_id)
            if load is not None and load.heartbeat is None:
                load.heartbeat = heartbeat

    def silent_workers(self) -> list[UUID]:
        """Registered workers that have been silent for longer than the expiry."""
        return [
            worker_id for worker_id, load in self.loads.items() if self.is_silent(load)
        ]
