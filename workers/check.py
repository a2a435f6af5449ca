"""Says what stands between a worker and its controller: `python -m workers.check`.

Each step is one line; the first that is not well is followed by its repair, and what
depends on it is not tried. The join token is not spent. Exit status: 0 if a worker
could join, else 1.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from workers import controller_check
from workers.addresses import (
    DEFAULT_PORT,
    check_port,
    default_host,
    local_url,
    with_scheme,
    worker_address,
)
from workers.config import (
    DEFAULT_CONTROLLER,
    DEFAULT_TOKEN_FILE,
    controller_address,
    token_source,
)
from workers.controller_check import Finding, NotWell
from workers.endpoints import Endpoint, address_for, split_upstream
from workers.errors import CannotStart
from workers.key_files import read_key
from workers.protocol import CheckRequest
from workers.tls import authority
from workers.upstream_api import api_at

COLOURS = {"ok": "\033[32m", "odd": "\033[33m", "FAIL": "\033[31m"}
PLAIN = "\033[0m"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workers.check",
        description="Say what stands between a worker on this machine and its"
        " controller. Nothing is registered and no token is spent.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--controller-address", help=f"default: {DEFAULT_CONTROLLER}")
    add("--controller-ca", type=Path, help="authority of the controller's certificate")
    add("--join-token-file", type=Path, help=f"default: {DEFAULT_TOKEN_FILE}")
    add("--worker-address", help="as for the worker: how the controller reaches it")
    add("--upstream", help="as for api_worker: the server that runs already")
    add("--host", help="as for the worker: the address that it binds to")
    add("--port", type=int, help=f"as for the worker (default: {DEFAULT_PORT})")
    add("--engine-key-file", type=Path, help="also see whether this key opens it")
    arguments = parser.parse_args()
    try:
        check_port(arguments.port, "--port")
        return asyncio.run(_check(arguments))
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2


async def _check(arguments: argparse.Namespace) -> int:
    controller = controller_address(arguments.controller_address)
    try:
        async for finding in _findings(arguments, controller):
            _say("ok" if finding.is_well else "odd", finding.name, finding.text)
    except NotWell as trouble:
        _say("FAIL", trouble.name, str(trouble))
        sys.stdout.write(f"      {trouble.repair}\n")
        return 1
    sys.stdout.write("A worker can join.\n")
    return 0


async def _findings(
    arguments: argparse.Namespace, controller: str
) -> AsyncIterator[Finding]:
    """The steps, each as soon as it is known; raises `NotWell` with the last."""
    yield await controller_check.name_resolution(controller)
    yield await controller_check.route(controller)
    yield await controller_check.connection(controller)
    trust = arguments.controller_ca and authority(arguments.controller_ca)
    if finding := await controller_check.tls(controller, trust):
        yield finding
    connector = aiohttp.TCPConnector(ssl=trust or True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield await controller_check.is_a_controller(session, controller)
        yield await controller_check.clock(session, controller)
        source = token_source(arguments.join_token_file)
        token = controller_check.join_token(source)
        yield Finding("token file", f"there is a join token in {source}")
        request, where = _claimed(arguments, controller)
        async with _listening(where) as is_ours:
            if is_ours and where:
                text = f"nothing listened at {local_url(*where)}; this check does now"
                yield Finding("engine", text)
            findings = controller_check.seen_from_there(
                session, controller, token, request
            )
            async for finding in findings:
                yield finding


def _claimed(
    arguments: argparse.Namespace, controller: str
) -> tuple[CheckRequest, tuple[str, int] | None]:
    """Return what a worker would claim, and where its engine would bind, if it has one
    of its own."""
    key_file = arguments.engine_key_file
    key = read_key(key_file, "--engine-key-file") if key_file else ""
    if arguments.upstream and not api_at(arguments.upstream).is_foreign:
        endpoint = Endpoint(
            name="it",
            upstream=arguments.upstream,
            worker_address=arguments.worker_address or "",
        )
        _, base_path = split_upstream(endpoint.upstream)
        address = address_for(controller, endpoint)
        request = CheckRequest(
            address=address, base_path=base_path, shares_address=True, engine_key=key
        )
        return request, None
    host = arguments.host or default_host(controller)
    port = arguments.port
    if port is None and arguments.worker_address:
        port = urlsplit(with_scheme(arguments.worker_address)).port
    port = port or DEFAULT_PORT
    address = worker_address(arguments.worker_address, host, port, controller)
    return CheckRequest(address=address, engine_key=key), (host, port)


@asynccontextmanager
async def _listening(where: tuple[str, int] | None) -> AsyncIterator[bool]:
    """Refuse whoever calls the worker's port, as its engine would; False if taken.

    So that the way back can be tried before there is an engine.
    """
    if where is None:
        yield False
        return
    try:
        server = await asyncio.start_server(_refuse, *where)
    except OSError:
        yield False  # an engine, or whatever is there, answers for itself
        return
    async with server:
        yield True


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=5)
        writer.write(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )
        await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        pass  # not HTTP, or gone: nothing to tell it
    finally:
        writer.close()


def _say(mark: str, name: str, text: str) -> None:
    shown = f"{mark:<4}"
    if sys.stdout.isatty():
        shown = f"{COLOURS[mark]}{shown}{PLAIN}"
    sys.stdout.write(f"{shown}  {name:<12} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
