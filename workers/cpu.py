"""What this machine's processors can do, without asking torch."""

import os
import shutil
from pathlib import Path

from workers import container

CPU_INFO = Path("/proc/cpuinfo")
CPU_FOLDER = Path("/sys/devices/system/cpu")
NODE_FOLDER = Path("/sys/devices/system/node")


def has_nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or bool(
        shutil.which("nvidia-smi")
    )


def has_amd_gpu() -> bool:
    return Path("/dev/kfd").exists()


def has_fast_bfloat16() -> bool:
    """Tell if the CPU multiplies bfloat16 in hardware; else float32 is much faster."""
    try:
        flags = CPU_INFO.read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def usable_cpus() -> list[int]:
    """Return the CPUs that we may run on, one per physical core, in order.

    A core's second hardware thread shares its arithmetic units: threads bound to both
    only get in each other's way.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return list(range(os.cpu_count() or 1))
    chosen: dict[str, int] = {}
    for cpu in allowed:
        siblings = CPU_FOLDER / f"cpu{cpu}/topology/thread_siblings_list"
        try:
            core = siblings.read_text().strip()
        except OSError:
            core = str(cpu)
        chosen.setdefault(core, cpu)
    return sorted(chosen.values())


def num_threads() -> int:
    """Return how many threads can compute at once: no more than a container has time
    for, since the kernel would stop all of them whenever that is used up."""
    limit = container.cpu_limit()
    num_cpus = len(usable_cpus())
    return num_cpus if limit is None else max(1, min(num_cpus, round(limit)))


def num_memory_nodes() -> int:
    """Return how many NUMA nodes the machine has; 1 where it does not say."""
    return len(list(NODE_FOLDER.glob("node[0-9]*"))) or 1
