"""What this process may use of its machine: CPUs and memory, by affinity and by the limits of its container."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MOST_BY_ITSELF = 8
MEMORY_EACH_BYTES = 2 << 30


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Whole CPUs this process may use, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cpus = min(cpus, int(quota) // int(period))
    return max(1, cpus)


def usable_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Memory this process may use; 0 where the system does not tell."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        memory = 0
    limit = _read(cgroup / "memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def shares_ports() -> bool:
    """Whether the system deals the connections of one port among several processes."""
    return sys.platform.startswith("linux")


def processes_for(cpus: int, memory_bytes: int) -> int:
    """How many inference processes a machine gets when nobody said: one for each CPU but the one that control and
    the log need, at most one for every 2 GiB of memory (0: not known), at most 8.

    >>> [processes_for(cpus, 32 << 30) for cpus in (1, 2, 4, 64)], processes_for(8, 4 << 30)
    ([1, 1, 3, 8], 2)
    """
    by_memory = memory_bytes // MEMORY_EACH_BYTES if memory_bytes else MOST_BY_ITSELF
    return max(1, min(cpus - 1, by_memory, MOST_BY_ITSELF))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
