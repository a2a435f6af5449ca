"""What the agent says of itself over HTTP, to this machine alone: `--agent-port`."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from workers.errors import PortTaken
from workers.metrics_scrape import EngineNumbers
from workers.protocol import WorkerState
from workers.supervisor import EngineSupervisor

HOST = "127.0.0.1"


@asynccontextmanager
async def agent_server(
    port: int, supervisor: EngineSupervisor, is_registered: Callable[[], bool]
) -> AsyncIterator[None]:
    """Answer on `port` until the context ends.

    `/healthz` is 200 as long as the agent lives, `/readyz` as long as its engine works
    too, else 503; `/metrics` is for Prometheus. Raises `PortTaken`.
    """
    pages = _Pages(supervisor, is_registered)
    app = web.Application()
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/metrics", pages.metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise PortTaken(
                f"--agent-port {port} cannot be used: {error.strerror}."
            ) from error
        yield
    finally:
        await runner.cleanup()


class _Pages:
    def __init__(
        self, supervisor: EngineSupervisor, is_registered: Callable[[], bool]
    ) -> None:
        self._supervisor = supervisor
        self._is_registered = is_registered

    async def healthz(self, _request: web.Request) -> web.Response:
        return self._state(200)

    async def readyz(self, _request: web.Request) -> web.Response:
        is_ready = self._supervisor.state is WorkerState.READY
        return self._state(200 if is_ready else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        numbers = self._supervisor.last_numbers
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Reading(self._supervisor, numbers, self._is_registered()))
        return web.Response(
            body=generate_latest(registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    def _state(self, status: int) -> web.Response:
        supervisor = self._supervisor
        content = {
            "state": supervisor.state,
            "loading_progress": supervisor.last_numbers.loading_progress,
            "num_restarts": supervisor.num_restarts,
            "is_registered": self._is_registered(),
        }
        return web.json_response(content, status=status)


class _Reading(Collector):
    """The agent's numbers at one moment."""

    def __init__(
        self, supervisor: EngineSupervisor, numbers: EngineNumbers, registered: bool
    ) -> None:
        self._supervisor = supervisor
        self._numbers = numbers
        self._registered = registered

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "switchyard_worker_state", "1 for the engine's state.", labels=["state"]
        )
        for each in WorkerState:
            state.add_metric([each], float(each is self._supervisor.state))
        yield state
        yield CounterMetricFamily(
            "switchyard_worker_engine_restarts",
            "How often the engine was started again.",
            self._supervisor.num_restarts,
        )
        yield _gauge("registered", "1 while the controller knows us.", self._registered)
        numbers = self._numbers
        yield _gauge("requests_running", "Being worked on.", numbers.running)
        yield _gauge("requests_waiting", "Waiting in the engine.", numbers.waiting)
        if numbers.loading_progress is not None:
            yield _gauge(
                "loading_ratio", "Share of weights loaded.", numbers.loading_progress
            )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"switchyard_worker_{name}", meaning, value)
