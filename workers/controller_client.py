"""The worker's side of the controller's REST contract (see `workers.protocol`)."""

import ssl
from typing import TypeVar

import aiohttp
import msgspec

from workers.call_failures import why_unanswered
from workers.protocol import (
    CheckAnswer,
    CheckRequest,
    Heartbeat,
    HeartbeatAnswer,
    JoinAnswer,
    JoinRequest,
    Refusal,
    RefusalCode,
    RefusalReason,
)

Answer = TypeVar("Answer", bound=msgspec.Struct)

# The controller's challenge calls the engine back before it answers a join.
JOIN_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)
CALL_TIMEOUT = aiohttp.ClientTimeout(total=5)

REPAIRS: dict[str, str] = {
    RefusalCode.BAD_REQUEST: "Check the worker's flags.",
    RefusalCode.PROTOCOL_MISMATCH: "Bring worker and controller to the same version.",
    RefusalCode.TOKEN_MISSING: "Make one with `python manage.py join_token`.",
    RefusalCode.TOKEN_INVALID: "Make a new one with `python manage.py join_token`.",
    RefusalCode.TOKEN_USED: "Make a new one with `python manage.py join_token`.",
    RefusalCode.TOKEN_EXPIRED: "Make a new one with `python manage.py join_token`.",
    RefusalCode.WORKER_UNKNOWN: "A valid join token brings it back.",
    RefusalCode.ADDRESS_NOT_ALLOWED: (
        "Add its network to the controller's ALLOWED_WORKER_NETWORKS, or give another"
        " --worker-address."
    ),
    RefusalCode.ADDRESS_UNRESOLVABLE: (
        "Give a --worker-address that the controller's machine can resolve."
    ),
    RefusalCode.ADDRESS_TAKEN: "Stop the other worker there, or give another --port.",
    RefusalCode.MODEL_NAME_TAKEN: "Choose another name with --model-names.",
    RefusalCode.ENGINE_UNREACHABLE: (
        "The controller has to reach the engine: check --host, --worker-address and"
        " the firewall."
    ),
    RefusalCode.ENGINE_OPEN: (
        "Something at that address answers without the engine's key: check"
        " --worker-address, or use a token made with --keyless."
    ),
    RefusalCode.ENGINE_REDIRECTS: "Give the engine's own address as --worker-address.",
    RefusalCode.ENGINE_REFUSES_KEY: (
        "Check the key that an upstream was given, or --worker-address: something else"
        " may answer there."
    ),
    RefusalCode.ENGINE_SERVES_OTHER: (
        "Something else answers at that address: check --worker-address."
    ),
}


class ControllerAway(Exception):
    """The controller gave no answer of the contract; worth trying again."""


class Refused(Exception):
    """The controller said no, and why."""

    def __init__(self, status: int, reason: RefusalReason) -> None:
        self.status = status
        self.code = reason.code
        repair = REPAIRS.get(reason.code, "")
        if repair in reason.message:  # the controller said so itself
            repair = ""
        super().__init__(f"{reason.message.rstrip('.')}. {repair}".rstrip())


class ControllerClient:
    """Calls to one controller; raises `Refused` and `ControllerAway`.

    `trust` replaces the authorities that this machine trusts.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        controller: str,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._session = session
        self._trust = trust or True
        self._url = f"{controller}/controller/"

    async def join(self, request: JoinRequest, bearer: str) -> JoinAnswer:
        answer = await self._call("POST", "workers/", bearer, request, JOIN_TIMEOUT)
        return _decoded(answer, JoinAnswer)

    async def heartbeat(
        self, worker_id: str, credential: str, heartbeat: Heartbeat
    ) -> HeartbeatAnswer:
        path = f"workers/{worker_id}/heartbeat/"
        answer = await self._call("POST", path, credential, heartbeat)
        return _decoded(answer, HeartbeatAnswer)

    async def check(self, request: CheckRequest, bearer: str) -> CheckAnswer:
        """What the controller says of a join token, which is not spent."""
        answer = await self._call("POST", "check/", bearer, request)
        return _decoded(answer, CheckAnswer)

    async def leave(self, worker_id: str, credential: str) -> None:
        await self._call("DELETE", f"workers/{worker_id}/", credential)

    async def _call(
        self,
        method: str,
        path: str,
        bearer: str,
        body: msgspec.Struct | None = None,
        timeout: aiohttp.ClientTimeout = CALL_TIMEOUT,
    ) -> bytes:
        headers = {"Authorization": f"Bearer {bearer}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=msgspec.json.encode(body) if body is not None else None,
                headers=headers,
                timeout=timeout,
                ssl=self._trust,
                allow_redirects=False,  # a redirect would be handed our credential
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ControllerAway(why_unanswered(error)) from error
        if 400 <= response.status < 500:
            raise Refused(response.status, _reason(response.status, answer))
        if not 200 <= response.status < 300:
            raise ControllerAway(f"it answered with status {response.status}")
        return answer


def _decoded(answer: bytes, shape: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(answer, type=shape)
    except msgspec.DecodeError as error:
        raise ControllerAway(f"its answer is not a controller's: {error}") from error


def _reason(status: int, answer: bytes) -> RefusalReason:
    try:
        return msgspec.json.decode(answer, type=Refusal).error
    except msgspec.DecodeError:
        # Not a controller, or a proxy in front of one: its page tells nobody anything.
        message = f"Status {status} without a reason; is this a controller's address?"
        return RefusalReason(message=message, code="")
