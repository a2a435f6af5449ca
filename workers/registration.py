"""Keeps the worker known to its controller: joins, heartbeats, joins again, leaves."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from workers.addresses import worker_address
from workers.backoff import Backoff
from workers.config import WorkerConfig
from workers.controller_client import ControllerAway, ControllerClient, Refused
from workers.errors import BadAddress
from workers.protocol import (
    Capacity,
    JoinAnswer,
    JoinRequest,
    ModelOffer,
    RefusalCode,
    Task,
    WorkerState,
)
from workers.state import Identity, StateDir
from workers.supervisor import EngineRun, EngineSupervisor

logger = logging.getLogger(__name__)

TOKEN_POLL_SECONDS = 2.0
RETRY_SECONDS = 5.0
LEAVE_TIMEOUT_SECONDS = 3.0


class NoJoinToken(Exception):
    """There is neither a credential nor a join token; the message says what to do."""


@dataclass(frozen=True)
class Membership:
    """What the controller answered to a join, and for which start of the engine."""

    identity: Identity
    start_id: str
    heartbeat_seconds: float


class Registration:
    """The worker's standing with one controller, which may be away for any time.

    `port` is the engine's; `on_stop` is called when the operator wishes the worker to
    end. Set `draining` and call `wake` to tell the controller of a drain at once.
    """

    def __init__(
        self,
        config: WorkerConfig,
        controller: str,
        client: ControllerClient,
        supervisor: EngineSupervisor,
        state_dir: StateDir,
        bound_to: tuple[str, int],
        on_stop: Callable[[], None],
    ) -> None:
        self.leaving = False
        self.drain_wished = False
        self.drain_told = asyncio.Event()
        self.membership: Membership | None = None
        self._config = config
        self._controller = controller
        self._client = client
        self._supervisor = supervisor
        self._state_dir = state_dir
        self._host, self._port = bound_to
        self._on_stop = on_stop
        self._wake = asyncio.Event()
        self._last_trouble = ""

    async def run(self) -> None:
        """Join and heartbeat until cancelled."""
        while True:
            try:
                self.membership = await self._join_until_taken()
                await self._heartbeat_while_known(self.membership)
            except Exception:
                # A full disk, say. The engine serves on, and must not be forgotten.
                logger.exception("The registration failed; trying again.")
                await asyncio.sleep(RETRY_SECONDS)
            self.membership = None

    def announce_leaving(self) -> None:
        """Let the next heartbeat, sent now, say that no more work is to come."""
        self.leaving = True
        self._wake.set()

    async def leave(self) -> None:
        """Tell the controller that we are gone; if it is away, that is no error."""
        if self.membership is None:
            return
        identity = self.membership.identity
        with contextlib.suppress(ControllerAway, Refused, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_SECONDS):
                await self._client.leave(identity.worker_id, identity.credential)
                logger.info("Left the controller.")

    # Joining

    async def _join_until_taken(self) -> Membership:
        backoff = Backoff(first=1.0, longest=30.0)
        while True:
            engine_run = await self._supervisor.ready()
            try:
                membership = await self._join(engine_run)
            except NoJoinToken as trouble:
                self._say_trouble("Waiting for a join token: %s", trouble)
                await asyncio.sleep(TOKEN_POLL_SECONDS)
            except (ControllerAway, BadAddress) as trouble:
                self._say_trouble(
                    f"Waiting for the controller at {self._controller}: %s", trouble
                )
                await asyncio.sleep(backoff.next_pause())
            except Refused as trouble:
                self._say_trouble("The controller refuses this worker: %s", trouble)
                await asyncio.sleep(backoff.next_pause())
            else:
                self._last_trouble = ""  # that we joined has been said
                return membership

    async def _join(self, engine_run: EngineRun) -> Membership:
        """Join by our own credential, or else by the join token."""
        identity = self._state_dir.read_identity(self._controller)
        if identity is not None:
            request = self._join_request(engine_run, identity.worker_id)
            try:
                answer = await self._client.join(request, identity.credential)
            except Refused as refusal:
                if not _is_unknown(refusal):
                    raise
            else:
                return self._take_place(answer, identity.credential, engine_run)
        token = self._config.token.read()
        if token is None:
            raise NoJoinToken(
                f"none in {self._config.token}. Make one with"
                " `python manage.py join_token` where the controller runs."
            )
        answer = await self._client.join(self._join_request(engine_run, None), token)
        if not answer.credential:
            raise ControllerAway("it took the worker without giving it a credential")
        return self._take_place(answer, answer.credential, engine_run)

    def _join_request(
        self, engine_run: EngineRun, worker_id: str | None
    ) -> JoinRequest:
        config, engine = self._config, self._supervisor.engine
        return JoinRequest(
            worker_id=worker_id,
            address=worker_address(
                config.worker_address, self._host, self._port, self._controller
            ),
            engine=engine.name,
            engine_version=engine_run.version,
            start_id=engine_run.start_id,
            models=[
                ModelOffer(
                    name=config.name,
                    aliases=list(config.names[1:]),
                    tasks=list(engine_run.tasks),
                    context_length=engine_run.context_length,
                )
            ],
            capacity=Capacity(
                max_concurrency=engine.max_concurrency,
                kv_cache_tokens=engine_run.kv_cache_tokens,
            ),
            weight=config.weight,
            labels=dict(config.labels),
            engine_key=self._supervisor.client.key,
            exclusive=config.exclusive,
            can_continue=Task.CHAT in engine_run.tasks,
        )

    def _take_place(
        self, answer: JoinAnswer, old_credential: str, engine_run: EngineRun
    ) -> Membership:
        identity = Identity(
            controller=self._controller,
            worker_id=answer.worker_id,
            credential=answer.credential or old_credential,
        )
        self._state_dir.write_identity(identity)
        logger.info("Joined %s as worker %s.", self._controller, answer.worker_id)
        return Membership(identity, engine_run.start_id, answer.heartbeat_seconds)

    # Heartbeats

    async def _heartbeat_while_known(self, membership: Membership) -> None:
        """Heartbeat until the controller forgot us or the engine started anew."""
        while True:
            current = self._supervisor.current
            if current is not None and current.start_id != membership.start_id:
                return
            try:
                await self._heartbeat(membership)
                self._say_all_is_well()
            except ControllerAway as trouble:
                self._say_trouble("The controller does not hear us: %s", trouble)
            except Refused as refusal:
                self._say_trouble("The controller refuses our heartbeat: %s", refusal)
                if _is_unknown(refusal):
                    return
            await self._pause(membership.heartbeat_seconds)

    async def _heartbeat(self, membership: Membership) -> None:
        leaving = self.leaving  # as this heartbeat says it; it may change while we wait
        numbers = await self._supervisor.numbers()
        state = self._supervisor.state
        if state is WorkerState.READY and (leaving or self.drain_wished):
            state = WorkerState.DRAINING
        heartbeat = numbers.heartbeat(
            state=state,
            start_id=membership.start_id,
            num_restarts=self._supervisor.num_restarts,
            models=[self._config.name] if self._supervisor.current else [],
        )
        identity = membership.identity
        answer = await self._client.heartbeat(
            identity.worker_id, identity.credential, heartbeat
        )
        if leaving:
            self.drain_told.set()
        if answer.drain != self.drain_wished:
            self.drain_wished = answer.drain
            logger.info(
                "The operator drains this worker."
                if answer.drain
                else "The operator ended the drain."
            )
            self._wake.set()  # tell at once that the wish is met
        if answer.stop:
            logger.info("The operator stops this worker.")
            self._on_stop()

    async def _pause(self, seconds: float) -> None:
        """Wait for about `seconds`, or less if there is something to tell."""
        jitter = random.uniform(0.9, 1.0)  # noqa: S311  (not a secret)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds * jitter)
        self._wake.clear()

    def _say_all_is_well(self) -> None:
        if self._last_trouble:
            self._last_trouble = ""
            logger.info("The controller hears us again.")

    def _say_trouble(self, sentence: str, trouble: Exception) -> None:
        """Log a trouble when it is new, not at each of a thousand tries."""
        text = sentence % trouble
        if text != self._last_trouble:
            self._last_trouble = text
            logger.warning(text)


def _is_unknown(refusal: Refused) -> bool:
    """Tell if it is we who are not known, rather than something we said."""
    return refusal.status in (401, 404) or refusal.code == RefusalCode.WORKER_UNKNOWN
