"""Whether the worker that a join token was made for has come, and if not, what is
missing: from the token's row, and from what was heard of whoever holds it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext as _

from controller.fleet.errors import WorkerRefused
from controller.fleet.permits import token_refusal
from controller.identity import secrets
from controller.models import JoinToken, Worker
from workers.protocol import CheckRequest, RefusalCode, WorkerState

# An agent that loads is heard every 5 s.
SILENT_AFTER = timedelta(seconds=20)
# The controller saw the engine, or tried to: what then stands between the two.
UNREACHED = frozenset(
    {
        RefusalCode.ENGINE_UNREACHABLE,
        RefusalCode.ADDRESS_UNRESOLVABLE,
        RefusalCode.ADDRESS_NOT_ALLOWED,
    }
)


class ArrivalState(StrEnum):
    """How far the worker is."""

    UNHEARD = "unheard"
    LOADING = "loading"
    FAILING = "failing"
    SILENT = "silent"
    UNREACHED = "unreached"
    REFUSED = "refused"
    CLOSED = "closed"
    """The token opens nothing any more, and no worker came by it."""
    ARRIVED = "arrived"


@dataclass(frozen=True, slots=True)
class Arrival:
    state: ArrivalState
    title: str
    advice: str
    worker: Worker | None = None


def note_state(token: JoinToken, check: CheckRequest) -> None:
    """Keep how far the engine of the token's holder is. One query."""
    JoinToken.objects.filter(pk=token.pk).update(
        heard_at=now(),
        heard_state=check.state or "",
        heard_progress=check.loading_progress,
    )


def note_refusal(bearer: str, refusal: WorkerRefused) -> None:
    """Keep why the holder of this join token was refused, if it is one of ours. One
    query, of a bearer with a right checksum alone."""
    if secrets.has_right_checksum(bearer, secrets.JOIN_TOKEN):
        JoinToken.objects.filter(digest=secrets.digest(bearer)).update(
            refused_at=now(), refusal_code=refusal.code, refusal=refusal.message
        )


def arrival_of(token: JoinToken) -> Arrival:
    """Where the token's worker is by now. At most one query."""
    worker = token.workers.filter(left_at=None).order_by("-joined_at").first()
    if worker is not None:
        return _arrived(worker)
    if refused := _refused(token):
        return refused
    if closed := token_refusal(token):
        return Arrival(
            ArrivalState.CLOSED, _("This token opens nothing any more"), closed.message
        )
    return _under_way(token)


def _arrived(worker: Worker) -> Arrival:
    words: dict[str, Any] = {"address": worker.address, "engine": worker.engine}
    return Arrival(
        ArrivalState.ARRIVED,
        _("The worker has joined"),
        _("%(engine)s at %(address)s takes requests.") % words,
        worker,
    )


def _refused(token: JoinToken) -> Arrival | None:
    """Why it was refused last, unless its engine has been heard to start anew since."""
    refused_at, heard_at = token.refused_at, token.heard_at
    if refused_at is None or (heard_at is not None and heard_at > refused_at):
        return None
    if token.refusal_code in UNREACHED:
        return Arrival(
            ArrivalState.UNREACHED,
            _("The worker is up, but cannot be reached from here"),
            token.refusal,
        )
    return Arrival(
        ArrivalState.REFUSED,
        _("The worker asked to join and was refused"),
        token.refusal,
    )


def _under_way(token: JoinToken) -> Arrival:
    if token.heard_at is None:
        return Arrival(
            ArrivalState.UNHEARD,
            _("Nothing has used this token yet"),
            _(
                "Run the command on the machine that has the model. If it runs already,"
                " its own lines say what it waits for; that machine must reach the"
                " address of this site that stands in the command."
            ),
        )
    if now() - token.heard_at > max(SILENT_AFTER, 4 * settings.HEARTBEAT_INTERVAL):
        return Arrival(
            ArrivalState.SILENT,
            _("The worker was heard, and is silent now"),
            _("Look whether it still runs: its own lines say why it ended."),
        )
    if token.heard_state == WorkerState.FAILED:
        return Arrival(
            ArrivalState.FAILING,
            _("The engine has ended, and is started again"),
            _("The worker's own lines say why: a wrong path, or too little memory."),
        )
    progress = token.heard_progress
    so_far = "" if progress is None else f" ({progress:.0%})"
    return Arrival(
        ArrivalState.LOADING,
        _("The engine is not ready yet") + so_far,
        _("The worker runs and reaches this site. It joins once its model is loaded."),
    )
