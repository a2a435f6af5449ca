"""A heartbeat's way in: from bytes and a credential to the fleet in memory.

Makes no query, except where this process does not know the worker (another one may
have admitted it a moment ago): then the fleet is loaded anew, once a second at most.
"""

import asyncio
import math
import time
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from django.utils.timezone import now

from controller.fleet.errors import WorkerRefused, worker_unknown
from controller.fleet.offers import MAX_BIG_INTEGER, MAX_INTEGER
from controller.fleet.permits import is_credential_of
from controller.fleet.snapshot import WorkerView
from controller.gateway import Gateway
from controller.identity import secrets
from workers.protocol import Heartbeat, HeartbeatAnswer, RefusalCode

RELOAD_INTERVAL_SECONDS = 1.0

_decode = msgspec.json.Decoder(Heartbeat).decode
_reloads: WeakKeyDictionary[Gateway, tuple[float, asyncio.Task[None]]] = (
    WeakKeyDictionary()
)


async def known_worker(
    running: Gateway, worker_id: UUID, credential: str
) -> WorkerView:
    """The registered worker with this id and credential, from memory.

    Raises `WorkerRefused`: `worker_unknown`, the same for every reason.
    """
    if not secrets.has_right_checksum(credential, secrets.WORKER_CREDENTIAL):
        raise worker_unknown()
    worker = running.fleet.snapshot.workers.get(worker_id)
    if worker is None:
        await _reload_once_a_second(running)
        worker = running.fleet.snapshot.workers.get(worker_id)
    if worker is None or not is_credential_of(worker.credential_digest, credential):
        raise worker_unknown()
    return worker


def hear(running: Gateway, worker: WorkerView, body: bytes) -> HeartbeatAnswer:
    """Take over what the worker says; what the operator wishes of it comes back.

    Raises `WorkerRefused`: `bad_request`, or `worker_unknown` if it has left since.
    """
    try:
        heartbeat = _decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise WorkerRefused(
            RefusalCode.BAD_REQUEST, f"This is no heartbeat: {exc}."
        ) from exc
    _check_sizes(heartbeat)
    if not running.fleet.hear(worker.id, heartbeat):
        raise worker_unknown()
    return HeartbeatAnswer(
        drain=worker.drain_wished,
        stop=worker.stop_wished,
        rotate_key=worker.rotation_wished,
        send_log=_is_log_wished(worker),
        adapters=worker.adapters,
    )


def _is_log_wished(worker: WorkerView) -> bool:
    until = worker.log_wished_until
    return until is not None and until > now()


def _check_sizes(heartbeat: Heartbeat) -> None:
    """Raise for a number that the database would refuse: all heartbeats of a second
    are written by one statement, which must not fail for one worker's nonsense."""
    counts = (heartbeat.running, heartbeat.waiting, heartbeat.num_restarts)
    totals = (
        heartbeat.prefix_cache_queries_total or 0,
        heartbeat.prefix_cache_hits_total or 0,
        heartbeat.prompt_tokens_total or 0,
        heartbeat.generation_tokens_total or 0,
    )
    if max(counts) > MAX_INTEGER or max(totals) > MAX_BIG_INTEGER:
        raise WorkerRefused(
            RefusalCode.BAD_REQUEST, "The heartbeat holds an impossibly large number."
        )


async def _reload_once_a_second(running: Gateway) -> None:
    """Wait for the last reload, or for a new one where that is a second old."""
    begun_at, reload = _reloads.get(running, (-math.inf, None))
    is_recent = time.monotonic() - begun_at < RELOAD_INTERVAL_SECONDS
    if reload is None or (reload.done() and not is_recent):
        reload = asyncio.create_task(running.reload())
        _reloads[running] = (time.monotonic(), reload)
    # Shielded: one worker that hangs up must not end it for the others.
    await asyncio.shield(reload)
