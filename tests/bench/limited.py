"""What limits and a budget cost: the same load with a bare key and with a limited one.

Round by round in turn, in one run and one product, so that what else the machine does
falls on both alike.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from tests.bench.load import LoadPlan
from tests.bench.rounds import measure
from tests.bench.weight import usage_of
from tests.mock_engine import MockEngine
from tests.product import Product, manage

CONNECTIONS = 32
LIMITS = (
    *("--rpm", "100000000", "--tpm", "1000000000", "--concurrent", "10000"),
    *("--tokens-per-day", "1000000000", "--tokens-per-month", "1000000000"),
)


class LimitsCost(Struct, kw_only=True):
    """CPU of the product for a request of one shape, the least of all rounds."""

    shape: str
    bare_us: float
    limited_us: float
    errors: dict[str, int]

    @property
    def ratio(self) -> float:
        """Limited over bare."""
        return self.limited_us / self.bare_us


def limits_cost(
    engine: MockEngine, product: Product, seconds: float, num_rounds: int
) -> Iterator[LimitsCost]:
    """Yield what limits cost to each shape, as soon as it is measured."""
    bare, limited = _new_key(product), _new_key(product, *LIMITS)
    for shape in ("json", "burst"):
        plan = LoadPlan(
            host="127.0.0.1",
            port=product.port,
            key="",
            model=engine.config.models[0],
            shape=shape,
            connections=CONNECTIONS,
            seconds=seconds,
        )
        errors: dict[str, int] = {}
        costs: dict[str, list[float]] = {bare: [], limited: []}
        for _ in range(num_rounds):
            for key, found in costs.items():
                found.append(_cost_us(plan, key, product, errors))
        yield LimitsCost(
            shape=shape,
            bare_us=min(costs[bare]),
            limited_us=min(costs[limited]),
            errors=errors,
        )


def _cost_us(
    plan: LoadPlan, key: str, product: Product, errors: dict[str, int]
) -> float:
    result, cpu_seconds = measure(
        msgspec.structs.replace(plan, key=key),
        lambda: usage_of(product.process.pid).cpu_seconds,
    )
    for kind, count in result.errors.items():
        errors[kind] = errors.get(kind, 0) + count
    return 1e6 * cpu_seconds / max(1, result.requests)


def _new_key(product: Product, *flags: str) -> str:
    command = ("create_key", "--user", "admin", "--name", "bench", *flags)
    return manage(product.var_dir, *command).stdout.split()[-1]
