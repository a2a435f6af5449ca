"""The steps of `workers.check`: from a name to what the controller itself sees."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDictProxy

from workers.addresses import local_address_towards
from workers.config import JoinTokenSource
from workers.controller_client import REPAIRS
from workers.errors import BadAddress
from workers.protocol import CheckAnswer, CheckRequest, Refusal, RefusalCode

CONNECT_SECONDS = 5.0
CALL_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=CONNECT_SECONDS)
# Certificates and expiring tokens begin to fail by about so much.
MAX_CLOCK_DIFFERENCE_SECONDS = 60.0
TOKEN_PREFIX = "sy-join-"  # noqa: S105  (how a token begins)
MAKE_ONE = (
    "Make one with `python manage.py join_token` where the controller runs, and"
    " write it there."
)


@dataclass(frozen=True)
class Finding:
    """What a step found; `is_well` is False for what is odd and not in the way."""

    name: str
    text: str
    is_well: bool = True


class NotWell(Exception):
    """A step that a worker could not get over; `repair` says what to do."""

    def __init__(self, name: str, text: str, repair: str) -> None:
        super().__init__(text)
        self.name = name
        self.repair = repair


def _target(controller: str) -> tuple[str, int]:
    parts = urlsplit(controller)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


async def name_resolution(controller: str) -> Finding:
    host, port = _target(controller)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotWell(
            "name",
            f"{host} does not resolve ({error})",
            "Check --controller-address, or this machine's DNS and /etc/hosts.",
        ) from error
    addresses = dict.fromkeys(str(info[4][0]) for info in found)
    return Finding("name", f"{host} is {', '.join(addresses)}")


async def route(controller: str) -> Finding:
    try:
        source = local_address_towards(controller)
    except BadAddress as error:
        raise NotWell(
            "route",
            str(error),
            "Check this machine's network and the VPN, if there is one.",
        ) from error
    return Finding("route", f"this machine is {source} on the way there")


async def connection(controller: str) -> Finding:
    host, port = _target(controller)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError as error:
        raise NotWell(
            "connection",
            f"nothing listens at {host} port {port}",
            "Is the controller running, on this port, and on more than its loopback"
            " address? `python manage.py serve --host 0.0.0.0` listens to others.",
        ) from error
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {CONNECT_SECONDS:g} s"
        raise NotWell(
            "connection",
            f"{host} port {port} cannot be reached: {reason}",
            "A firewall between the two machines drops it, or the address is wrong.",
        ) from error
    writer.close()
    return Finding("connection", f"{host} port {port} is open")


async def tls(controller: str, trust: ssl.SSLContext | None) -> Finding | None:
    """The certificate's standing; None for plain HTTP."""
    if not controller.startswith("https:"):
        return None
    host, port = _target(controller)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(
                host, port, ssl=trust or ssl.create_default_context()
            )
    except ssl.SSLCertVerificationError as error:
        raise NotWell(
            "TLS",
            f"the certificate is not accepted: {error.verify_message}",
            "Name the authority that signed it: --controller-ca /path/ca.pem.",
        ) from error
    except (OSError, TimeoutError) as error:
        raise NotWell(
            "TLS",
            f"no TLS is spoken there: {error or 'no answer'}",
            "Write http:// if there is no TLS on this port.",
        ) from error
    writer.close()
    return Finding("TLS", "the certificate is trusted")


async def is_a_controller(session: aiohttp.ClientSession, controller: str) -> Finding:
    """Whether the contract is spoken there: a call without a token is refused so."""
    status, answer, _ = await _post(session, controller, "", CheckRequest())
    try:
        code = msgspec.json.decode(answer, type=Refusal).error.code
    except msgspec.DecodeError:
        code = ""
    if code != RefusalCode.TOKEN_MISSING:
        raise NotWell(
            "controller",
            f"{controller} answers, but not as a controller (status {status})",
            "Check port and path; a proxy in front must pass /controller/ on, and the"
            " web process must serve the role `controller`.",
        )
    return Finding("controller", f"{controller} is one")


async def clock(session: aiohttp.ClientSession, controller: str) -> Finding:
    """How far the two clocks are apart, by the Date of an answer."""
    _, _, headers = await _post(session, controller, "", CheckRequest())
    try:
        theirs = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return Finding("clock", "its answers bear no date; not compared")
    apart = (datetime.now(UTC) - theirs).total_seconds()
    if abs(apart) <= MAX_CLOCK_DIFFERENCE_SECONDS:
        return Finding("clock", "the two clocks agree")
    word = "ahead of" if apart > 0 else "behind"
    text = (
        f"this machine's is {abs(apart):.0f} s {word} the controller's: certificates"
        " may seem invalid, logs will not match; set both by NTP"
    )
    return Finding("clock", text, is_well=False)


def join_token(source: JoinTokenSource) -> str:
    """Return the token; raises `NotWell` if there is none that could be one."""
    token = source.read()
    if token is None and (reason := source.why_unreadable()):
        repair = f"Let this user read it: chmod or chown {source.file}."
        raise NotWell("token file", reason, repair)
    if token is None:
        raise NotWell("token file", f"there is no join token in {source}", MAKE_ONE)
    if not token.startswith(TOKEN_PREFIX):
        raise NotWell(
            "token file",
            f"what is in {source} is no join token: one begins with {TOKEN_PREFIX}",
            MAKE_ONE,
        )
    return token


async def seen_from_there(
    session: aiohttp.ClientSession,
    controller: str,
    token: str,
    request: CheckRequest,
) -> AsyncIterator[Finding]:
    """The controller's own view of token and address; raises `NotWell`."""
    status, body, _ = await _post(session, controller, token, request)
    if status != 200:
        try:
            reason = msgspec.json.decode(body, type=Refusal).error
        except msgspec.DecodeError:
            raise _no_answer(controller, f"status {status}") from None
        raise NotWell("join token", reason.message, REPAIRS.get(reason.code, ""))
    for step in msgspec.json.decode(body, type=CheckAnswer).steps:
        if not step.is_well:
            raise NotWell(step.name, step.message, REPAIRS.get(step.code, ""))
        yield Finding(step.name, step.message)


async def _post(
    session: aiohttp.ClientSession, controller: str, bearer: str, request: CheckRequest
) -> tuple[int, bytes, CIMultiDictProxy[str]]:
    headers = {"Content-Type": "application/json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    try:
        async with session.post(
            f"{controller}/controller/check/",
            data=msgspec.json.encode(request),
            headers=headers,
            timeout=CALL_TIMEOUT,
            allow_redirects=False,  # a redirect would be handed the token
        ) as response:
            return response.status, await response.read(), response.headers
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _no_answer(controller, str(error) or "no answer in time") from error


def _no_answer(controller: str, reason: str) -> NotWell:
    return NotWell(
        "controller",
        f"{controller} does not answer in HTTP: {reason}",
        "Check the port, and whether it wants https://.",
    )
