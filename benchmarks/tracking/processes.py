"""All processes of one server, found by a mark in their environment: memory, processor time, and their end.

A server may start workers, runners and daemons of its own; a mark given at the start reaches all of them, also those
that leave the process group. Linux only, by /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "TRACKING_BENCHMARK"
KIB = 1024
RESET_PEAK = "5"


def pids_of(mark: str) -> list[int]:
    """The living processes that carry this mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def shared_mib(pids: list[int]) -> float:
    """Memory with shared pages divided among those who share them (PSS), MiB."""
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) / KIB


def resident_mib(pids: list[int]) -> float:
    """Memory as `ps` and `top` add it up (RSS), MiB: pages that processes share count once for each."""
    return sum(_kib(pid, "status", "VmRSS:") for pid in pids) / KIB


def peak_mib(pids: list[int]) -> float:
    """The most resident memory of each process since `reset_peak`, added up, MiB."""
    return sum(_kib(pid, "status", "VmHWM:") for pid in pids) / KIB


def reset_peak(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def cpu_s(pids: list[int]) -> float:
    """Processor time of these processes so far: it minds less what else the machine does than a stopwatch."""
    spent = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
    return spent / os.sysconf("SC_CLK_TCK")


def until_quiet(mark: str, *, patience_s: float, share: float = 0.1) -> bool:
    """Wait until these processes use less than that share of one core over half a second; False when they go on."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        pids = pids_of(mark)
        before_s = cpu_s(pids)
        time.sleep(0.5)
        if pids_of(mark) == pids and cpu_s(pids) - before_s < 0.5 * share:
            return True
    return False


def end(mark: str, *, patience_s: float = 10.0) -> None:
    """End every process with this mark: asked first, killed when it stays."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids_of(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        until = time.monotonic() + patience_s
        while pids_of(mark) and time.monotonic() < until:
            time.sleep(0.05)


def _kib(pid: int, file: str, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0
