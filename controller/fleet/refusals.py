"""Why no worker was given, in the words that a client reads."""

import math
from collections import Counter
from collections.abc import Iterable

from django.conf import settings

from controller.errors import InvalidRequest, NoWorkerAvailable, WorkersFull
from controller.fleet.snapshot import ModelView
from workers.protocol import Task


def all_full(model: ModelView) -> WorkersFull:
    return WorkersFull(f"The workers of the model `{model.name}` are full.")


def wrong_task(model: ModelView, task: Task) -> InvalidRequest:
    return InvalidRequest(
        f"The model `{model.name}` does not do {task}; it does"
        f" {', '.join(sorted(model.tasks))}.",
        param="model",
        code="unsupported_task",
    )


def none_live(model: ModelView, reasons: Iterable[str]) -> NoWorkerAvailable:
    """`reasons` are those against each of its workers; none: it has no worker."""
    counts = Counter(reasons)
    if counts:
        counted = ", ".join(f"{counts[reason]} {reason}" for reason in sorted(counts))
        why = f"of its {counts.total()} worker(s): {counted}"
    else:
        labels = ", ".join(map("=".join, model.required_labels.items()))
        why = "no worker that serves it is registered" + (
            f" with the labels {labels}" if labels else ""
        )
    return NoWorkerAvailable(
        f"The model `{model.name}` has no live worker now: {why}. Try again shortly.",
        retry_after=math.ceil(settings.HEARTBEAT_INTERVAL.total_seconds()),
    )
