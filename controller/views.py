"""`/controller/`: what workers call, and the operators' lists.

The contract's shapes are in `workers.protocol`; refusals are its `Refusal`, and every
one of them stands in the log with its reason.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpResponse

from controller.errors import (
    AuthenticationFailed,
    InvalidRequest,
    SwitchyardError,
)
from controller.fleet import checking, hearing, listing, registry
from controller.fleet.errors import WorkerRefused, worker_unknown
from controller.fleet.offers import check_protocol
from controller.fleet.permits import check_bearer
from controller.gateway import Gateway, gateway
from controller.identity.credentials import read_credential
from controller.lean import LeanAPIView, LeanRequest, error_response
from controller.operators import bears_operators_key, operator_of
from workers.protocol import (
    PROTOCOL_VERSION,
    CheckRequest,
    JoinRequest,
    Refusal,
    RefusalCode,
    RefusalReason,
)

logger = logging.getLogger(__name__)

MAX_JOIN_BYTES = 2**20

Body = TypeVar("Body", bound=msgspec.Struct)


class _Spoken(msgspec.Struct):
    """What can be read of any version's request."""

    protocol: int = PROTOCOL_VERSION


class ContractView(LeanAPIView):
    """Refuses in the contract's shape, and logs it."""

    def translate(self, error: SwitchyardError) -> HttpResponse:
        request: Any = self.request
        if error.status < 500:  # what fails on our side was logged where it failed
            logger.warning(
                "refused %s %s from %s: %s (%s)",
                request.method,
                request.path,
                request.peer,
                error.message,
                error.code,
            )
        response = error_response(error)
        reason = RefusalReason(message=error.message, code=error.code, type=error.type)
        response.content = msgspec.json.encode(Refusal(error=reason))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


class WorkersView(ContractView):
    """`GET`: the operators' list. `POST`: a worker joins, or comes back."""

    async def get(self, request: LeanRequest) -> HttpResponse:
        await admit_operator(request, "controller.view_worker")
        return await _listed(listing.list_workers)

    async def post(self, request: LeanRequest) -> HttpResponse:
        bearer = _bearer(request)
        check_bearer(bearer)  # before a stranger's body is read
        join = _decode(await request.read_body(), JoinRequest)
        registration = await registry.register(join, bearer)
        await _take_over(gateway())
        verb = "joined" if registration.created else "came back"
        logger.info("worker %s %s", registration.worker_id, verb)
        return _json(registration.answer, 201 if registration.created else 200)


class WorkerView(ContractView):
    """`DELETE`: a worker leaves."""

    async def delete(self, request: LeanRequest, worker_id: UUID) -> HttpResponse:
        await registry.leave(worker_id, _credential(request))
        await _take_over(gateway())
        logger.info("worker %s left", worker_id)
        return HttpResponse(status=204)


class CheckView(ContractView):
    """`POST`: what would a join fail by? Stores nothing, spends nothing."""

    async def post(self, request: LeanRequest) -> HttpResponse:
        bearer = _bearer(request)
        check_bearer(bearer)  # before a stranger's body is read
        check = _decode(await request.read_body(), CheckRequest)
        return _json(await checking.check(check, bearer))


class HeartbeatView(ContractView):
    """`POST`: a worker is heard. No query."""

    async def post(self, request: LeanRequest, worker_id: UUID) -> HttpResponse:
        running = gateway()
        credential = _credential(request)
        worker = await hearing.known_worker(running, worker_id, credential)
        return _json(hearing.hear(running, worker, await request.read_body()))


class ModelsView(ContractView):
    """`GET`: the operators' list of served models."""

    async def get(self, request: LeanRequest) -> HttpResponse:
        await admit_operator(request, "controller.view_servedmodel")
        return await _listed(listing.list_models)


async def admit_operator(request: LeanRequest, permission: str) -> None:
    """Raise unless it is an operator's key, or a staff session with `permission`.

    A session is good for reading alone: nothing here checks CSRF.
    """
    if await bears_operators_key(request.META):
        return
    session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not session_key or not await operator_of(session_key, permission):
        raise AuthenticationFailed(
            "Send an API key with the scope `fleet` as Authorization: Bearer KEY, or"
            " sign in to the admin."
        )


async def _take_over(running: Gateway) -> None:
    """Dispatch by the new rows at once. The change is made: a database that fails now
    must not turn its answer, with the worker's credential, into an error."""
    try:
        await running.reload()
    except DatabaseError as exc:
        logger.warning("the fleet is loaded anew a little later: %s", exc)


def _bearer(request: LeanRequest) -> str:
    try:
        return read_credential(request.META)
    except (AuthenticationFailed, InvalidRequest) as exc:
        raise WorkerRefused(RefusalCode.TOKEN_INVALID, exc.message) from exc


def _credential(request: LeanRequest) -> str:
    try:
        return read_credential(request.META)
    except (AuthenticationFailed, InvalidRequest):
        raise worker_unknown() from None


def _decode(body: bytes, shape: type[Body]) -> Body:
    if len(body) > MAX_JOIN_BYTES or b"\\u0000" in body:  # PostgreSQL stores no NUL
        raise WorkerRefused(
            RefusalCode.BAD_REQUEST,
            f"A join is at most {MAX_JOIN_BYTES} bytes long, without NUL characters.",
        )
    try:
        # First: what else a later version says may not fit, or mean something else.
        check_protocol(msgspec.json.decode(body, type=_Spoken).protocol)
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise WorkerRefused(
            RefusalCode.BAD_REQUEST, f"This is no request to join: {exc}."
        ) from exc


async def _listed(rows: Callable[[], list[dict[str, Any]]]) -> HttpResponse:
    return _json({"data": await database_sync_to_async(rows)()})


def _json(content: object, status: int = 200) -> HttpResponse:
    return HttpResponse(
        msgspec.json.encode(content),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
