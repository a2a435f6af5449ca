"""What is simulated for docs/routing.md."""

from dataclasses import dataclass

from tests.simulation.simulate import Outcome, Scenario, simulate
from tests.simulation.traces import SHARED, UNSHARED, Workload

POLICIES = (
    "lottery",
    "round_robin",
    "shortest_queue",
    "least_load",
    "prefix_affinity",
)
SESSIONS = "round_robin + sessions"
SWEPT_WORKERS = 8
SHARED_RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
UNSHARED_RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SIZES = (2, 8, 32, 128, 500)
SIZES_RATE = 0.4
NUM_SEEDS = 5


@dataclass(frozen=True)
class Findings:
    """Outcomes by the name of the way of choosing, in the order they were asked for."""

    shared: dict[str, list[Outcome]]
    unshared: dict[str, list[Outcome]]
    sizes: dict[str, list[Outcome]]


def scenario(way: str, workload: Workload, num_workers: int, rate: float) -> Scenario:
    """`way` is a policy, or one with sessions as `SESSIONS` is written."""
    policy, _, sessions = way.partition(" + ")
    return Scenario(
        policy, workload, num_workers, rate, has_sessions=sessions == "sessions"
    )


def sweep(ways: tuple[str, ...], workload: Workload, rates: tuple[float, ...]):
    return {
        way: [
            simulate(scenario(way, workload, SWEPT_WORKERS, rate), NUM_SEEDS)
            for rate in rates
        ]
        for way in ways
    }


def grow(ways: tuple[str, ...]) -> dict[str, list[Outcome]]:
    """The same load on each worker, in fleets of every size; large ones run once."""
    return {
        way: [
            simulate(scenario(way, SHARED, size, SIZES_RATE), 5 if size < 100 else 1)
            for size in SIZES
        ]
        for way in ways
    }


def all_findings() -> Findings:
    return Findings(
        shared=sweep((*POLICIES, SESSIONS), SHARED, SHARED_RATES),
        unshared=sweep(POLICIES, UNSHARED, UNSHARED_RATES),
        sizes=grow(("round_robin", "least_load", "prefix_affinity")),
    )
