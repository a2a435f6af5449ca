"""Two minutes of load, leaving clients and failing engines: nothing grows."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.soak.readings import MEGABYTE, Reading
from tests.soak.running import NUM_TURNS, growths, running_soak, soak

SECONDS = 120.0
CALM = Reading(
    at_seconds=1,
    rss_bytes=100 * MEGABYTE,
    descriptors=30,
    tasks=12,
    in_flight=0,
    slots_taken=0,
    upstream_busy=0,
    upstream_idle=0,
    ledger_queued=0,
)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_minutes_of_load_and_failures_leave_nothing_behind(
    new_var_dir: Callable[[], Path],
):
    with running_soak(new_var_dir()) as (product, mortal):
        readings, users = asyncio.run(soak(product, mortal, SECONDS))

    assert growths(readings) == []
    assert users.outcomes["200"] > 500
    assert {"left", "400", "502", "200 with an error"} <= users.outcomes.keys()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rss_bytes": 120 * MEGABYTE}, "memory grew"),
        ({"descriptors": 60}, "descriptors grew from 30 to 60"),
        ({"tasks": 60}, "tasks grew"),
        ({"slots_taken": 1}, "still held"),
    ],
)
def test_what_grows_is_told(change: dict[str, int], told: str):
    readings = [CALM] * NUM_TURNS
    assert growths(readings) == []

    readings[-1] = msgspec.structs.replace(CALM, **change)

    [found] = growths(readings)
    assert told in found
