"""A provider with an API of its own, behind an engine of ours that translates.

To the rest of api_worker it is one more OpenAI-compatible upstream on this machine; the
engine is started, watched and guarded as those of other workers.
"""

import importlib.util
import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from workers.addresses import host_to_bind, local_url, reserve_port
from workers.config import WorkerConfig
from workers.endpoints import Endpoint, split_provider
from workers.engine_client import (
    CALL_TIMEOUT,
    EngineClient,
    EngineSilent,
    ServedModel,
)
from workers.engine_guard import KEY_FILE_VARIABLE
from workers.engine_process import EngineCommand, import_folder
from workers.errors import BadSetting
from workers.key_rotation import KeyRotation
from workers.metrics_scrape import EngineNumbers
from workers.protocol import Task
from workers.provider_engine.process import (
    UPSTREAM_HEADERS_VARIABLE,
    UPSTREAM_KEY_VARIABLE,
)
from workers.state import StateDir
from workers.supervisor import Engine, EngineSupervisor
from workers.upstream_api import UpstreamApi
from workers.upstream_numbers import parse_upstream_numbers

DRAIN_SECONDS = 30.0
# What the translation needs; the agent itself never imports it.
LIBRARIES = ("any_llm", "anthropic", "google.genai")


class ForeignUpstream:
    """An endpoint with a foreign API, and the engine that translates it."""

    def __init__(
        self,
        endpoint: Endpoint,
        controller: str,
        session: aiohttp.ClientSession,
        state_dir: StateDir,
    ) -> None:
        host = host_to_bind(controller)
        self._port = reserve_port(host, endpoint.port or None)
        url = local_url(host, self._port.number)
        self.client = ProviderEngineClient(session, url, secrets.token_urlsafe(32))
        self.rotation = KeyRotation(self.client, state_dir)
        self.endpoint = msgspec.structs.replace(
            endpoint,
            upstream=url,
            api=UpstreamApi.OPENAI,
            key=self.client.key,
            key_file="",
            tasks=[Task.CHAT],
            extra_headers={},  # those are the provider's
        )
        """The same, as the controller and the gateway are to know it."""
        command = _command(endpoint, host, self._port.number, state_dir)
        self._supervisor = EngineSupervisor(
            WorkerConfig(
                model_path=endpoint.upstream,
                names=(endpoint.name,),
                controller=controller,
                labels=endpoint.labels,
            ),
            Engine(
                name=endpoint.speaks,
                command=command,
                max_concurrency=endpoint.max_concurrency,
            ),
            self.client,
        )
        state_dir.write_engine_keys([self.client.key])

    async def run(self) -> None:
        """Keep the engine running until cancelled; raises EngineNeverStarted."""
        try:
            await self._supervisor.run()
        finally:
            self._port.release()

    async def ready(self) -> None:
        """Return once there is an engine to be asked."""
        await self._supervisor.ready()

    async def drain(self) -> None:
        """Wait, within bounds, until the answers under way are given."""
        if self._supervisor.current is not None:
            await self._supervisor.wait_until_quiet(DRAIN_SECONDS)


def check_foreign(endpoint: Endpoint) -> None:
    """Raise `BadSetting` or `BadAddress` for what would be found out too late."""
    split_provider(endpoint.upstream)
    if not endpoint.read_key():
        raise BadSetting(
            f"{endpoint.upstream} wants a key; put it into a file and name that with"
            " --upstream-key-file (key_file in a file of endpoints)."
        )
    if missing := [name for name in LIBRARIES if not _is_installed(name)]:
        raise BadSetting(
            f"{endpoint.upstream} speaks {endpoint.speaks}'s API, and {missing[0]} is"
            " not installed: pip install '.[providers]'. If OpenAI's API is spoken"
            " there too, --upstream-api openai needs nothing more."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def _command(
    endpoint: Endpoint, host: str, port: int, state_dir: StateDir
) -> EngineCommand:
    address, version = split_provider(endpoint.upstream)
    flags = {
        "--api": endpoint.speaks,
        "--address": address,
        "--api-version": version,
        "--host": host,
        "--port": str(port),
    }
    environment = {
        UPSTREAM_HEADERS_VARIABLE: json.dumps(endpoint.extra_headers),
        "PYTHONPATH": str(import_folder(state_dir.path).absolute()),
        KEY_FILE_VARIABLE: str((state_dir.path / "engine_keys").absolute()),
    }
    if endpoint.key_file:
        flags["--upstream-key-file"] = str(Path(endpoint.key_file).absolute())
    else:
        environment[UPSTREAM_KEY_VARIABLE] = endpoint.key
    arguments = [sys.executable, "-m", "workers.provider_engine"]
    for flag, value in flags.items():
        arguments.append(f"{flag}={value}")
    return EngineCommand(arguments=arguments, environment=environment)


@dataclass
class ProviderEngineClient(EngineClient):
    """Asks the engine what costs nothing: every generation is on the provider's bill.

    Whether the provider answers is for the upstream's watch, which lists its models.
    """

    async def models(self) -> list[ServedModel]:
        return []  # none of its own, and the list is the provider's to give

    async def context_length(self, name: str) -> int:
        return 0  # of each model, as the list says

    async def tasks(self, name: str) -> list[Task]:
        return [Task.CHAT]

    async def does(
        self,
        task: Task,
        name: str,
        timeout: aiohttp.ClientTimeout = CALL_TIMEOUT,
    ) -> bool:
        await self._call("GET", "/version", timeout=timeout)
        return True

    async def numbers(self) -> EngineNumbers:
        page = await self._call("GET", "/metrics")
        reported = parse_upstream_numbers(page.decode())
        if reported is None:
            raise EngineSilent("its metrics are not those of a provider's engine")
        return reported[1]
