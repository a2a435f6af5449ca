"""What a container or a service may use of its machine, by Linux's control groups.

Without a look at them a worker in a container of 2 CPUs and 8 GB on a machine of 64 and
512 starts 64 threads, which the kernel stops most of the time, and takes memory until
it is killed. Read are control groups of version 2; elsewhere nothing is limited.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def cpu_limit() -> float | None:
    """Return how many CPUs' time we may use; None for all."""
    limits = [
        int(quota) / int(period)
        for quota, period in map(str.split, _all("cpu.max"))
        if quota != "max"
    ]
    return min(limits, default=None)


def available_memory() -> int:
    """Return how many bytes we may still take: of the machine's, and of our limit's."""
    rooms = [
        int(limit) - _used(folder)
        for folder in _cgroups()
        if (limit := _read(folder / "memory.max")) and limit != "max"
    ]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


def _used(cgroup: Path) -> int:
    """Return the bytes that are taken and cannot be had back: files' cache can."""
    cached = 0
    for line in _read(cgroup / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            cached = int(value)
    return int(_read(cgroup / "memory.current") or 0) - cached


def _all(name: str) -> list[str]:
    return [text for folder in _cgroups() if (text := _read(folder / name))]


def _cgroups() -> Iterator[Path]:
    """Our own control group and those that it lies in: each may set a limit."""
    for line in _read(OWN_CGROUP).splitlines():
        if line.startswith("0::/"):
            own = CGROUPS / line.removeprefix("0::/")
            yield own
            yield from (each for each in own.parents if each.is_relative_to(CGROUPS))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
