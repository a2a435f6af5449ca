"""Health checks of workers under suspicion, several in a row before a verdict turns.

A worker that fares well needs none: it is heard every few seconds, and each answer
speaks for it. Asked are those whose breaker is not closed, before a user's request is
risked on them, and those that owe an answer and have sent nothing for a while: an
engine that hangs keeps its port open and its agent alive. A worker that is merely
silent is not asked, since nothing but its next heartbeat brings it back.

Each web process asks for itself: a breaker is its own, and so is its way to the worker.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from controller.errors import UpstreamFailed
from controller.fleet.addresses import path_on_engine
from controller.fleet.breaker import BreakerState
from controller.fleet.live import Fleet
from controller.fleet.snapshot import WorkerView
from controller.relay.client import (
    Connection,
    UpstreamBroken,
    UpstreamClient,
    UpstreamDown,
    UpstreamUnreachable,
    request_head,
)

MAX_AT_ONCE = 16
MAX_ANSWER_BYTES = 64 * 1024
# Whose `/health` asks the engine itself. Others may know no such path; the list of
# their models was there when they joined.
HAVE_HEALTH = frozenset({"vllm", "transformers", "mock"})


@dataclass(slots=True)
class Health:
    """Checks of one worker in a row with the same outcome."""

    num_failures: int = 0
    num_successes: int = 0
    asked_in_round: int = 0

    def note(self, is_well: bool) -> bool | None:
        """Whether the worker is well, at the check that settles it; else None."""
        if is_well:
            self.num_failures, self.num_successes = 0, self.num_successes + 1
            return True if self.num_successes == settings.PROBE_SUCCESSES else None
        self.num_failures, self.num_successes = self.num_failures + 1, 0
        return False if self.num_failures == settings.PROBE_FAILURES else None


class Prober:
    """Asks the suspects of one web process, a bounded number at once."""

    def __init__(self, fleet: Fleet, client: UpstreamClient) -> None:
        self._fleet = fleet
        self._client = client
        self._health: dict[UUID, Health] = {}
        self._round = 0

    async def probe_suspects(self) -> None:
        """One round: ask those that were asked longest ago, and tell the fleet."""
        suspects = {worker.id: worker for worker in self._suspects()}
        # Who is no suspect any more begins anew, should it become one again.
        self._health = {
            worker_id: self._health.get(worker_id) or Health() for worker_id in suspects
        }
        self._round += 1
        oldest_first = sorted(suspects.values(), key=self._asked_in_round)
        await asyncio.gather(*map(self._probe, oldest_first[:MAX_AT_ONCE]))

    def _suspects(self) -> Iterator[WorkerView]:
        seconds = settings.PROBE_AFTER.total_seconds()
        silent = set(self._client.silent_targets(seconds))
        for worker in self._fleet.snapshot.workers.values():
            load = self._fleet.loads[worker.id]
            may_be_tried = worker.is_enabled and not self._fleet.is_silent(load)
            is_open = load.breaker.state is not BreakerState.CLOSED
            if (is_open and may_be_tried) or worker.target in silent:
                yield worker

    def _asked_in_round(self, worker: WorkerView) -> int:
        return self._health[worker.id].asked_in_round

    async def _probe(self, worker: WorkerView) -> None:
        health = self._health[worker.id]
        health.asked_in_round = self._round
        problem = await self._problem_of(worker)
        match health.note(not problem):
            case False:
                reason = f"its health check failed {health.num_failures} times: "
                self._fleet.breaker_of(worker).mark_down(reason + problem)
                self._client.give_up(worker.target, UpstreamDown(reason + problem))
            case True:
                self._fleet.breaker_of(worker).mark_up()
                self._fleet.reconsider(worker)

    async def _problem_of(self, worker: WorkerView) -> str:
        """What is wrong with the worker, in words; empty if it answers.

        Any answer but 5xx will do: whether it serves is for a request to find out.
        """
        seconds = settings.PROBE_TIMEOUT.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                status = await self._status_of(worker)
        except TimeoutError:
            return f"no answer within {seconds:g} s"
        except (UpstreamUnreachable, UpstreamBroken, UpstreamFailed) as exc:
            return str(exc)
        return f"it answered {status}" if status >= 500 else ""

    async def _status_of(self, worker: WorkerView) -> int:
        path = "/health" if worker.engine in HAVE_HEALTH else "/v1/models"
        headers = {**worker.extra_headers, "accept": "*/*"}
        if worker.engine_key:
            headers["authorization"] = f"Bearer {worker.engine_key}"
        path = path_on_engine(worker.base_path, path)
        head = request_head(worker.target, "GET", path, headers, 0)
        connection = await self._client.send(worker.target, head, b"")
        try:
            await _read_away(connection)
            return connection.status
        finally:
            self._client.give_back(worker.target, connection)


async def _read_away(connection: Connection) -> None:
    """Read the answer to its end, so that the connection can be kept, or a part."""
    size = 0
    seconds = settings.PROBE_TIMEOUT.total_seconds()
    while size < MAX_ANSWER_BYTES and (part := await connection.read(seconds)):
        size += len(part)
