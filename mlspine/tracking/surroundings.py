"""What a process runs on and with: command, interpreter, libraries, hardware. Nothing here names the machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mlspine.core.types import Struct

_SECRET = re.compile(r"(?i)^--?[\w-]*(token|password|passwd|secret|api-?key|credential)[\w-]*")
HIDDEN = "…"
_GPU_TIMEOUT_S = 5.0


class Hardware(Struct, frozen=True, kw_only=True):
    """cpus: as many as this process may use. gpus: name and memory of each that is visible."""

    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()


def platform_facts() -> dict[str, str]:
    """Interpreter and operating system, without the host's name."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def hardware() -> Hardware:
    memory = 0
    with contextlib.suppress(ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return Hardware(cpus=cpus, memory_bytes=memory, gpus=_gpus())


def command() -> tuple[str, ...]:
    """The words after the interpreter that started this process, without what looks like a secret.

    Empty where there is no such line: a notebook, a console, a program that embeds Python.
    """
    words = tuple(getattr(sys, "orig_argv", ())[1:])
    interactive = not words or "ipykernel_launcher" in " ".join(words[:3]) or hasattr(sys, "ps1")
    return () if interactive else without_secrets(words)


def without_secrets(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command line that may be shown.

    >>> without_secrets(("fit.py", "--api-key", "abc", "--hub-token=x", "--lr", "1"))
    ('fit.py', '--api-key', '…', '--hub-token=…', '--lr', '1')
    """
    shown: list[str] = []
    hide_next = False
    for word in words:
        found = _SECRET.match(word)
        shown.append(HIDDEN if hide_next else f"{word.partition('=')[0]}={HIDDEN}" if found and "=" in word else word)
        hide_next = not hide_next and found is not None and "=" not in word
    return tuple(shown)


def libraries() -> dict[str, str]:
    """Name and version of each installed distribution that this process has imported something of."""
    found = {}
    owners = _owners()
    for module in {name.partition(".")[0] for name in list(sys.modules)}:
        for name in owners.get(module, ()):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[re.sub(r"[-_.]+", "-", name).lower()] = importlib.metadata.version(name)
    return dict(sorted(found.items()))


def peak_memory_bytes() -> int:
    """The most memory this process has held so far, 0 where nobody tells."""
    with contextlib.suppress(ImportError, OSError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return 0


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """Top-level module -> the distributions that own it; reading it takes a tenth of a second."""
    return importlib.metadata.packages_distributions()


def _gpus() -> tuple[str, ...]:
    """As the driver names them; the driver's files are looked for first, since asking takes a while."""
    program = shutil.which("nvidia-smi") if Path("/proc/driver/nvidia").exists() else None
    if program is None:
        return ()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_GPU_TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
    return ()
