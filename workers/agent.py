"""The agent: a small process that runs an engine and speaks for it to the controller.

It is off the data path (the web process talks to the engine directly) and imports
neither torch nor an engine, so that it starts at once and stays responsive while
hundreds of gigabytes load.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp

from workers.adapters import AdapterKeeper
from workers.addresses import (
    check_worker_address,
    host_to_bind,
    is_out_of_reach,
    local_url,
    worker_address,
)
from workers.agent_server import agent_server
from workers.config import WorkerConfig, worker_config
from workers.controller_client import ControllerClient
from workers.engine_client import EngineClient
from workers.engine_guard import KEY_FILE_VARIABLE
from workers.errors import CannotStart
from workers.key_files import read_key
from workers.key_rotation import KeyRotation
from workers.log_tail import log_tail
from workers.logs import set_up_logging
from workers.places import own_place
from workers.protocol import Capacity, JoinRequest, ModelOffer, Task
from workers.registration import Registration
from workers.state import StateDir
from workers.supervisor import (
    Engine,
    EngineNeverStarted,
    EngineRun,
    EngineSupervisor,
)

logger = logging.getLogger(__name__)

TELL_SECONDS = 3.0

EngineMaker = Callable[[WorkerConfig, str, int, Path], Engine]
"""From settings, host, port and state folder to the engine that is to listen there."""


def run_worker(arguments: argparse.Namespace, make_engine: EngineMaker) -> int:
    """Be a worker as the command line says; return the exit status."""
    set_up_logging(arguments.log_format)
    try:
        return run_agent(worker_config(arguments), make_engine)
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2


def run_agent(config: WorkerConfig, make_engine: EngineMaker) -> int:
    """Run until told to stop; return the exit status, or raise `CannotStart`."""
    host = config.host or host_to_bind(config.controller)
    if config.worker_address:
        check_worker_address(config.worker_address)
    elif (
        config.host
        and config.controller
        and is_out_of_reach(config.host, config.controller)
    ):
        logger.warning(
            "The engine is bound to %s, where the controller at %s will not reach it:"
            " leave --host out, or give --worker-address.",
            host,
            config.controller,
        )
    with own_place(config, host) as (state_dir, port):
        engine = make_engine(config, host, port.number, state_dir.path)
        agent = Agent(config, engine, state_dir, (host, port.number))
        return asyncio.run(agent.run())


class Agent:
    """One worker's life, from the start of its engine to its leave."""

    def __init__(
        self,
        config: WorkerConfig,
        engine: Engine,
        state_dir: StateDir,
        bound_to: tuple[str, int],
    ) -> None:
        self._config = config
        self._engine = engine
        self._state_dir = state_dir
        self._bound_to = bound_to
        self._stop = asyncio.Event()

    async def run(self) -> int:
        async with aiohttp.ClientSession() as session:
            client = self._engine_client(session)
            log_tail.hide(client.key)
            engine = self._with_key_file(client.key)
            supervisor = EngineSupervisor(self._config, engine, client)
            logger.info("The engine listens at %s once it is loaded.", client.url)
            keeper = AdapterKeeper(supervisor)
            registration = self._registration(session, supervisor, keeper)
            if registration is not None:
                supervisor.on_change = registration.wake
                keeper.join_again = registration.join_again
            async with self._own_server(supervisor, registration):
                return await self._live(supervisor, registration, keeper)

    async def _live(
        self,
        supervisor: EngineSupervisor,
        registration: Registration[EngineRun] | None,
        keeper: AdapterKeeper,
    ) -> int:
        self._listen_for_signals(supervisor)
        running = asyncio.create_task(supervisor.run())
        known = asyncio.create_task(self._stay_known(registration, supervisor))
        keeping = asyncio.create_task(self._keep_adapters(keeper))
        try:
            if not await self._stopped_before(running):
                return 1
            await self._drain(supervisor, registration)
        finally:
            tasks = (keeping, known, running)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if registration is not None:
                await registration.leave()
        return 0

    def _own_server(
        self,
        supervisor: EngineSupervisor,
        registration: Registration[EngineRun] | None,
    ) -> AbstractAsyncContextManager[None]:
        def is_registered() -> bool:
            return registration is not None and registration.membership is not None

        if self._config.agent_port is None:
            return contextlib.nullcontext()
        return agent_server(self._config.agent_port, supervisor, is_registered)

    def _engine_client(self, session: aiohttp.ClientSession) -> EngineClient:
        certificate = self._config.certificate
        return EngineClient(
            session,
            local_url(*self._bound_to, scheme=self._config.scheme),
            self._key(),
            certificate.trusted() if certificate else None,
        )

    def _with_key_file(self, key: str) -> Engine:
        """Return the engine such that its key can change while it runs."""
        if self._config.controller is None:
            return self._engine
        file = self._state_dir.write_engine_keys([key]).absolute()
        command = self._engine.command
        environment = {**command.environment, KEY_FILE_VARIABLE: str(file)}
        return replace(self._engine, command=replace(command, environment=environment))

    def _key(self) -> str:
        """Return the key that guards the engine, new at each start of the agent."""
        if self._config.controller is not None:
            return secrets.token_urlsafe(32)
        if self._config.api_key_file is not None:
            return read_key(self._config.api_key_file, "--api-key-file")
        key = secrets.token_urlsafe(32)
        file = self._state_dir.write_engine_key(key)
        logger.info("The engine's API key is in %s.", file)
        return key

    def _registration(
        self,
        session: aiohttp.ClientSession,
        supervisor: EngineSupervisor,
        keeper: AdapterKeeper,
    ) -> Registration[EngineRun] | None:
        controller = self._config.controller
        if controller is None:
            return None
        rotation = KeyRotation(supervisor.client, self._state_dir)
        registration = Registration(
            self._config.token,
            controller,
            ControllerClient(session, controller, self._config.controller_ca),
            supervisor,
            partial(self._join_request, supervisor, keeper, controller),
            self._state_dir,
            on_stop=self._stop.set,
            on_rotate_key=lambda: rotation.begin(registration),
            adapters=keeper if self._engine.adapter_sources else None,
        )
        return registration

    def _join_request(
        self,
        supervisor: EngineSupervisor,
        keeper: AdapterKeeper,
        controller: str,
        run: EngineRun,
    ) -> JoinRequest:
        config, engine = self._config, supervisor.engine
        models = [
            ModelOffer(
                name=config.name,
                aliases=list(config.names[1:]),
                tasks=list(run.tasks),
                modalities=list(engine.modalities()),
                context_length=run.context_length,
            ),
            *run.others,
            *keeper.offers(run),
        ]
        return JoinRequest(
            address=worker_address(
                config.worker_address, *self._bound_to, controller, config.scheme
            ),
            engine=engine.name,
            engine_version=run.version,
            start_id=run.start_id,
            models=models,
            capacity=Capacity(
                max_concurrency=engine.max_concurrency,
                kv_cache_tokens=run.kv_cache_tokens,
            ),
            weight=config.weight,
            labels=dict(config.labels),
            engine_key=supervisor.client.key,
            exclusive=config.exclusive,
            can_continue=any(Task.CHAT in offer.tasks for offer in models),
            takes_adapters=engine.adapter_sources is not None,
        )

    async def _stay_known(
        self, registration: Registration[EngineRun] | None, supervisor: EngineSupervisor
    ) -> None:
        if registration is not None:
            await registration.run()
        else:
            await supervisor.ready()
            logger.info(
                "Serving at %s/v1, without a controller.", supervisor.client.url
            )

    async def _keep_adapters(self, keeper: AdapterKeeper) -> None:
        if self._engine.adapter_sources is not None:
            await keeper.run(self._engine.adapter_sources)

    def _listen_for_signals(self, supervisor: EngineSupervisor) -> None:
        def on_signal(number: int) -> None:
            if self._stop.is_set():
                logger.warning("A second signal: ending at once.")
                supervisor.kill()
                os._exit(128 + number)
            logger.info("Stopping: finishing what is in flight.")
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)

    async def _stopped_before(self, running: asyncio.Task[None]) -> bool:
        """Wait for the wish to stop; False if the engine gave up before it came."""
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stop, running}, return_when="FIRST_COMPLETED")
        if stop.done():
            return True
        stop.cancel()
        try:
            await running
        except EngineNeverStarted as error:
            logger.error("%s", error)
        return False

    async def _drain(
        self, supervisor: EngineSupervisor, registration: Registration[EngineRun] | None
    ) -> None:
        """Take no more work, and wait until what is in flight is done."""
        if supervisor.current is None:
            return  # nothing can be in flight
        if registration is not None and registration.membership is not None:
            registration.announce_leaving()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(registration.drain_told.wait(), TELL_SECONDS)
        await supervisor.wait_until_quiet(self._config.drain_seconds)
