"""This machine, and what the processes of one server take of it."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MARK = "MLSPINE_BENCH_MARK"  # in the environment of a server and so of all its processes, also those that detach


class Usage(NamedTuple):
    """cpu_s: processor time so far; rss_bytes: resident memory, all processes added up."""

    cpu_s: float
    rss_bytes: int
    processes: int


def machine() -> str:
    """One line for the head of a table."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = found[0].partition(":")[2].strip() if found else model
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.machine()}"


def marked(mark: str) -> list[int]:
    """The processes started with this mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (each / "environ").read_bytes().split(b"\0"):
                    found.append(int(each.name))
    return found


def usage(pids: list[int]) -> Usage:
    """What these processes have taken; those that ended meanwhile count for nothing."""
    cpu, pages, alive = 0, 0, 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
            alive += 1
    return Usage(cpu / TICKS, pages * PAGE_BYTES, alive)


def peak_rss_bytes(pid: int) -> int:
    """The most memory a process has held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def tell(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def end(mark: str, *, patience_s: float = 10.0) -> None:
    """End every process with this mark, softly first."""
    tell(marked(mark), signal.SIGCONT)
    tell(marked(mark), signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    tell(marked(mark), signal.SIGKILL)
