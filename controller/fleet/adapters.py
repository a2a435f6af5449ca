"""Which adapters a worker should have, and how each fares on the workers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models import Prefetch, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _

from controller.models import Adapter, Placement, Worker
from workers.protocol import AdapterState, AdapterWish

# A join tells of 256 models at most, and the parent and its command line's come first.
MAX_ADAPTERS = 200

Wishes = Mapping[str, list[AdapterWish]]
"""What is to be loaded, by the parent's name."""


def load_wishes() -> Wishes:
    """The enabled adapters. One query."""
    wishes: dict[str, list[AdapterWish]] = {}
    for adapter in Adapter.objects.filter(is_enabled=True).select_related("parent"):
        parent = adapter.parent.name
        wish = AdapterWish(name=adapter.name, parent=parent, source=adapter.source)
        wishes.setdefault(parent, []).append(wish)
    return wishes


def wished_of(bases: Iterable[str], wishes: Wishes) -> list[AdapterWish]:
    """What a worker that takes adapters and serves these models should have."""
    return [wish for base in bases for wish in wishes.get(base, ())]


class OnWorker(TextChoices):
    """How far an adapter is on a worker that serves its parent."""

    LOADED = AdapterState.LOADED, _("loaded")
    LOADING = AdapterState.LOADING, _("loading")
    UNLOADING = AdapterState.UNLOADING, _("unloading")
    FAILED = AdapterState.FAILED, _("failed")
    WISHED = "wished", _("wished")
    SILENT = "silent", _("worker silent")
    NOT_TAKEN = "not_taken", _("worker takes no adapters")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """An adapter on one worker."""

    worker: Worker
    state: OnWorker
    reason: str = ""


def with_workers(adapters: QuerySet[Adapter]) -> QuerySet[Adapter]:
    """The adapters, such that `whereabouts` needs no query. Two more for all."""
    serving = Placement.objects.filter(worker__left_at=None, parent="")
    return adapters.select_related("parent").prefetch_related(
        Prefetch("parent__placements", serving.select_related("worker"), "bases")
    )


def whereabouts(adapter: Adapter) -> list[Whereabouts]:
    """The registered workers that serve the adapter's parent, and how it fares there.

    Of a disabled one, only those that still have it. For rows of `with_workers`.
    """
    workers = [placement.worker for placement in adapter.parent.bases]  # type: ignore[attr-defined]
    return [
        _on_worker(adapter, worker)
        for worker in sorted(workers, key=lambda worker: worker.address)
        if adapter.is_enabled or adapter.name in worker.adapter_states
    ]


def _on_worker(adapter: Adapter, worker: Worker) -> Whereabouts:
    if not worker.is_live:
        return Whereabouts(worker, OnWorker.SILENT)
    heard = worker.adapter_states.get(adapter.name)
    if heard:
        return Whereabouts(worker, OnWorker(heard["state"]), heard["reason"])
    if not worker.takes_adapters:
        return Whereabouts(worker, OnWorker.NOT_TAKEN)
    return Whereabouts(worker, OnWorker.WISHED)
