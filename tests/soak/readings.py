"""What the product holds while nobody asks it for anything."""

import asyncio
import re
import time

import psutil
from msgspec import Struct

from tests.product import Product

MEGABYTE = 2**20
NUM_ENGINES = 3  # a suspect's health checks keep one connection to it
QUIET_SECONDS = 20  # within which all that belongs to requests must have gone


class Reading(Struct, kw_only=True):
    at_seconds: float
    rss_bytes: int
    descriptors: int
    """Open files and sockets, of all its processes."""
    tasks: int
    in_flight: int
    slots_taken: int
    upstream_busy: int
    upstream_idle: int
    ledger_queued: int

    @property
    def at_rest(self) -> bool:
        """Whether nothing of any request is held any more."""
        return not (
            self.in_flight
            or self.slots_taken
            or self.upstream_busy
            or self.upstream_idle > NUM_ENGINES
            or self.ledger_queued
        )


async def read_at_rest(product: Product, began_at: float) -> Reading:
    """A reading as soon as nothing is held; the last one if something stays."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        reading = await asyncio.to_thread(read, product, began_at)
        if reading.at_rest or time.monotonic() > deadline:
            return reading
        await asyncio.sleep(0.2)


def read(product: Product, began_at: float) -> Reading:
    page = product.call("GET", "/metrics").body.decode()
    root = psutil.Process(product.process.pid)
    processes = [root, *root.children(recursive=True)]
    return Reading(
        at_seconds=time.monotonic() - began_at,
        rss_bytes=sum(each.memory_info().rss for each in processes),
        descriptors=sum(each.num_fds() for each in processes),
        tasks=_value_of(page, "tasks"),
        in_flight=_value_of(page, "in_flight"),
        slots_taken=_value_of(page, "slots_taken"),
        upstream_busy=_value_of(page, 'upstream_connections{use="busy"}'),
        upstream_idle=_value_of(page, 'upstream_connections{use="idle"}'),
        ledger_queued=_value_of(page, "ledger_queued"),
    )


def _value_of(page: str, name: str) -> int:
    """The value of one of our gauges."""
    line = re.search(rf"^switchyard_{re.escape(name)} (\S+)$", page, re.MULTILINE)
    assert line is not None, name
    return round(float(line[1]))
