"""One soak: load by turns with rests, in which the product is read."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mock_engine import MockEngineConfig
from tests.mock_engine.process import MockEngine, running_mock_engine
from tests.product import Product, joined, running_product
from tests.soak.readings import MEGABYTE, Reading, read_at_rest
from tests.soak.users import Users

NUM_USERS = 24
NUM_TURNS = 6
NUM_WARM_UP = 2  # caches fill, and the allocator finds its size
# What may come and go by chance. A leak of 100 bytes a request is more than this.
RSS_SLACK = 12 * MEGABYTE
COUNT_SLACK = 5


class MortalEngine:
    """A mock engine that is killed now and then, and comes back at its old port."""

    def __init__(self) -> None:
        self.engine = MockEngine(MockEngineConfig())
        self._config = MockEngineConfig(port=self.engine.port)

    async def die_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(7)
            await asyncio.to_thread(self.engine.close)
            await asyncio.sleep(2)
            self.engine = await asyncio.to_thread(MockEngine, self._config)


@contextmanager
def running_soak(var_dir: Path, *flags: str) -> Iterator[tuple[Product, MortalEngine]]:
    """The product before three engines, of which one is mortal."""
    mortal = MortalEngine()
    try:
        with (
            running_mock_engine() as one,
            running_mock_engine() as two,
            running_product(var_dir, *flags) as product,
            joined(product, one),
            joined(product, two),
            joined(product, mortal.engine),
        ):
            yield product, mortal
    finally:
        mortal.engine.close()


async def soak(
    product: Product, mortal: MortalEngine, seconds: float
) -> tuple[list[Reading], Users]:
    """The readings after each turn, and the users with what happened to them."""
    began_at = time.monotonic()
    users = Users(product, NUM_USERS)
    dying = asyncio.create_task(mortal.die_now_and_then())
    readings = []
    try:
        for _ in range(NUM_TURNS):
            await users.ask_for(seconds / NUM_TURNS)
            readings.append(await read_at_rest(product, began_at))
    finally:
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
    return readings, users


def growths(readings: list[Reading]) -> list[str]:
    """What grew, in words; nothing for a product that can run for ever."""
    found = [
        f"after {reading.at_seconds:.0f} s something is still held: {reading}"
        for reading in readings
        if not reading.at_rest
    ]
    warm, last = readings[NUM_WARM_UP - 1], readings[-1]
    if last.rss_bytes > warm.rss_bytes + RSS_SLACK:
        found.append(f"memory grew from {warm.rss_bytes:,} to {last.rss_bytes:,} bytes")
    for name in ("descriptors", "tasks"):
        before, after = getattr(warm, name), getattr(last, name)
        if after > before + COUNT_SLACK:
            found.append(f"{name} grew from {before} to {after}")
    return found
