"""Is the process alive, is it ready, how does it fare: for machines that watch it.

Whether it is, anybody may ask; how it fares, with names of models and workers, only
this machine itself and the holders of keys with the scope `fleet`.
"""

import asyncio
from ipaddress import ip_address
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.errors import AuthenticationFailed
from controller.fleet.breaker import BreakerState
from controller.fleet.live import Fleet
from controller.fleet.turns import Turns
from controller.gateway import Gateway, gateway
from controller.operators import bears_operators_key

BREAKER_NUMBERS = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
}


async def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers at all."""
    return HttpResponse(b"ok\n", content_type="text/plain")


async def readyz(request: HttpRequest) -> HttpResponse:
    """200 while requests should come here; 503 while starting and stopping.

    A failing database does not make it unready: known keys and models are served from
    memory, and a balancer that took every process out would end even that.
    """
    running = gateway()
    state: dict[str, Any] = {"ready": running.is_ready}
    if is_this_machine(request):
        state |= {
            "stopping": running.is_stopping,
            "database": "failing" if running.database_fails else "ok",
            "models": [model.name for model in running.fleet.models()],
        }
    return JsonResponse(state, status=200 if running.is_ready else 503)


async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format; the numbers of this web process.

    Raises `AuthenticationFailed` and `PermissionRefused` for strangers elsewhere.
    """
    if not is_this_machine(request) and not await bears_operators_key(request.META):
        raise AuthenticationFailed(
            "Send an API key with the scope `fleet` as Authorization: Bearer KEY."
        )
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def is_this_machine(request: HttpRequest) -> bool:
    """Whether the peer is on loopback, and not a proxy that asks for somebody else."""
    is_forwarded = {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & request.META.keys()
    try:
        return not is_forwarded and ip_address(request.META["REMOTE_ADDR"]).is_loopback
    except (KeyError, ValueError):  # a Unix socket has no address
        return False


class GatewayCollector(Collector):
    """Gauges read from the running gateway when they are asked for."""

    def collect(self) -> list[GaugeMetricFamily]:
        try:
            running = gateway()
        except RuntimeError:
            return []
        return [
            *_process_gauges(running),
            *_worker_gauges(running.fleet),
            *_line_gauges(running.turns),
            _prefix_index_gauge(running.fleet),
        ]


def _process_gauges(running: Gateway) -> list[GaugeMetricFamily]:
    connections = GaugeMetricFamily(
        "switchyard_upstream_connections", "Open to engines.", labels=["use"]
    )
    connections.add_metric(["busy"], running.client.num_busy)
    connections.add_metric(["idle"], running.client.num_idle)
    slots = sum(load.in_flight for load in running.fleet.loads.values())
    return [
        _gauge(
            "in_flight", "Requests under way in this process.", len(running.exchanges)
        ),
        _gauge("slots_taken", "Requests that hold a place on a worker.", slots),
        connections,
        _gauge("tasks", "Tasks of this process's event loop.", _num_tasks()),
        _gauge(
            "ledger_queued", "Finished requests not yet written.", len(running.ledger)
        ),
        _gauge(
            "ledger_dropped",
            "Requests that went unrecorded.",
            running.ledger.num_dropped,
        ),
        _gauge(
            "resumable_bytes",
            "Held for clients that may come back.",
            running.resumable.num_bytes,
        ),
        _gauge(
            "retries_refused",
            "Requests that failed because the budget for retries was spent.",
            running.retries.num_refused,
        ),
    ]


def _worker_gauges(fleet: Fleet) -> list[GaugeMetricFamily]:
    live = _of_workers("live", "1 while dispatched to.")
    queue = _of_workers("queue_length", "Requests on it.")
    breaker = _of_workers("breaker", "0 closed, 1 half-open, 2 open.")
    share = _of_workers("share", "Part of its weight that it has; grows to 1.")
    for worker in fleet.snapshot.workers.values():
        load = fleet.loads[worker.id]
        live.add_metric([worker.address], not fleet.why_not(worker))
        queue.add_metric([worker.address], load.queue_length)
        breaker.add_metric([worker.address], BREAKER_NUMBERS[load.breaker.state])
        share.add_metric([worker.address], load.slow_start)
    return [live, queue, breaker, share]


def _prefix_index_gauge(fleet: Fleet) -> GaugeMetricFamily:
    remembered = GaugeMetricFamily(
        "switchyard_prefix_index_blocks",
        "Blocks of prompts that prefix_affinity remembers.",
        labels=["model", "task"],
    )
    for (model, task), dispatcher in fleet.dispatchers.items():
        remembered.add_metric([model, task], dispatcher.policy.num_remembered)
    return remembered


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"switchyard_{name}", documentation, value)


def _of_workers(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        f"switchyard_worker_{name}", documentation, labels=["worker"]
    )


def _num_tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked outside of a loop, where there are none
        return 0


def _line_gauges(turns: Turns) -> list[GaugeMetricFamily]:
    length = GaugeMetricFamily(
        "switchyard_queue_length",
        "Requests in line in this process, as the workers are full.",
        labels=["model"],
    )
    num_bytes = GaugeMetricFamily(
        "switchyard_queue_bytes", "Bytes of their bodies.", labels=["model"]
    )
    for model, line in turns.lines.items():
        length.add_metric([model], len(line))
        num_bytes.add_metric([model], line.num_bytes)
    return [length, num_bytes]


REGISTRY.register(GatewayCollector())
