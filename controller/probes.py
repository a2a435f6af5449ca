"""Is the process alive, is it ready, how does it fare: for machines that watch it.

Whether it is, anybody may ask; how it fares, with names of models and workers, only
this machine itself and the holders of keys with the scope `fleet`.
"""

from ipaddress import ip_address
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.errors import AuthenticationFailed
from controller.gateway import gateway
from controller.operators import bears_operators_key


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
        in_flight = GaugeMetricFamily(
            "switchyard_in_flight", "Requests under way in this process."
        )
        in_flight.add_metric([], len(running.exchanges))
        queued = GaugeMetricFamily(
            "switchyard_ledger_queued", "Finished requests not yet written."
        )
        queued.add_metric([], len(running.ledger))
        dropped = GaugeMetricFamily(
            "switchyard_ledger_dropped", "Requests that went unrecorded."
        )
        dropped.add_metric([], running.ledger.num_dropped)
        live = GaugeMetricFamily(
            "switchyard_worker_live", "1 while dispatched to.", labels=["worker"]
        )
        queue = GaugeMetricFamily(
            "switchyard_worker_queue_length", "Requests on it.", labels=["worker"]
        )
        for worker in running.fleet.snapshot.workers.values():
            load = running.fleet.loads[worker.id]
            live.add_metric([worker.address], not running.fleet.why_not(worker))
            queue.add_metric([worker.address], load.queue_length)
        return [in_flight, queued, dropped, live, queue]


REGISTRY.register(GatewayCollector())
