"""What the GPUs of this machine do, as nvidia-smi tells; nothing where there is none."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

PROGRAM = "nvidia-smi"
QUERY = "index,name,utilization.gpu,memory.used,memory.total"
TIMEOUT_S = 5.0
KEPT_S = 10.0
_MIB = 1024 * 1024


class Gpu(NamedTuple):
    """One GPU now. utilization: share of the last moment in which it worked, None where it does not tell."""

    number: str
    name: str
    utilization: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None


class Gpus:
    """The GPUs of this machine, asked for every KEPT_S seconds at most."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._read_at_s = -KEPT_S
        self._kept: tuple[Gpu, ...] = ()

    def read(self) -> tuple[Gpu, ...]:
        """All of them; () without any, or when nvidia-smi fails."""
        if self._clock_s() - self._read_at_s >= KEPT_S:
            self._read_at_s = self._clock_s()
            self._kept = parse(_ask())
        return self._kept


def parse(text: str) -> tuple[Gpu, ...]:
    """The lines of `nvidia-smi --query-gpu=... --format=csv,noheader,nounits`.

    >>> parse("0, NVIDIA H200, 37, 1024, 143771")[0].utilization
    0.37
    >>> parse("0, Tesla T4, [N/A], 5, 15360")[0].utilization is None
    True
    """
    fields = [[each.strip() for each in line.split(",")] for line in text.splitlines()]
    return tuple(
        Gpu(number, name, _number(busy, 0.01), _bytes(used), _bytes(total))
        for number, name, busy, used, total in (each for each in fields if len(each) == 5)
    )


def _ask() -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        return ""
    argv = [program, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _number(text: str, unit: float) -> float | None:
    try:
        return float(text) * unit
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    found = _number(text, _MIB)
    return None if found is None else int(found)
