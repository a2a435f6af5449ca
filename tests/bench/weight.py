"""What the product's processes cost, and the cores that they may use."""

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from msgspec import Struct


class Usage(Struct):
    """CPU and memory of all the product's processes together."""

    cpu_seconds: float
    peak_rss_bytes: int


def usage_of(pid: int) -> Usage:
    """User and system time so far, and the sum of peak resident sizes, of a tree."""
    root = psutil.Process(pid)
    cpu_seconds, peak_rss_bytes = 0.0, 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child may just end
            times = process.cpu_times()
            cpu_seconds += times.user + times.system
            peak_rss_bytes += _peak_rss_bytes(process.pid)
    return Usage(cpu_seconds, peak_rss_bytes)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin processes started in this context, and all their threads, to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _peak_rss_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as exc:
        raise psutil.NoSuchProcess(pid) from exc
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
