"""The fleet as rows had it at one moment: immutable, shared by all requests."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.fernet import InvalidToken

from controller.fleet.adapters import Wishes, load_wishes, wished_of
from controller.fleet.addresses import DEFAULT_PORTS, ResolvedAddress
from controller.fleet.audiences import Audience, load_audiences
from controller.identity.caller import Caller
from controller.models import ModelAlias, Placement, ServedModel, Worker
from controller.prices import FREE, Prices
from controller.relay.client import Target
from workers.protocol import AdapterWish

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlacementView:
    """How one worker serves one model."""

    upstream_model: str
    tasks: frozenset[str]
    modalities: tuple[str, ...]
    context_length: int
    parent: str
    """The base model's name, for an adapter; else empty."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkerView:
    """A registered worker, ready to be connected to."""

    id: UUID
    address: str
    base_path: str
    target: Target
    engine: str
    engine_key: str = field(repr=False)
    credential_digest: str = field(repr=False)
    weight: float
    max_concurrency: int
    labels: Mapping[str, str]
    is_enabled: bool
    drain_wished: bool
    stop_wished: bool
    rotation_wished: bool
    log_wished_until: datetime | None
    can_continue: bool
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str] = field(repr=False)
    placements: Mapping[str, PlacementView]
    adapters: list[AdapterWish] | None
    """What it should have; None for one that takes none."""
    start_id: str
    state: str
    last_heartbeat_at: datetime
    expired_at: datetime | None
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Canary:
    """A share of a model's sessions, and the workers that it goes to."""

    share: float
    """0 to 1."""
    labels: Mapping[str, str]

    def has(self, worker: WorkerView) -> bool:
        return self.labels.items() <= worker.labels.items()


@dataclass(frozen=True, slots=True, eq=False)
class ModelView:
    """A served model and all registered workers that may serve it, live or not."""

    name: str
    aliases: tuple[str, ...]
    description: str
    policy: str
    required_labels: Mapping[str, str]
    created_at: datetime
    workers: tuple[WorkerView, ...]
    tasks: frozenset[str]
    context_length: int
    """The longest that any of its workers takes, and the operator allows; 0 if neither
    is known."""
    parent: str
    """The base model's name, for an adapter; else empty."""
    prices: Prices = FREE
    licence: str = ""
    audience: Audience | None = None
    """For whom it is; None: for everybody."""
    default_parameters: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str = ""
    context_limit: int | None = None
    """The operator's, where that is less than what the engines take."""
    canary: Canary | None = None
    fallback: str = ""
    """The model that is asked where no worker of this one takes a request."""
    modalities: frozenset[str] = frozenset()
    """What every one of its workers takes in: `text`, perhaps `image`."""

    def is_for(self, caller: Caller) -> bool:
        """Whether the caller may know of it and ask it."""
        if not caller.may_use(self.name, *self.aliases):
            return False
        if self.audience is None or caller.has_models_of_its_own:
            return True
        return self.audience.includes(caller)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Models by every name they go by, and workers by id."""

    models: Mapping[str, ModelView] = field(default_factory=dict)
    workers: Mapping[UUID, WorkerView] = field(default_factory=dict)

    @property
    def listed(self) -> list[ModelView]:
        """Each model once, by name."""
        once = {model.name: model for model in self.models.values()}
        return [once[name] for name in sorted(once)]


def load_snapshot() -> Snapshot:
    """The fleet as it stands in the database. At most seven queries."""
    placements: dict[UUID, list[Placement]] = {}
    for row in Placement.objects.filter(worker__left_at=None).select_related(
        "served_model"
    ):
        placements.setdefault(row.worker_id, []).append(row)
    workers = _load_workers(placements, load_wishes())
    aliases: dict[int, list[str]] = {}
    for alias in ModelAlias.objects.all():
        aliases.setdefault(alias.served_model_id, []).append(alias.name)
    serving: dict[str, list[WorkerView]] = {}
    for worker_view in workers.values():
        for name in worker_view.placements:
            serving.setdefault(name, []).append(worker_view)
    models: dict[str, ModelView] = {}
    audiences = load_audiences()
    enabled = ServedModel.objects.filter(is_enabled=True).select_related("fallback")
    for served in enabled:
        view = _model_view(
            served,
            aliases.get(served.id, []),
            serving.get(served.name, []),
            audiences.get(served.id),
        )
        for name in (view.name, *view.aliases):
            models[name] = view
    return Snapshot(models=models, workers=workers)


def _load_workers(
    placements: Mapping[UUID, list[Placement]], wishes: Wishes
) -> dict[UUID, WorkerView]:
    """The registered workers whose engine key can be read; one that was written with
    lost FIELD_KEYS is unknown here, and joins again by itself with its key."""
    workers = {}
    for worker in Worker.objects.registered():
        try:
            view = _worker_view(worker, placements.get(worker.id, []), wishes)
        except InvalidToken:
            logger.warning("worker %s: FIELD_KEYS do not open its engine key", worker)
            continue
        workers[worker.id] = view
    return workers


def _placement_view(row: Placement) -> PlacementView:
    return PlacementView(
        upstream_model=row.upstream_model or row.served_model.name,
        tasks=frozenset(row.tasks),
        modalities=tuple(row.modalities),
        context_length=row.context_length,
        parent=row.parent,
    )


def _worker_view(worker: Worker, rows: list[Placement], wishes: Wishes) -> WorkerView:
    """The worker with those of its models that its labels permit."""
    placements = {
        row.served_model.name: _placement_view(row)
        for row in rows
        if row.served_model.required_labels.items() <= worker.labels.items()
    }
    bases = [row.served_model.name for row in rows if not row.parent]
    return WorkerView(
        id=worker.id,
        address=worker.address,
        base_path=worker.base_path,
        target=_target(worker),
        engine=worker.engine,
        engine_key=worker.engine_key,
        credential_digest=worker.credential_digest,
        weight=worker.weight,
        max_concurrency=worker.max_concurrency,
        labels=worker.labels,
        is_enabled=worker.is_enabled,
        drain_wished=worker.drain_wished,
        stop_wished=worker.stop_wished,
        rotation_wished=worker.rotation_wished,
        log_wished_until=worker.log_wished_until,
        can_continue=worker.can_continue,
        extra_body=worker.extra_body,
        extra_headers=worker.extra_headers,
        placements=placements,
        adapters=wished_of(bases, wishes) if worker.takes_adapters else None,
        start_id=worker.start_id,
        state=worker.state,
        last_heartbeat_at=worker.last_heartbeat_at,
        expired_at=worker.expired_at,
        running=worker.running,
        waiting=worker.waiting,
    )


def _target(worker: Worker) -> Target:
    parts = urlsplit(worker.address)
    claimed = ResolvedAddress(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        ip=worker.resolved_ip,
    )
    return Target(
        ip=claimed.ip,
        port=claimed.port,
        host=claimed.host_header,
        tls_name=claimed.host if claimed.scheme == "https" else "",
    )


def _model_view(
    served: ServedModel,
    aliases: list[str],
    workers: list[WorkerView],
    audience: Audience | None,
) -> ModelView:
    placements = [worker.placements[served.name] for worker in workers]
    longest = max((p.context_length for p in placements), default=0)
    limit = served.context_limit
    if limit and longest and limit >= longest:
        limit = None  # the engines refuse earlier
    return ModelView(
        name=served.name,
        aliases=tuple(sorted(aliases)),
        description=served.description,
        policy=served.policy,
        required_labels=served.required_labels,
        created_at=served.created_at,
        workers=tuple(workers),
        tasks=frozenset().union(*(placement.tasks for placement in placements)),
        context_length=limit or longest,
        parent=max((placement.parent for placement in placements), default=""),
        prices=served.prices,
        modalities=_common(placements),
        licence=served.licence,
        audience=audience,
        default_parameters=served.default_parameters,
        system_prompt=served.system_prompt,
        context_limit=limit,
        canary=_canary(served),
        fallback=served.fallback.name if served.fallback else "",
    )


def _canary(served: ServedModel) -> Canary | None:
    if not served.canary_labels:
        return None
    return Canary(share=served.canary_percent / 100, labels=served.canary_labels)


def _common(placements: Sequence[PlacementView]) -> frozenset[str]:
    """What all of them take: dispatch asks none of them whether it can see."""
    taken = [frozenset(placement.modalities) for placement in placements]
    return frozenset.intersection(*taken) if taken else frozenset()
