"""What a worker offers: checked alone, then against the names that others have."""

import re
from collections import Counter

from controller.fleet.errors import WorkerRefused
from controller.models import Adapter, ModelAlias, Placement, ServedModel, Worker
from workers.protocol import PROTOCOL_VERSION, JoinRequest, ModelOffer, RefusalCode

# The database's columns take no more.
MAX_INTEGER = 2**31 - 1
MAX_BIG_INTEGER = 2**63 - 1
MAX_NAME = 200

# RFC 9110, 5.6.2 and 5.5; the relay and the challenge send these headers on.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,2000}", re.ASCII)
# As an address's path is read in one way only: no dots to climb by, no escapes.
_BASE_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,20}", re.ASCII)
MAX_BASE_PATH = 200
# They frame or route the request, which is the relay's own business.
_RELAY_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def check_offer(join: JoinRequest, is_keyless: bool) -> None:
    """Raise `WorkerRefused` for a request that is wrong in itself. No query."""
    check_protocol(join.protocol)
    if not join.engine_key and not is_keyless:
        raise WorkerRefused(
            RefusalCode.ENGINE_OPEN,
            "The worker's engine has no key, so it would answer anybody. Give it one,"
            " or join with a token made with --keyless.",
        )
    check_base_path(join.base_path)
    if problem := _problem(join):
        raise WorkerRefused(RefusalCode.BAD_REQUEST, problem)


def check_protocol(version: int) -> None:
    """Raise for a version that we do not know, so that its words may mislead us."""
    if version > PROTOCOL_VERSION:
        raise WorkerRefused(
            RefusalCode.PROTOCOL_MISMATCH,
            f"The worker speaks version {version} of the protocol, this controller"
            f" version {PROTOCOL_VERSION}. Upgrade the controller.",
        )


def check_base_path(path: str) -> None:
    """Raise for a path that two servers might read in two ways."""
    if len(path) > MAX_BASE_PATH or not _BASE_PATH.fullmatch(path):
        raise WorkerRefused(
            RefusalCode.BAD_REQUEST,
            f"base_path {path[:MAX_BASE_PATH]!r} is not of the form /v1 or /api/v1.",
        )


def _problem(join: JoinRequest) -> str:
    """What is wrong with the request, in words; empty if nothing is."""
    if not _HEADER_VALUE.fullmatch(join.engine_key):
        return "engine_key holds characters that a header cannot carry."
    for name, value in join.extra_headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RELAY_HEADERS:
            return f"extra_headers must not hold {name!r}. Leave it out."
        if not _HEADER_VALUE.fullmatch(value):
            return f"extra_headers: {name!r} has a value that a header cannot carry."
    if join.capacity.max_concurrency > MAX_INTEGER:
        return f"capacity.max_concurrency is above {MAX_INTEGER}."
    if (join.capacity.kv_cache_tokens or 0) > MAX_BIG_INTEGER:
        return f"capacity.kv_cache_tokens is above {MAX_BIG_INTEGER}."
    for offer in join.models:
        if offer.context_length > MAX_INTEGER:
            return f"{offer.name!r} has a context_length above {MAX_INTEGER}."
        if max(len(offer.parent or ""), len(offer.upstream_model or "")) > MAX_NAME:
            return f"{offer.name!r} has a parent or upstream_model that is too long."
    names = Counter(name for offer in join.models for name in _names(offer))
    twice = sorted(name for name, times in names.items() if times > 1)
    return f"The name {twice[0]!r} is offered twice. Give it once." if twice else ""


def _names(offer: ModelOffer) -> set[str]:
    return {offer.name, *offer.aliases}


def place(worker: Worker, join: JoinRequest) -> None:
    """Put the offered models, and no others, on the worker; make rows that are missing.

    Raises `WorkerRefused` for a name that is somebody else's. To be called inside the
    transaction of a join, which lets no other join run meanwhile. Nine queries at
    most, whatever the number of models.
    """
    offered = [offer.name for offer in join.models]
    _refuse_names_of_aliases(offered)
    _refuse_names_of_adapters(join.models)
    _refuse_exclusive_names(worker, offered)
    ServedModel.objects.bulk_create(
        [ServedModel(name=name) for name in offered], ignore_conflicts=True
    )
    rows = ServedModel.objects.filter(name__in=offered)
    served = {row.name: row for row in rows}
    _place_aliases(join, served)
    worker.placements.all().delete()
    Placement.objects.bulk_create(
        Placement(
            worker=worker,
            served_model=served[offer.name],
            tasks=sorted(offer.tasks),
            modalities=offer.modalities,
            context_length=offer.context_length,
            parent=offer.parent or "",
            upstream_model=offer.upstream_model or "",
        )
        for offer in join.models
    )


def _refuse_names_of_aliases(names: list[str]) -> None:
    aliases = ModelAlias.objects.filter(name__in=names).select_related("served_model")
    if alias := aliases.first():
        raise _name_taken(
            f"{alias.name!r} is an alias of the model {alias.served_model.name!r}."
        )


def _refuse_names_of_adapters(offers: list[ModelOffer]) -> None:
    """Who asks for an adapter must not be answered by another model of its name."""
    parents = {offer.name: offer.parent for offer in offers}
    for adapter in Adapter.objects.filter(name__in=parents).select_related("parent"):
        if parents[adapter.name] != adapter.parent.name:
            raise _name_taken(
                f"{adapter.name!r} is an adapter of the model {adapter.parent.name!r}."
            )


def _refuse_exclusive_names(worker: Worker, names: list[str]) -> None:
    """An owner keeps its names while it is registered, silent or not: what it owns
    must not be had by waiting for its next restart."""
    others = (
        Placement.objects.filter(served_model__name__in=names, worker__left_at=None)
        .exclude(worker=worker)
        .select_related("served_model", "worker")
    )
    for placement in others:
        name, other = placement.served_model.name, placement.worker
        if other.is_exclusive:
            raise _name_taken(
                f"The worker at {other} serves {name!r} exclusively. If it is gone for"
                " good, remove it in the admin."
            )
        if worker.is_exclusive and other.is_live:
            raise _name_taken(
                f"{name!r} cannot be served exclusively: the worker at {other} serves"
                " it too."
            )


def _place_aliases(join: JoinRequest, served: dict[str, ServedModel]) -> None:
    wanted = {
        alias: served[offer.name]
        for offer in join.models
        for alias in offer.aliases
        if alias != offer.name
    }
    if model := ServedModel.objects.filter(name__in=wanted).first():
        raise _name_taken(f"The alias {model.name!r} is the name of a model.")
    known = ModelAlias.objects.filter(name__in=wanted).select_related("served_model")
    for alias in known:
        if alias.served_model != wanted.pop(alias.name):
            raise _name_taken(
                f"The alias {alias.name!r} belongs to the model"
                f" {alias.served_model.name!r}."
            )
    ModelAlias.objects.bulk_create(
        ModelAlias(name=alias, served_model=model) for alias, model in wanted.items()
    )


def _name_taken(reason: str) -> WorkerRefused:
    return WorkerRefused(RefusalCode.MODEL_NAME_TAKEN, reason)
