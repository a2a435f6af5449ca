"""A worker for a server that runs already: `python -m workers.api_worker`.

SGLang, llama.cpp, Ollama, LMDeploy, TGI, vLLM, a hosted provider: whatever speaks
OpenAI's API. Nothing is started and no data passes through here: the agent tells the
controller where the upstream is and how it fares, and the gateway calls it directly.
Only for Anthropic's and Gemini's own APIs an engine is started that translates.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from workers.addresses import check_worker_address, with_scheme
from workers.config import (
    DEFAULT_CONTROLLER,
    DEFAULT_TOKEN_FILE,
    JoinTokenSource,
    controller_address,
    parse_labels,
    token_source,
)
from workers.controller_client import ControllerClient
from workers.endpoints import (
    DEFAULT_CONCURRENCY,
    Endpoint,
    read_endpoints,
    split_upstream,
)
from workers.errors import BadSetting, CannotStart
from workers.foreign_upstream import ForeignUpstream, check_foreign
from workers.logs import FORMATS, set_up_logging
from workers.protocol import Task
from workers.registration import Registration
from workers.state import StateDir, open_state_dir, owned_state_dir, slug
from workers.supervisor import EngineNeverStarted
from workers.tls import authority
from workers.upstream_api import UpstreamApi
from workers.upstream_watch import UpstreamRun, UpstreamWatch

logger = logging.getLogger(__name__)

TELL_SECONDS = 3.0
OF_ONE_UPSTREAM = (
    *("upstream_api", "port", "upstream_key_file", "model_names", "context_length"),
    *("tasks", "modalities", "can_continue", "exclusive"),
    *("extra_body", "extra_headers", "limit_worker_concurrency"),
    *("weight", "labels", "worker_address"),
)


@dataclass(frozen=True, kw_only=True)
class ApiWorkerConfig:
    """What all endpoints of this process share."""

    endpoints: Sequence[Endpoint]
    controller: str
    controller_ca: ssl.SSLContext | None
    token: JoinTokenSource
    state_dir: Path

    def token_of(self, endpoint: Endpoint) -> JoinTokenSource:
        if endpoint.join_token_file:
            return JoinTokenSource(Path(endpoint.join_token_file))
        return self.token


def main() -> int:
    arguments = _parser().parse_args()
    set_up_logging(arguments.log_format)
    try:
        config = api_worker_config(arguments)
        with owned_state_dir(config.state_dir):
            return asyncio.run(_run(config))
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.api_worker",
        description="Serve models of an OpenAI-compatible server that runs already.",
        allow_abbrev=False,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--upstream", help="its address, with or without /v1")
    where.add_argument("--endpoints", type=Path, help="a file of many, in one process")
    add = parser.add_argument
    add("--worker-address", help="how the controller reaches it, if not so")
    add(
        "--upstream-api",
        type=UpstreamApi,
        choices=list(UpstreamApi),
        help="default: as its address tells, else openai",
    )
    add("--port", type=int, help="of the engine that translates a foreign API")
    add("--upstream-key-file", type=Path, help="the key that the upstream wants")
    add("--model-names", help="NAME or NAME=ITS_NAME_THERE, with commas; default: all")
    add("--context-length", type=int, help="in tokens, where it does not say")
    add("--tasks", help=f"of {','.join(Task)}; default: the first two")
    add("--modalities", help="text, or text,image; default: text")
    # None if not given, as the others: then the endpoint's own default counts.
    switch: dict[str, Any] = {"action": "store_const", "const": True}
    add("--can-continue", **switch, help="it goes on from partial answers")
    add("--exclusive", **switch, help="no other worker may use these names")
    add("--extra-body", help="JSON put into every request, over the client's")
    add("--extra-headers", help="JSON of headers for every request, or a file of it")
    add("--limit-worker-concurrency", type=int, help=f"default: {DEFAULT_CONCURRENCY}")
    add("--weight", type=float, help="share of the load; default: 1")
    add("--labels", help="key=value pairs with commas between them")
    add("--controller-address", help=f"default: {DEFAULT_CONTROLLER}")
    add("--controller-ca", type=Path, help="authority of the controller's certificate")
    add("--join-token-file", type=Path, help=f"default: {DEFAULT_TOKEN_FILE}")
    add("--state-dir", type=Path, help="default: a folder of var/workers")
    add("--log-format", choices=FORMATS, default="text", help="default: text")
    return parser


def api_worker_config(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> ApiWorkerConfig:
    """Return the settings that the parsed flags and the environment amount to.

    Raises `BadSetting` or `BadAddress` for values that cannot be used.
    """
    if arguments.endpoints:
        for name in OF_ONE_UPSTREAM:
            if getattr(arguments, name) is not None:
                flag = name.replace("_", "-")
                raise BadSetting(f"--{flag} is for one --upstream; a file has its own.")
        endpoints = read_endpoints(arguments.endpoints)
        folder = f"endpoints-{slug(str(arguments.endpoints.absolute()))}"
    else:
        endpoints = [_endpoint(arguments)]
        folder = slug(endpoints[0].name)
    for endpoint in endpoints:
        if endpoint.speaks.is_foreign:
            check_foreign(endpoint)
    return ApiWorkerConfig(
        endpoints=endpoints,
        controller=controller_address(arguments.controller_address, environment),
        controller_ca=arguments.controller_ca and authority(arguments.controller_ca),
        token=token_source(arguments.join_token_file, environment),
        state_dir=arguments.state_dir or Path("var/workers") / folder[-200:],
    )


def _endpoint(arguments: argparse.Namespace) -> Endpoint:
    """Return the one endpoint that the flags describe."""
    key_file = arguments.upstream_key_file
    where = "".join(split_upstream(arguments.upstream))
    given: dict[str, Any] = {
        "name": " ".join(filter(None, (where, arguments.model_names))),
        "upstream": arguments.upstream,
        "api": arguments.upstream_api,
        "port": arguments.port,
        "worker_address": _checked_address(arguments.worker_address),
        "key_file": str(key_file) if key_file else None,
        "models": _models(arguments.model_names),
        "context_length": arguments.context_length,
        "tasks": _listed(arguments.tasks),
        "modalities": _listed(arguments.modalities),
        "can_continue": arguments.can_continue,
        "exclusive": arguments.exclusive,
        "max_concurrency": arguments.limit_worker_concurrency,
        "weight": arguments.weight,
        "labels": parse_labels(arguments.labels or ""),
        "extra_body": _json("--extra-body", arguments.extra_body),
        "extra_headers": _json_or_file("--extra-headers", arguments.extra_headers),
    }
    fields = {name: value for name, value in given.items() if value is not None}
    try:
        endpoint = msgspec.convert(fields, Endpoint)
    except msgspec.ValidationError as error:
        raise BadSetting(
            f"The flags do not fit: {error}. A model's name is of letters, digits and"
            f" . _ : / @ + -; --tasks are of {','.join(Task)}."
        ) from error
    if endpoint.speaks.is_foreign and arguments.tasks not in (None, Task.CHAT):
        raise BadSetting(f"--tasks {arguments.tasks}: only chat is translated.")
    endpoint.read_key()  # say now what is wrong with its file
    return endpoint


def _checked_address(given: str | None) -> str | None:
    if not given:
        return None
    check_worker_address(given)
    return with_scheme(given)


def _models(given: str | None) -> list[dict[str, str]]:
    models = []
    for text in _listed(given) or []:
        name, _, upstream_model = text.partition("=")
        models.append({"name": name.strip(), "upstream_model": upstream_model.strip()})
    return models


def _listed(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [item.strip() for item in text.split(",") if item.strip()]


def _json(flag: str, text: str | None) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise BadSetting(f"{flag} is not JSON: {error}.") from error


def _json_or_file(flag: str, text: str | None) -> Any:
    if not text or text.lstrip().startswith("{"):
        return _json(flag, text)
    try:
        return _json(f"{flag} {text}", Path(text).read_text())
    except OSError as error:
        raise BadSetting(
            f"{flag} is neither a JSON object nor a file: {text}: {error.strerror}."
        ) from error


async def _run(config: ApiWorkerConfig) -> int:
    """Keep every endpoint known until told to stop."""
    stop = asyncio.Event()
    _listen_for_signals(stop)
    async with aiohttp.ClientSession() as session:
        workers = [
            EndpointWorker(config, endpoint, session) for endpoint in config.endpoints
        ]
        everything = asyncio.gather(*(worker.run() for worker in workers))
        stopping = asyncio.ensure_future(stop.wait())
        # They also end, one by one, as the operator stops them.
        either: list[asyncio.Future[Any]] = [stopping, everything]
        await asyncio.wait(either, return_when="FIRST_COMPLETED")
        for worker in workers:
            worker.stop()
        stopping.cancel()
        await everything
    return int(any(worker.has_failed for worker in workers))


def _listen_for_signals(stop: asyncio.Event) -> None:
    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        logger.info("Leaving. Answers under way go on to their end.")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


class EndpointWorker:
    """One endpoint's place in the fleet."""

    def __init__(
        self,
        config: ApiWorkerConfig,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
    ) -> None:
        self.has_failed = False
        self._name = endpoint.name
        self._stop = asyncio.Event()
        state_dir = _state_of(config, endpoint)
        self._foreign = (
            ForeignUpstream(endpoint, config.controller, session, state_dir)
            if endpoint.speaks.is_foreign
            else None
        )
        self._watch = _watch_of(endpoint, self._foreign, session)
        self._registration: Registration[UpstreamRun] = Registration(
            config.token_of(endpoint),
            config.controller,
            ControllerClient(session, config.controller, config.controller_ca),
            self._watch,
            partial(self._watch.join_request, config.controller),
            state_dir,
            on_stop=self._stop.set,
            name=endpoint.name if len(config.endpoints) > 1 else "",
            on_rotate_key=self._change_key,
        )

    async def run(self) -> None:
        """Watch and stay known until stopped; then leave the fleet."""
        tasks = [
            asyncio.create_task(self._watch_upstream()),
            asyncio.create_task(self._registration.run()),
        ]
        if self._foreign is not None:
            tasks.append(asyncio.create_task(self._keep_engine(self._foreign)))
        try:
            await self._stop.wait()
            await self._say_it_leaves()
            if self._foreign is not None:
                await self._foreign.drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._registration.leave()

    def stop(self) -> None:
        self._stop.set()

    async def _watch_upstream(self) -> None:
        if self._foreign is not None:
            await self._foreign.ready()
        await self._watch.run()

    async def _keep_engine(self, foreign: ForeignUpstream) -> None:
        try:
            await foreign.run()
        except EngineNeverStarted as error:
            logger.error("%s: %s", self._name, error)
            self.has_failed = True
            self._stop.set()

    def _change_key(self) -> None:
        """Change the key of an engine of ours; an upstream's is not ours to change."""
        if self._foreign is not None:
            self._foreign.rotation.begin(self._registration)

    async def _say_it_leaves(self) -> None:
        """Have the web processes hear of it before they are refused."""
        if self._registration.membership is None:
            return
        self._registration.announce_leaving()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._registration.drain_told.wait(), TELL_SECONDS)


def _watch_of(
    endpoint: Endpoint, foreign: ForeignUpstream | None, session: aiohttp.ClientSession
) -> UpstreamWatch:
    if foreign is None:
        return UpstreamWatch(endpoint, session)
    client = foreign.client  # which key is in force, it knows
    return UpstreamWatch(foreign.endpoint, session, read_key=lambda: client.key)


def _state_of(config: ApiWorkerConfig, endpoint: Endpoint) -> StateDir:
    if len(config.endpoints) == 1:
        return open_state_dir(config.state_dir)
    return open_state_dir(config.state_dir / slug(endpoint.name)[-200:])


if __name__ == "__main__":
    raise SystemExit(main())
