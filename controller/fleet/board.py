"""The fleet as operators watch it: each worker in a few words and numbers, kept up to
date while somebody looks.

One web process reads the rows once a second for all who watch it there, and each is
told what has changed since it was told last: nothing is queued for a slow one.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from django.db import DatabaseError
from django.db.models import Prefetch
from django.utils.timezone import now

from controller.fleet.samples import Outcomes
from controller.fleet.series import Point, recent_outcomes
from controller.fleet.worker_states import with_shown_state
from controller.gateway import Gateway, gateway, is_running
from controller.models import Worker, WorkerBreaker

logger = logging.getLogger(__name__)

READ_SECONDS = 1.0
OUTCOMES_SECONDS = 15.0
LONGEST_SHARE = 10
RECENT = timedelta(minutes=5)
MAX_WORKERS = 1_000
MAX_REQUESTS = 100


class ShownWorker(msgspec.Struct, kw_only=True):
    """A worker as the pages show it; the script's names are these."""

    id: str
    address: str
    host: str
    models: list[str]
    state: str
    running: int
    waiting: int
    max_concurrency: int
    kv: float | None
    hit_rate: float | None
    restarts: int
    engine: str
    version: str
    heartbeat_at: float
    """UNIX seconds."""
    weight: float
    progress: float | None
    breaker: str
    """The worst that a web process holds against it; empty if none does."""
    breaker_reason: str
    is_draining: bool
    is_rotating: bool
    is_ours: bool
    """Its key is ours to change."""
    tokens_total: int | None
    start_id: str
    in_flight: int = 0
    """Requests of this web process."""
    tokens_per_second: float | None = None
    ttft: float | None = None
    """Mean of the last minutes, in seconds."""
    num_requests: int = 0
    num_errors: int = 0


def read_workers(only: UUID | None = None) -> list[ShownWorker]:
    """Registered workers by address, or one of them. Three queries, whatever their
    number."""
    registered = Worker.objects.registered().defer("encrypted_engine_key")
    if only is not None:
        registered = registered.filter(pk=only)
    workers = with_shown_state(registered).prefetch_related(
        "served_models", Prefetch("breakers", WorkerBreaker.objects.current())
    )
    return [_shown(worker) for worker in workers[:MAX_WORKERS]]


def _shown(worker: Any) -> ShownWorker:
    breakers = list(worker.breakers.all())
    open_first = sorted(breakers, key=lambda each: each.state != "open")
    queries, hits = worker.prefix_cache_queries_total, worker.prefix_cache_hits_total
    return ShownWorker(
        id=str(worker.pk),
        address=worker.address,
        host=urlsplit(worker.address).hostname or worker.address,
        models=sorted(model.name for model in worker.served_models.all()),
        state=worker.shown_state,
        running=worker.running,
        waiting=worker.waiting,
        max_concurrency=worker.max_concurrency,
        kv=worker.kv_cache_usage,
        hit_rate=(hits or 0) / queries if queries else None,
        restarts=worker.num_restarts,
        engine=worker.engine,
        version=worker.engine_version,
        heartbeat_at=worker.last_heartbeat_at.timestamp(),
        weight=worker.weight,
        progress=worker.loading_progress,
        breaker=open_first[0].state if open_first else "",
        breaker_reason=open_first[0].reason if open_first else "",
        is_draining=worker.drain_wished,
        is_rotating=worker.rotation_wished,
        is_ours=not (worker.shares_address or worker.is_keyless),
        tokens_total=worker.generation_tokens_total,
        start_id=worker.start_id,
    )


class Board:
    """What one web process shows of the fleet to all who watch it there."""

    def __init__(self) -> None:
        self.version = 0
        self._workers: dict[str, tuple[int, ShownWorker]] = {}
        self._gone: dict[str, int] = {}
        self._rates: dict[str, tuple[str, int, float, float | None]] = {}
        self._recent: dict[UUID, Point] = {}
        self._recent_read_at = float("-inf")
        self._num_watchers = 0
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def watch(self) -> AsyncGenerator[dict[str, Any]]:
        """All workers first, and then, as often as there is news, what has changed."""
        self._num_watchers += 1
        if self._reading is None or self._reading.done():
            self._news = asyncio.Event()
            self._reading = asyncio.create_task(self._read_forever())
        try:
            seen = 0
            while True:
                news = self._news
                if self.version > seen:
                    told, seen = self._since(seen), self.version
                    yield told
                await news.wait()
        finally:
            self._num_watchers -= 1

    def _since(self, seen: int) -> dict[str, Any]:
        return {
            "type": "workers",
            "is_all": seen == 0,
            "workers": [
                worker for version, worker in self._workers.values() if version > seen
            ],
            "now": time.time(),
            "gone": [each for each, version in self._gone.items() if version > seen],
        }

    async def _read_forever(self) -> None:
        """Read as long as anybody watches."""
        while self._num_watchers:
            began = time.monotonic()
            try:
                await self._read()
            except DatabaseError as exc:
                logger.warning("the fleet is not read for its watchers: %s", exc)
            except Exception:
                logger.exception("the fleet is not read for its watchers")
            took = time.monotonic() - began  # a large fleet is read less often
            await asyncio.sleep(max(READ_SECONDS, LONGEST_SHARE * took))

    async def _read(self) -> None:
        at = time.monotonic()
        if at - self._recent_read_at >= OUTCOMES_SECONDS:
            self._recent = await database_sync_to_async(recent_outcomes)(RECENT, now())
            self._recent_read_at = at
        self.adopt(await database_sync_to_async(read_workers)())

    def adopt(self, workers: list[ShownWorker]) -> None:
        """Take over what the rows say by now; watchers are told what is new of it."""
        running = gateway() if is_running() else None
        version = self.version + 1
        known, self._workers = self._workers, {}
        for worker in workers:
            self._complete(worker, running)
            before = known.get(worker.id)
            if before is not None and before[1] == worker:
                self._workers[worker.id] = before
            else:
                self._workers[worker.id] = version, worker
        self._forget(known.keys() - self._workers.keys(), version)
        is_news = any(at == version for at, _worker in self._workers.values())
        if is_news or version in self._gone.values() or not self.version:
            self.version = version
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _forget(self, gone: set[str], version: int) -> None:
        for worker_id in self._workers:
            self._gone.pop(worker_id, None)
        self._gone |= dict.fromkeys(gone, version)
        while len(self._gone) > MAX_WORKERS:
            del self._gone[next(iter(self._gone))]
        for worker_id in gone:
            self._rates.pop(worker_id, None)

    def _complete(self, worker: ShownWorker, running: Gateway | None) -> None:
        """Add what the rows do not have."""
        worker.tokens_per_second = self._rate(worker)
        worker_id = UUID(worker.id)
        now_and_recent: list[Point | Outcomes | None] = [self._recent.get(worker_id)]
        if running is not None:
            load = running.fleet.loads.get(worker_id)
            worker.in_flight = load.in_flight if load is not None else 0
            now_and_recent.append(running.samples.outcomes.get(worker_id))
        _add_outcomes(worker, [each for each in now_and_recent if each is not None])

    def _rate(self, worker: ShownWorker) -> float | None:
        """Tokens a second between the last two heartbeats."""
        total, at = worker.tokens_total, worker.heartbeat_at
        if total is None:
            return None
        before = self._rates.get(worker.id)
        rate = None
        if before is not None and before[0] == worker.start_id:
            _start, total_before, at_before, rate = before
            if at <= at_before:
                return rate
            rate = max(0.0, (total - total_before) / (at - at_before))
        self._rates[worker.id] = worker.start_id, total, at, rate
        return rate


def _add_outcomes(worker: ShownWorker, outcomes: list[Point | Outcomes]) -> None:
    worker.num_requests = sum(each.num_requests for each in outcomes)
    worker.num_errors = sum(each.num_errors for each in outcomes)
    num_first = sum(each.num_first_tokens for each in outcomes)
    if num_first:
        worker.ttft = sum(each.ttft_seconds for each in outcomes) / num_first


def requests_on(worker_id: UUID) -> list[dict[str, Any]]:
    """What this web process has under way there: no text of anybody's. No I/O."""
    if not is_running():
        return []
    under_way = [
        exchange
        for exchange in gateway().exchanges
        if exchange.worker is not None and exchange.worker.id == worker_id
    ]
    return [
        {
            "id": exchange.request.request_id,
            "model": exchange.model.name,
            "face": exchange.caller.face,
            "endpoint": exchange.request.endpoint,
            "began_at": round(
                time.time() - (time.perf_counter() - exchange.request.arrived_at)
            ),
            "tokens": exchange.completion_tokens_so_far,
        }
        for exchange in under_way[:MAX_REQUESTS]
    ]


board = Board()
"""Of this web process."""
