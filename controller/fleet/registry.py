"""Workers come and go: the only way into the fleet, and the way out of it."""

from dataclasses import dataclass
from uuid import UUID

from channels.db import database_sync_to_async
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from controller.fleet import arrivals, permits
from controller.fleet.addresses import ResolvedAddress, resolve
from controller.fleet.challenge import challenge
from controller.fleet.errors import WorkerRefused, worker_unknown
from controller.fleet.offers import check_offer, place
from controller.fleet.permits import Permit
from controller.identity import secrets
from controller.models import Revision, Worker
from workers.protocol import JoinAnswer, JoinRequest, RefusalCode


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker that is in the fleet from now on."""

    worker_id: UUID
    answer: JoinAnswer
    created: bool
    """It is new; otherwise it came back."""


async def register(join: JoinRequest, bearer: str) -> Registration:
    """Take the worker into the fleet, if all that it says holds; else store nothing but
    why, beside the join token, for the operator who waits for it.

    Raises `WorkerRefused`.
    """
    try:
        return await _register(join, bearer)
    except WorkerRefused as refusal:
        await database_sync_to_async(arrivals.note_refusal)(bearer, refusal)
        raise


async def _register(join: JoinRequest, bearer: str) -> Registration:
    """`bearer` is a join token, or with `join.worker_id` the worker's own credential. A
    token is spent only with the rows written. What an operator decided about a worker
    (weight, labels, drain, enabled) survives its coming back; its own wishes count
    at the first join. Raises `WorkerRefused`.
    """
    permit = await database_sync_to_async(permits.find_permit)(join.worker_id, bearer)
    check_offer(join, permit.is_keyless)
    resolved = await resolve(join.address, settings.ALLOWED_WORKER_NETWORKS)
    permit.check_network(resolved.ip)
    await challenge(
        resolved,
        base_path=join.base_path,
        engine_key=join.engine_key,
        names=[offer.upstream_model or offer.name for offer in join.models],
        extra_headers=join.extra_headers,
        keyless=permit.is_keyless,
        lists_openly=join.shares_address,
        timeout=settings.CHALLENGE_TIMEOUT.total_seconds(),
    )
    return await database_sync_to_async(_admit)(join, resolved, permit)


async def leave(worker_id: UUID, credential: str) -> None:
    """Take the worker out of the fleet at its own wish; its row stays, marked left, and
    with its credential it may come back.

    Raises `WorkerRefused`: `worker_unknown`.
    """
    await database_sync_to_async(_leave)(worker_id, credential)


def _admit(
    join: JoinRequest, resolved: ResolvedAddress, permit: Permit
) -> Registration:
    with transaction.atomic():
        # First, because it locks the one row: joins then pass here one at a time, on
        # PostgreSQL too, and what is looked up below stays true until the end.
        Revision.bump("fleet")
        credential = None
        if permit.worker is None:
            _spend(permit)
            credential = secrets.make_secret(secrets.WORKER_CREDENTIAL)
            worker = Worker(
                credential_digest=secrets.digest(credential),
                join_token=permit.token,
                is_keyless=permit.is_keyless,
                weight=join.weight,
                labels=join.labels,
            )
        else:
            worker = _still_known(permit.worker)
        _claim_address(worker, join, resolved)
        _describe(worker, join, resolved)
        worker.save()
        place(worker, join)
    answer = JoinAnswer(
        worker_id=str(worker.id),
        credential=credential,
        heartbeat_seconds=settings.HEARTBEAT_INTERVAL.total_seconds(),
        expiry_seconds=settings.HEARTBEAT_EXPIRY.total_seconds(),
    )
    return Registration(worker.id, answer, created=permit.worker is None)


def _spend(permit: Permit) -> None:
    token = permit.token
    assert token is not None, "a first join without a token has no permit"
    if not token.spend():
        token.refresh_from_db()  # spent, revoked or expired since it was looked up
        raise permits.token_refusal(token) or permits.token_used(token)


def _still_known(known: Worker) -> Worker:
    """The row as it is now: it may have been removed during the challenge."""
    # Locked: what an operator changes in this moment must not be written over.
    worker = (
        Worker.objects.select_for_update()
        .filter(pk=known.pk, credential_digest=known.credential_digest)
        .first()
    )
    if worker is None:
        raise worker_unknown()
    if worker.left_at is not None:
        _take_back(worker)
    return worker


def _take_back(worker: Worker) -> None:
    """Have it in the fleet again, as it left; the wish that it stop has been met."""
    worker.left_at = None
    if worker.stop_wished:
        worker.drain_wished = worker.stop_wished = False


def _claim_address(
    worker: Worker, join: JoinRequest, resolved: ResolvedAddress
) -> None:
    """Free the address of a silent predecessor; a live one keeps it.

    A shared address has one predecessor at most: the worker with the same key for the
    same API there, and the same models.
    """
    holders = Worker.objects.registered().filter(address=resolved.url)
    for holder in holders.exclude(pk=worker.pk):
        is_another = holder.shares_address and join.shares_address
        if is_another and not _is_same_upstream(holder, join):
            continue
        if holder.is_live:
            raise WorkerRefused(
                RefusalCode.ADDRESS_TAKEN,
                f"Another worker is registered at {resolved.url}, last heard"
                f" {holder.silence.total_seconds():.0f} s ago. It is replaced once it"
                " has been silent for"
                f" {settings.HEARTBEAT_EXPIRY.total_seconds():g} s.",
            )
        holders.filter(pk=holder.pk).update(left_at=now())


def _is_same_upstream(holder: Worker, join: JoinRequest) -> bool:
    """Whether the join would double what a registered worker offers already."""
    if holder.base_path != join.base_path or holder.extra_body != join.extra_body:
        return False
    offered = {offer.name for offer in join.models}
    if offered != set(holder.served_models.values_list("name", flat=True)):
        return False
    try:
        return holder.engine_key == join.engine_key
    except InvalidToken:  # written with lost FIELD_KEYS: of no use to anybody
        return True


def _has_key(worker: Worker, key: str) -> bool:
    try:
        return bool(worker.encrypted_engine_key) and worker.engine_key == key
    except InvalidToken:  # written with lost FIELD_KEYS
        return False


def _describe(worker: Worker, join: JoinRequest, resolved: ResolvedAddress) -> None:
    worker.address = resolved.url
    worker.base_path = join.base_path
    worker.shares_address = join.shares_address
    worker.resolved_ip = resolved.ip
    if not _has_key(worker, join.engine_key):
        worker.engine_key = join.engine_key
        worker.rotation_wished = False
    worker.engine = join.engine
    worker.engine_version = join.engine_version
    worker.start_id = join.start_id
    worker.is_exclusive = join.exclusive
    worker.can_continue = join.can_continue
    worker.takes_adapters = join.takes_adapters
    worker.max_concurrency = join.capacity.max_concurrency
    worker.kv_cache_tokens = join.capacity.kv_cache_tokens
    worker.extra_body = join.extra_body
    worker.extra_headers = join.extra_headers
    # The challenge was just passed: it is up, until its heartbeats say otherwise.
    worker.state = "ready"
    worker.last_heartbeat_at = now()
    worker.expired_at = None


def _leave(worker_id: UUID, credential: str) -> None:
    worker = permits.find_worker(worker_id, credential)
    if worker.left_at is not None:
        raise worker_unknown()
    with transaction.atomic():
        Revision.bump("fleet")  # first, as in a join: one order of locks, no deadlock
        Worker.objects.filter(pk=worker.pk).update(left_at=now())
