"""Runs of scheduled batches: each in a process of its own, claimed once, its end told by what it leaves behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlspine.feeds import schedule as schedules
from mlspine.feeds.schedule import Schedule, due_after, output_at
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database

Start = Callable[[list[str], Path, Path, dict[str, str]], int]
_LONGEST_RESULT = 400


class Runs:
    """Starts what is due and collects what has ended. Only one machine of a workspace calls `step` at a time."""

    def __init__(
        self,
        *,
        db: Database,
        monitoring: Monitoring,
        workspace: Path,
        clock: Callable[[], int],
        start: Start | None = None,
    ) -> None:
        self._db = db
        self._monitoring = monitoring
        self._workspace = workspace
        self._folder = workspace / "run" / "schedules"
        self._clock = clock
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._start = start or self._start_child
        self._machine = socket.gethostname()

    def step(self) -> list[str]:
        """Collect ended runs, then start due ones; the ids started. Quick: a run is never waited for."""
        for each in schedules.schedules(self._db):
            if each.running and self._has_ended(each):
                self._collect(each)
        now_ms = self._clock()
        due = [each for each in schedules.schedules(self._db) if each.next_due_at_ms <= now_ms and not each.running]
        return [each.id for each in due if self._run(each, now_ms)]

    # ------------------------------------------------------------ starting

    def _run(self, each: Schedule, now_ms: int) -> bool:
        with self._db.write() as tx:
            # Committed before anything starts: a kill in between loses this run and never doubles it.
            next_due = due_after(each, now_ms)
            if not schedules.claim(tx, each, next_due_at_ms=next_due, now_ms=now_ms, machine=self._machine):
                return False
        self._folder.mkdir(parents=True, exist_ok=True)
        told, said = self._files(each)
        for left in (told, said):
            left.unlink(missing_ok=True)
        output = output_at(each.output, each.next_due_at_ms)
        argv = [sys.executable, "-m", "mlspine", "score", each.ref, "-i", each.input, "-o", output, "--json"]
        try:
            pid = self._start(argv, told, said, {**os.environ, "MLSPINE_WORKSPACE": str(self._workspace)})
        except OSError as exc:
            self._end(each, f"cannot be started: {exc}", failed=True)
            return False
        with self._db.write() as tx:
            schedules.set_pid(tx, each.id, pid)
        return True

    def _start_child(self, argv: list[str], told: Path, said: Path, environment: dict[str, str]) -> int:
        with told.open("wb") as out, said.open("wb") as err:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=self._workspace.parent,
                start_new_session=True,  # it goes on when control is restarted
            )
        self._children[child.pid] = child
        return child.pid

    # ------------------------------------------------------------ ending

    def _has_ended(self, each: Schedule) -> bool:
        if each.machine != self._machine:
            # Another machine started it. What it wrote cannot be seen from here; its time is up with the next due one.
            return self._clock() >= each.next_due_at_ms
        child = self._children.get(each.pid)
        if child is not None:
            return child.poll() is not None
        return each.pid == 0 or not _is_mlspine(each.pid)

    def _collect(self, each: Schedule) -> None:
        self._children.pop(each.pid, None)
        told, said = self._files(each)
        scored = _read_json(told)
        if each.machine == self._machine and scored is not None:
            where = f"{scored.get('rows', 0):,} rows to {scored.get('output', '')}"
            self._end(each, where, failed=False)
            return
        why = _last_words(said) if each.machine == self._machine else f"unknown: it ran on {each.machine}"
        self._end(each, why or "it ended without a word: killed, or the machine went down", failed=True)

    def _end(self, each: Schedule, result: str, *, failed: bool) -> None:
        with self._db.write() as tx:
            schedules.end(tx, each.id, at_ms=self._clock(), result=result, failed=failed)
        cause = f"schedule:{each.id}"
        if not failed:
            self._monitoring.clear_alert(each.model, cause)
            return
        self._monitoring.raise_alert(
            each.model,
            cause=cause,
            severity="WARNING",
            title=f"{each.model}: scheduled scoring of {each.input} failed",
            why=result,
            action=f"mlspine schedules {each.model}",
        )

    def _files(self, each: Schedule) -> tuple[Path, Path]:
        return self._folder / f"{each.id}.json", self._folder / f"{each.id}.log"


def _is_mlspine(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        return not command.parent.exists() or b"mlspine" in command.read_bytes()
    except (OSError, ProcessLookupError):
        return False


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None


def _last_words(path: Path) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("\r")]
    return " ".join(lines)[-_LONGEST_RESULT:]
