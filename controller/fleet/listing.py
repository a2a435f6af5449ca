"""The fleet as the operators' lists under `/controller/` show it."""

from typing import Any

from django.db.models import Prefetch

from controller.models import Placement, ServedModel, Worker, WorkerBreaker


def list_workers() -> list[dict[str, Any]]:
    """Registered workers by address, live or not, ready for JSON. Four queries."""
    workers = Worker.objects.registered().prefetch_related(
        "placements__served_model",
        Prefetch("breakers", WorkerBreaker.objects.current()),
    )
    return [_worker(worker) for worker in workers]


def list_models() -> list[dict[str, Any]]:
    """Served models by name, with how many workers serve them now. Four queries."""
    models = ServedModel.objects.prefetch_related("aliases", "placements__worker")
    return [_model(model) for model in models]


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id,
        "address": worker.address,
        "base_path": worker.base_path,
        "resolved_ip": worker.resolved_ip,
        "engine": worker.engine,
        "engine_version": worker.engine_version,
        "models": sorted(
            placement.served_model.name for placement in worker.placements.all()
        ),
        "is_live": worker.is_live,
        "is_enabled": worker.is_enabled,
        "is_keyless": worker.is_keyless,
        "is_exclusive": worker.is_exclusive,
        "takes_adapters": worker.takes_adapters,
        "adapters": worker.adapter_states,
        "drain": worker.drain_wished,
        "state": worker.state,
        "breakers": [
            {
                "process": row.process,
                "state": row.state,
                "since": row.since,
                "reason": row.reason,
            }
            for row in worker.breakers.all()
        ],
        "running": worker.running,
        "waiting": worker.waiting,
        "kv_cache_usage": worker.kv_cache_usage,
        "max_concurrency": worker.max_concurrency,
        "kv_cache_tokens": worker.kv_cache_tokens,
        "weight": worker.weight,
        "labels": worker.labels,
        "joined_at": worker.joined_at,
        "last_heartbeat_at": worker.last_heartbeat_at,
    }


def _model(model: ServedModel) -> dict[str, Any]:
    placements: list[Placement] = [
        placement
        for placement in model.placements.all()
        if placement.worker.left_at is None
    ]
    return {
        "name": model.name,
        "aliases": [alias.name for alias in model.aliases.all()],
        "parent": max((each.parent for each in placements), default="") or None,
        "description": model.description,
        "policy": model.policy or "default",
        "is_enabled": model.is_enabled,
        "tasks": sorted({task for each in placements for task in each.tasks}),
        "modalities": sorted({kind for each in placements for kind in each.modalities}),
        "context_length": max((each.context_length for each in placements), default=0),
        "num_workers": len(placements),
        "num_live_workers": sum(each.worker.is_live for each in placements),
    }
