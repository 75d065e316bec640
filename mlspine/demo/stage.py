"""Around the stage of a demo: its folder, its ports, the machine, what this terminal can show."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.metadata import version as installed
from pathlib import Path
from typing import TextIO

from mlspine import __version__
from mlspine.core.errors import Conflict
from mlspine.demo.figures import Machine

NAME = "flights"


def machine() -> Machine:
    """Where the year is played."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        mlspine=__version__,
        libraries={name: installed(name) for name in ("scikit-learn", "pandas", "numpy", "duckdb")},
    )


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def folder_of(workspace: Path | None) -> Iterator[Path]:
    """The workspace of the demo: the folder asked for, or a temporary one that is removed afterwards."""
    if workspace is not None:
        if workspace.exists() and (not workspace.is_dir() or any(workspace.iterdir())):
            raise Conflict(
                f"{workspace} is not an empty folder",
                hint="the demo plays a year from its start; name a new folder",
            )
        yield workspace.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="mlspine-demo-")).resolve()
    try:
        yield folder / NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leads(page_path: Path, json_path: Path | None, workspace: Path | None) -> list[str]:
    """Where to look next."""
    rows = [("the page for a colleague", str(page_path))]
    if json_path is not None:
        rows.append(("every figure", str(json_path)))
    if workspace is not None:
        rows.append(("look around", f"MLSPINE_WORKSPACE={workspace} mlspine status {NAME}"))
    return [f"  {name:<28}  {value}" for name, value in rows]


def printable(text: str, out: TextIO) -> str:
    """What this terminal can show: a question mark for the rest."""
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)
