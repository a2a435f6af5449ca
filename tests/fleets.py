"""Fleets that come from no database: views of workers, as many as a test wants."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.utils.timezone import now

from controller.fleet.snapshot import ModelView, PlacementView, Snapshot, WorkerView
from controller.relay.client import Target
from workers.protocol import Task


def worker_view(model: str, number: int, **fields: Any) -> WorkerView:
    """A worker that serves one model for chat; keywords say what matters."""
    placement = PlacementView(
        upstream_model=model,
        tasks=frozenset({Task.CHAT}),
        modalities=("text",),
        context_length=8192,
        parent="",
    )
    values = {
        "id": uuid.uuid5(uuid.NAMESPACE_OID, f"{model} {number}"),
        "address": f"http://worker-{number}:21002",
        "base_path": "/v1",
        "target": Target(ip="127.0.0.1", port=21002, host="worker", tls_name=""),
        "engine": "mock",
        "engine_key": "",
        "credential_digest": "",
        "weight": 1.0,
        "max_concurrency": 64,
        "labels": {},
        "is_enabled": True,
        "drain_wished": False,
        "stop_wished": False,
        "rotation_wished": False,
        "log_wished_until": None,
        "can_continue": False,
        "extra_body": {},
        "extra_headers": {},
        "placements": {model: placement},
        "adapters": None,
        "start_id": f"start of {number}",
        "state": "ready",
        "last_heartbeat_at": now(),
        "expired_at": None,
        "running": 0,
        "waiting": 0,
    }
    return WorkerView(**values | fields)


def snapshot_of(model: str, workers: Iterable[WorkerView], policy: str) -> Snapshot:
    """One model with this policy on all these workers."""
    workers = tuple(workers)
    view = ModelView(
        name=model,
        aliases=(),
        description="",
        policy=policy,
        required_labels={},
        created_at=now(),
        workers=workers,
        tasks=frozenset({Task.CHAT}),
        context_length=8192,
        parent="",
    )
    return Snapshot(models={model: view}, workers={each.id: each for each in workers})
