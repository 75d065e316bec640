"""What whoever writes down somebody else's answers must know of an endpoint, and the file that says it.

The control process keeps one small file per watched endpoint under `run/watched/`, so that a middleware inside another
server needs neither a database nor the statistics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlspine.core.ids import uuid7
from mlspine.core.plan import LogSettings
from mlspine.core.types import Scalar, Schema, Struct, Task

THRESHOLD = 0.5


class Spec(Struct, frozen=True, kw_only=True):
    """A watched endpoint: under which release its rows are kept, and how they are read.

    threshold: the score from which on the second class was answered, for logs that hold scores only. names: columns of
    the reference that are no features, by what they mean.
    """

    endpoint: str
    version: int
    revision: int
    release_hash: str
    inputs: Schema
    task: Task
    classes: tuple[Scalar, ...] = ()
    threshold: float = THRESHOLD
    names: dict[str, str] = {}
    log: LogSettings = LogSettings()


def folder_of(workspace: Path) -> Path:
    """Where the files lie."""
    return workspace / "run" / "watched"


def read_spec(workspace: Path, endpoint: str) -> Spec | None:
    """What is said of an endpoint, None when nothing is."""
    try:
        return msgspec.json.decode((folder_of(workspace) / f"{endpoint}.json").read_bytes(), type=Spec)
    except (OSError, msgspec.MsgspecError):
        return None


def write_specs(workspace: Path, specs: Iterable[Spec]) -> None:
    """Say this of these endpoints and of no other; each file changes whole, and only when it must."""
    folder = folder_of(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{each.endpoint}.json": msgspec.json.encode(each) for each in specs}
    for file in folder.glob("*.json"):
        if file.name not in wanted:
            file.unlink(missing_ok=True)
    for name, content in wanted.items():
        target = folder / name
        if target.is_file() and target.read_bytes() == content:
            continue
        draft = folder / f".{uuid7()}.tmp"
        draft.write_bytes(content)
        os.replace(draft, target)
