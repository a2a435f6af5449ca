"""One worker after another until one answers, and what is held against each of them.

Another worker is asked for what is the fault of one, never for what none would answer;
and within bounds, see `retrying`.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from uuid import UUID

from django.conf import settings

from controller.errors import SwitchyardError, UpstreamFailed
from controller.fleet.breaker import BreakerState, Cause
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.snapshot import ModelView, WorkerView
from controller.relay.claim import Claim
from controller.relay.client import UpstreamBroken, UpstreamUnreachable
from controller.relay.explanation import Explanation
from controller.relay.failures import WorkerFailed, as_error, cause_of
from controller.relay.retrying import RetryBudget, pause_seconds
from controller.relay.upstream import Upstream

logger = logging.getLogger(__name__)

# Workers that took a request and broke off: one that kills engines must not reach all.
MAX_BROKEN = 3


class Tries:
    """All tries of one request with workers."""

    def __init__(
        self, claim: Claim, upstream: Upstream, fleet: Fleet, budget: RetryBudget
    ) -> None:
        self.num_retries = 0
        self.explanation = Explanation()
        self.upstream = upstream
        """What asks them; another one once another model is asked."""
        self._claim = claim
        self._fleet = fleet
        self._budget = budget

    async def first_bytes(
        self, model: ModelView, excluded: Collection[UUID] = ()
    ) -> bytes:
        """The first bytes of an answer, from whichever worker gives one.

        One that is down costs a retry, no more. Those in `excluded` are not asked.
        Raises `SwitchyardError` when nobody answers.
        """
        failed = set(excluded)
        num_broken = 0
        failure: SwitchyardError | None = None
        begun_at = time.monotonic()
        self._budget.note_request()
        while True:
            try:
                slot = await self._claim.take(model, failed)
            except SwitchyardError as exc:
                # A worker that was there and failed says more than "none is left".
                raise failure or exc from exc
            worker = slot.worker
            self.explanation.chose(slot)
            try:
                return await self._ask(worker)
            except WorkerFailed as exc:
                failure = exc.error
                self.explanation.failed(exc)
                logger.warning("worker %s failed: %s", worker.address, exc)
                num_broken += isinstance(exc.__cause__, UpstreamBroken)
            deadline = begun_at + settings.RETRY_DEADLINE.total_seconds()
            if num_broken == MAX_BROKEN or time.monotonic() > deadline:
                raise failure
            self.let_go()
            await self._earn_retry(slot, failure)
            failed.add(worker.id)
            self.num_retries += 1

    def broke_off(self, worker: WorkerView, exc: UpstreamBroken) -> None:
        """Hold it against a worker that it broke off in mid-stream."""
        breaker = self._fleet.breaker_of(worker)
        breaker.fail(cause_of(exc), str(exc), had_begun=True)
        self.explanation.failed(f"it broke off in mid-stream: {exc}")

    def let_go(self) -> None:
        """Free the worker that was asked last, if it is held still."""
        self._claim.release()
        self.upstream.let_go()

    async def _earn_retry(self, failed: Slot, failure: SwitchyardError) -> None:
        """Wait for a retry's moment; raises the failure where the budget is spent.

        Who was taken out is asked by nobody any more: what was there goes to others at
        once, and cannot come back. Where only last resorts are left, it would.
        """
        breaker = self._fleet.breaker_of(failed.worker)
        if breaker.state is BreakerState.OPEN and not failed.is_last_resort:
            return
        if not self._budget.take():
            raise failure
        await asyncio.sleep(pause_seconds(self.num_retries + 1))

    async def _ask(self, worker: WorkerView) -> bytes:
        """This worker's first bytes. Raises `WorkerFailed` to try another."""
        try:
            block = await self.upstream.ask(worker)
        except UpstreamUnreachable as exc:
            self._fleet.refused_connection(worker, str(exc))
            error = UpstreamFailed("The worker behind this model cannot be reached.")
            raise WorkerFailed(error, exc) from exc
        except UpstreamBroken as exc:
            self._fleet.breaker_of(worker).fail(cause_of(exc), str(exc))
            raise WorkerFailed(as_error(exc), exc) from exc
        except (SwitchyardError, WorkerFailed) as exc:
            self._judge_answer(worker, exc)
            raise
        if self.upstream.is_complete:
            self.let_go()  # the engine is free, however slowly our client reads
        self._fleet.breaker_of(worker).succeed()
        self._claim.prefilled()
        return block

    def _judge_answer(self, worker: WorkerView, exc: Exception) -> None:
        """Count a refusal that is the worker's own fault, never one of a client's."""
        status = self.upstream.status
        if status == 200 and isinstance(exc, SwitchyardError):
            status = exc.status  # the engine said so inside its answer
        # 401: our key for the engine, which no client can spoil.
        if status >= 500 or status == 401:
            breaker = self._fleet.breaker_of(worker)
            breaker.fail(Cause.ANSWERING_ERRORS, f"it answered {status}")
        self.explanation.failed(f"it answered {status}")
