"""Keeps the worker known to its controller: joins, heartbeats, joins again, leaves."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from workers.backoff import Backoff
from workers.config import JoinTokenSource
from workers.controller_client import ControllerAway, ControllerClient, Refused
from workers.errors import BadAddress, BadStateDir
from workers.log_tail import log_tail
from workers.metrics_scrape import EngineNumbers
from workers.protocol import (
    AdapterReport,
    AdapterWish,
    CheckRequest,
    Heartbeat,
    HeartbeatAnswer,
    JoinAnswer,
    JoinRequest,
    RefusalCode,
    WorkerState,
)
from workers.state import Identity, StateDir

logger = logging.getLogger(__name__)

TOKEN_POLL_SECONDS = 2.0
RETRY_SECONDS = 5.0
REPEAT_SECONDS = 60.0  # between two lines about the same trouble
FIRST_HEARTBEAT_SECONDS = 5.0  # until a join says how often it is to be
LEAVE_TIMEOUT_SECONDS = 3.0


class NoJoinToken(Exception):
    """There is neither a credential nor a join token; the message says what to do."""


class Run(Protocol):
    """A start of what is served, with which its lifetime counters began."""

    @property
    def start_id(self) -> str: ...


RunT = TypeVar("RunT", bound=Run)


class Served(Protocol[RunT]):
    """What a registration speaks for: an engine of ours, or one that runs elsewhere."""

    state: WorkerState
    num_restarts: int
    current: RunT | None
    """None while it cannot work."""

    async def ready(self) -> RunT:
        """Return the present run, waiting until there is one."""

    async def numbers(self) -> EngineNumbers: ...


class Adapters(Protocol):
    """What loads and unloads adapters as the controller wishes."""

    def wish(self, wishes: Sequence[AdapterWish]) -> None:
        """Have these adapters, and no others."""

    def reports(self, told: Collection[str], refusal: str) -> list[AdapterReport]:
        """Return how they fare, given the names that the controller was told of; or
        why it wants to hear of no more of them."""


@dataclass(frozen=True)
class Membership:
    """What the controller answered to a join, and what it was told in it."""

    identity: Identity
    start_id: str
    models: tuple[str, ...]
    heartbeat_seconds: float


class Registration(Generic[RunT]):
    """The worker's standing with one controller, which may be away for any time.

    `describe` says what a join tells of a run; `on_stop` is called when the operator
    wishes the worker to end. `name` tells the lines of several in one log apart. No
    `adapters`: wishes for some are not heard.
    """

    def __init__(
        self,
        token: JoinTokenSource,
        controller: str,
        client: ControllerClient,
        served: Served[RunT],
        describe: Callable[[RunT], JoinRequest],
        state_dir: StateDir,
        on_stop: Callable[[], None],
        name: str = "",
        on_rotate_key: Callable[[], None] = lambda: None,
        adapters: Adapters | None = None,
    ) -> None:
        self.leaving = False
        self.drain_wished = False
        self.drain_told = asyncio.Event()
        self.membership: Membership | None = None
        self._identity: Identity | None = None
        self._token = token
        self._controller = controller
        self._client = client
        self._served = served
        self._describe = describe
        self._state_dir = state_dir
        self._on_stop = on_stop
        self._on_rotate_key = on_rotate_key
        self._adapters = adapters
        self._sends_log = False
        self._is_outdated = False
        self._has_joined = asyncio.Event()
        self._renewal = Backoff(first=2.0, longest=60.0)
        self._renew_at = 0.0
        self._refusal = ""
        self._prefix = f"{name}: " if name else ""
        self._wake = asyncio.Event()
        self._last_trouble = ""
        self._trouble_said_at = 0.0

    async def run(self) -> None:
        """Join and heartbeat until cancelled."""
        while True:
            try:
                await self._heartbeat_while_loading()
                self.membership = await self._join_until_taken()
                await self._heartbeat_while_known(self.membership)
            except Exception:
                # A full disk, say. The engine serves on, and must not be forgotten.
                logger.exception("The registration failed; trying again.")
                await asyncio.sleep(RETRY_SECONDS)
            self.membership = None

    def wake(self) -> None:
        """Heartbeat at once: there is news."""
        self._wake.set()

    def join_again(self) -> asyncio.Event:
        """Tell the controller what has changed; the event is set once it knows."""
        self._is_outdated = True
        self._renewal.reset()
        self._renew_at = 0.0
        if self._has_joined.is_set():  # else somebody may be waiting for it still
            self._has_joined = asyncio.Event()
        self.wake()
        return self._has_joined

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
            run = await self._served.ready()
            try:
                membership = await self._join(run)
            except NoJoinToken as trouble:
                self._say_why_not_joined(trouble)
                await asyncio.sleep(TOKEN_POLL_SECONDS)
            except (ControllerAway, BadAddress) as trouble:
                self._say_why_not_joined(trouble)
                await asyncio.sleep(backoff.next_pause())
            except Refused as trouble:
                self._say_why_not_joined(trouble)
                await self._pause_or_new_token(backoff.next_pause())
            else:
                self._last_trouble = ""  # that we joined has been said
                return membership

    async def _pause_or_new_token(self, seconds: float) -> None:
        """Wait, but no longer than until there is another join token than before."""
        refused = self._token.read()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._token.read() == refused:  # noqa: ASYNC110  (it is a file)
                    await asyncio.sleep(TOKEN_POLL_SECONDS)

    async def _renewed(self, membership: Membership, run: RunT) -> Membership:
        """Join again; where that fails, what the controller knew before holds on.

        It must not stop hearing of us because something new is not to its liking.
        """
        try:
            self.membership = renewed = await self._join(run)
        except (ControllerAway, Refused, BadAddress, NoJoinToken) as trouble:
            if str(trouble) != self._refusal:
                self._refusal = str(trouble)
                logger.warning(
                    "%sWhat has changed is not told yet: %s", self._prefix, trouble
                )
            self._is_outdated = True
            self._renew_at = time.monotonic() + self._renewal.next_pause()
            return membership
        return renewed

    async def _join(self, run: RunT) -> Membership:
        """Join by our own credential, or else by the join token."""
        self._is_outdated = False
        request = self._describe(run)
        identity = self._known_identity()
        if identity is not None:
            known = msgspec.structs.replace(request, worker_id=identity.worker_id)
            try:
                answer = await self._client.join(known, identity.credential)
            except Refused as refusal:
                if not _is_unknown(refusal):
                    raise
            else:
                return self._take_place(answer, identity.credential, request)
        token = self._token.read()
        log_tail.hide(token or "")
        if token is None:
            raise self._no_token()
        answer = await self._client.join(request, token)
        if not answer.credential:
            raise ControllerAway("it took the worker without giving it a credential")
        return self._take_place(answer, answer.credential, request)

    def _no_token(self) -> NoJoinToken:
        if reason := self._token.why_unreadable():
            return NoJoinToken(f"{reason}. Let this user read it.")
        return NoJoinToken(
            f"none in {self._token}. Make one with"
            " `python manage.py join_token` where the controller runs."
        )

    def _take_place(
        self, answer: JoinAnswer, old_credential: str, request: JoinRequest
    ) -> Membership:
        identity = Identity(
            controller=self._controller,
            worker_id=answer.worker_id,
            credential=answer.credential or old_credential,
        )
        log_tail.hide(identity.credential)
        self._keep(identity)
        self._refusal = ""
        if not self._is_outdated:
            self._has_joined.set()
        logger.info(
            "%sJoined %s as worker %s.",
            self._prefix,
            self._controller,
            answer.worker_id,
        )
        return Membership(
            identity=identity,
            start_id=request.start_id,
            models=tuple(offer.name for offer in request.models),
            heartbeat_seconds=answer.heartbeat_seconds,
        )

    def _known_identity(self) -> Identity | None:
        return self._identity or self._state_dir.read_identity(self._controller)

    def _keep(self, identity: Identity) -> None:
        # First here: the token that bought it may be spent, and the disk full.
        self._identity = identity
        try:
            self._state_dir.write_identity(identity)
        except BadStateDir as error:
            logger.error(
                "%sJoined, but started again it will need a new join token: %s",
                self._prefix,
                error,
            )

    # Heartbeats

    async def _heartbeat_while_loading(self) -> None:
        """Let a controller that knows us see how the engine comes up, until it is up.

        The row's address and models are those of before; the join renews them.
        """
        identity = self._known_identity()
        if self._served.current is not None:
            return
        if identity is None:
            await self._announce_while_loading()
            return
        log_tail.hide(identity.credential)
        loading = Membership(
            identity=identity,
            start_id="",
            models=(),
            heartbeat_seconds=FIRST_HEARTBEAT_SECONDS,
        )
        ready = asyncio.create_task(self._served.ready())
        ready.add_done_callback(lambda _: self.wake())
        try:
            while not ready.done():
                try:
                    await self._heartbeat(loading)
                    self.membership = loading
                except ControllerAway as trouble:
                    self._say_why_not_joined(trouble)
                await self._pause(loading.heartbeat_seconds)
        except Refused:
            return  # we left, or were removed: a join will say what is missing
        finally:
            ready.cancel()

    async def _announce_while_loading(self) -> None:
        """Let the operator who waits for this worker know that it is under way.

        What a join would fail by is said now: loading may take an hour.
        """
        ready = asyncio.create_task(self._served.ready())
        ready.add_done_callback(lambda _: self.wake())
        try:
            while not ready.done():
                try:
                    await self._announce()
                    self._last_trouble = ""
                except (NoJoinToken, ControllerAway, Refused) as trouble:
                    self._say_why_not_joined(trouble)
                await self._pause(FIRST_HEARTBEAT_SECONDS)
        finally:
            ready.cancel()

    async def _announce(self) -> None:
        token = self._token.read()
        if token is None:
            raise self._no_token()
        log_tail.hide(token)
        numbers = await self._served.numbers()
        state, progress = self._served.state, numbers.loading_progress
        request = CheckRequest(state=state, loading_progress=progress)
        await self._client.check(request, token)

    async def _heartbeat_while_known(self, membership: Membership) -> None:
        """Heartbeat until the controller forgot us or the engine started anew."""
        while True:
            current = self._served.current
            if current is not None and current.start_id != membership.start_id:
                return
            if current is not None and self._is_renewal_due:
                membership = await self._renewed(membership, current)
            try:
                await self._heartbeat(membership)
                self._say_all_is_well()
            except ControllerAway as trouble:
                self._say_trouble(f"The controller does not hear us: {trouble}")
            except Refused as refusal:
                self._say_trouble(f"The controller refuses our heartbeat: {refusal}")
                if _is_unknown(refusal):
                    return
            await self._pause(membership.heartbeat_seconds)

    @property
    def _is_renewal_due(self) -> bool:
        # A join says that we are up, which one that leaves must not say any more.
        is_wished = self._is_outdated and not self.leaving
        return is_wished and time.monotonic() >= self._renew_at

    async def _heartbeat(self, membership: Membership) -> None:
        leaving = self.leaving  # as this heartbeat says it; it may change while we wait
        heartbeat = await self._report(membership, leaving)
        identity = membership.identity
        answer = await self._client.heartbeat(
            identity.worker_id, identity.credential, heartbeat
        )
        if leaving:
            self.drain_told.set()
        self._heed(answer)

    async def _report(self, membership: Membership, leaving: bool) -> Heartbeat:
        numbers = await self._served.numbers()
        run, state = self._served.current, self._served.state
        is_the_one_told_of = run is not None and run.start_id == membership.start_id
        if state is WorkerState.READY and not is_the_one_told_of:
            state = WorkerState.LOADING  # a new run: what it serves is told by a join
        elif state is WorkerState.READY and (leaving or self.drain_wished):
            state = WorkerState.DRAINING
        return numbers.heartbeat(
            state=state,
            start_id=membership.start_id,
            num_restarts=self._served.num_restarts,
            models=list(membership.models) if is_the_one_told_of else [],
            adapters=self._adapter_reports(membership),
            log=log_tail.lines() if self._sends_log else None,
        )

    def _heed(self, answer: HeartbeatAnswer) -> None:
        """Do what the operator wishes, as the controller passes it on."""
        if answer.drain != self.drain_wished:
            self.drain_wished = answer.drain
            logger.info(
                "The operator drains this worker."
                if answer.drain
                else "The operator ended the drain."
            )
            self._wake.set()  # tell at once that the wish is met
        if answer.send_log and not self._sends_log:
            self._wake.set()  # somebody waits for it
        self._sends_log = answer.send_log
        if answer.rotate_key:
            self._on_rotate_key()
        if self._adapters is not None and answer.adapters is not None:
            self._adapters.wish(answer.adapters)
        if answer.stop:
            logger.info("The operator stops this worker.")
            self._on_stop()

    def _adapter_reports(self, membership: Membership) -> list[AdapterReport]:
        if self._adapters is None:
            return []
        return self._adapters.reports(membership.models, self._refusal)

    async def _pause(self, seconds: float) -> None:
        """Wait for about `seconds`, or less if there is something to tell."""
        jitter = random.uniform(0.9, 1.0)  # noqa: S311  (not a secret)
        # Not `wait_for`: up to Python 3.11 it forgets a cancellation that comes as one
        # is woken, which is what happens when the engine is given up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * jitter):
                await self._wake.wait()
        self._wake.clear()

    def _say_all_is_well(self) -> None:
        if self._last_trouble:
            self._last_trouble = ""
            logger.info("%sThe controller hears us again.", self._prefix)

    def _say_why_not_joined(self, trouble: Exception) -> None:
        if isinstance(trouble, NoJoinToken):
            self._say_trouble(f"Waiting for a join token: {trouble}")
        elif isinstance(trouble, Refused):
            self._say_trouble(f"The controller refuses this worker: {trouble}")
        else:
            where = self._controller
            self._say_trouble(f"Waiting for the controller at {where}: {trouble}")

    def _say_trouble(self, trouble: str) -> None:
        """Log a trouble when it is new and then each minute, not at each try."""
        text = self._prefix + trouble
        now = time.monotonic()
        if text != self._last_trouble or now - self._trouble_said_at >= REPEAT_SECONDS:
            self._last_trouble, self._trouble_said_at = text, now
            logger.warning(text)


def _is_unknown(refusal: Refused) -> bool:
    """Tell if it is we who are not known, rather than something we said."""
    return refusal.status in (401, 404) or refusal.code == RefusalCode.WORKER_UNKNOWN
