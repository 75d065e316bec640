"""The record of what people do to bring a model into production: one line per command or notebook line.

A file beside the store, only ever appended to. It holds words of the command table and names of models, never the
values of options: those may be secrets.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

FILE = "effort.jsonl"
MAX_BYTES = 4_000_000  # some 20,000 steps; nothing is recorded beyond


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a person did. config_at_ms: when mlspine.toml was last changed, 0 where there is none."""

    at_ms: int  # when it ended
    took_s: float
    by: Literal["command", "line"]
    what: str  # "serve", "labels add"; "ship" for the line in a notebook
    names: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()  # files of code it was given
    ok: bool = True
    config_at_ms: int = 0


def append(workspace: Path, step: Step) -> None:
    """Add one line. Never raises and never waits: a record that cannot be written is not worth a failure."""
    with contextlib.suppress(OSError):
        descriptor = os.open(workspace / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < MAX_BYTES:
                os.write(descriptor, msgspec.json.encode(step) + b"\n")
        finally:
            os.close(descriptor)


def read(workspace: Path) -> list[Step]:
    """Every step recorded, in order of time; lines that cannot be read are left out."""
    steps = []
    try:
        lines = (workspace / FILE).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            steps.append(msgspec.json.decode(line, type=Step))
    return sorted(steps, key=lambda step: step.at_ms)


def changed_at_ms(path: Path | None) -> int:
    """When a file was last changed, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns // 1_000_000 if path else 0
    except OSError:
        return 0
