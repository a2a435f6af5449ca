"""Runs the load, direct and through the product by turns, and keeps the best round."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from tests.bench.load import LoadPlan, LoadResult
from tests.bench.weight import usage_of
from tests.mock_engine import MockEngine
from tests.product import ROOT, Product

SHAPES = ("json", "burst", "paced")
LEVELS = (1, 32, 256)
PACED_STREAMS = 100
PACED_INTERVAL_MS = 10.0


class Finding(Struct, kw_only=True):
    """One shape at one level: the best direct and the best round of the product.

    The best direct round is the one with most requests per second; the product's the
    one with least CPU per request. Other work on the machine can only make either
    worse, so the best is the nearest to the truth.
    """

    shape: str
    connections: int
    direct: LoadResult
    product: LoadResult
    cpu_seconds: float
    """Of the product's processes, user and system, within the product's window."""

    @property
    def cpu_us_per_request(self) -> float:
        return 1e6 * self.cpu_seconds / max(1, self.product.requests)

    @property
    def cpu_us_per_event(self) -> float:
        """Of streams; the fixed cost of the request is in it. 0 without streams."""
        events = self.product.events
        return 1e6 * self.cpu_seconds / events if events else 0.0

    @property
    def share_of_pace(self) -> float:
        """Events per second that came of those that the engine sent; `paced` only."""
        offered = self.connections * 1000 / PACED_INTERVAL_MS
        return self.product.events_per_second / offered

    @property
    def cores_busy(self) -> float:
        return self.cpu_seconds / self.product.seconds

    @property
    def added_p50_ms(self) -> float:
        """How much longer the median answer took through the product."""
        return self.product.latency_p50_ms - self.direct.latency_p50_ms


class Bench(Struct, kw_only=True):
    """One engine, reached directly and through one product."""

    engine: MockEngine
    product: Product
    seconds: float
    num_rounds: int

    def findings(self, shapes: tuple[str, ...]) -> Iterator[Finding]:
        """Yield a finding per shape and level, each as soon as it is measured."""
        for shape in shapes:
            levels = (PACED_STREAMS,) if shape == "paced" else LEVELS
            for connections in levels:
                rounds = [
                    self._round(shape, connections) for _ in range(self.num_rounds)
                ]
                best = min(rounds, key=lambda each: each.cpu_us_per_request)
                direct = max(
                    (each.direct for each in rounds),
                    key=lambda each: each.requests_per_second,
                )
                yield msgspec.structs.replace(best, direct=direct)

    def _round(self, shape: str, connections: int) -> Finding:
        plan = LoadPlan(
            host="127.0.0.1",
            port=self.engine.port,
            key=self.engine.config.key,
            model=self.engine.config.models[0],
            shape=shape,
            connections=connections,
            seconds=self.seconds,
            interval_ms=PACED_INTERVAL_MS,
        )
        direct, _ = measure(plan, lambda: 0.0)
        through = msgspec.structs.replace(
            plan, port=self.product.port, key=self.product.credentials.api_key
        )
        product, cpu_seconds = measure(
            through, lambda: usage_of(self.product.process.pid).cpu_seconds
        )
        return Finding(
            shape=shape,
            connections=connections,
            direct=direct,
            product=product,
            cpu_seconds=cpu_seconds,
        )


def measure(
    plan: LoadPlan, read_counter: Callable[[], float]
) -> tuple[LoadResult, float]:
    """Run the plan in a process of its own.

    Returns its result and how far the counter went within the measured window.
    Raises `RuntimeError` if the generator ends without a result.
    """
    argument = msgspec.json.encode(plan).decode()
    command = [sys.executable, "-m", "tests.bench.load", argument]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    readings: list[float] = []
    last_line = ""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() in ("measuring", "measured"):
                readings.append(read_counter())
            last_line = line
    if process.returncode != 0 or len(readings) != 2:
        raise RuntimeError(f"the load generator failed: {last_line!r}")
    before, after = readings
    return msgspec.json.decode(last_line, type=LoadResult), after - before
