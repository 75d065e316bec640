"""kill -9 of each kind of process under load, at random moments: what must survive, checked from outside."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.desk import Desk

SAFE_S = 1.0  # rows answered longer than this before a kill must be in the log


class Answered(NamedTuple):
    request_id: str
    begun_s: float
    ended_s: float


class Round(NamedTuple):
    victim: str
    killed_at_s: float
    back_after_s: float
    failed: int
    missing: int
    doubled: int
    profile_rows: int
    log_rows: int
    ledger_intact: bool


class Callers:
    """Threads that send single rows to one endpoint, one request after the other, until stopped."""

    def __init__(self, url: str, row: object, *, threads: int = 2) -> None:
        self.answered: list[Answered] = []
        self.failed: list[float] = []
        self._url, self._body = url, json.dumps(row).encode()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _call(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            request = urllib.request.Request(self._url, self._body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    request_id = response.headers["Mlspine-Request-Id"]
                    response.read()
                self.answered.append(Answered(request_id, begun, time.monotonic()))
            except OSError:
                self.failed.append(begun)
                time.sleep(0.01)


def run_round(desk: Desk, callers: dict[str, Callers], victim: str, rng: random.Random, kills: list[float]) -> Round:
    """Kill one process at a random moment, wait until every endpoint answers again, check the store.

    kills: moments of the kills so far, this one is added; rows answered shortly before any of them may be lost.
    """
    time.sleep(rng.uniform(0.2, 2.0))
    pid = pid_of(desk, victim)
    failed_before = sum(len(each.failed) for each in callers.values())
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    kills.append(killed_at)
    back_after = max(_back_after(each, killed_at) for each in callers.values())
    time.sleep(0.3)
    statuses = json.loads(desk.mlspine("status", "--json").out)
    assert statuses["serving"], f"nothing serves after killing {victim}"
    missing = doubled = 0
    for name, each in callers.items():
        logged = _logged_ids(desk, name)
        safe = [answered.request_id for answered in each.answered if _is_safe(answered, kills)]
        missing += sum(logged.get(request_id, 0) == 0 for request_id in safe)
        doubled += sum(count > 1 for count in logged.values())
    profile_rows, log_rows = _rows(desk)
    ledger = desk.mlspine("ledger", "--verify", "--json", check=False)
    failed = sum(len(each.failed) for each in callers.values()) - failed_before
    return Round(victim, killed_at, back_after, failed, missing, doubled, profile_rows, log_rows, ledger.code == 0)


def _is_safe(answered: Answered, kills: list[float]) -> bool:
    """Answered long enough before every later kill, and before the newest one."""
    return answered.ended_s < kills[-1] and all(
        answered.ended_s < killed_at - SAFE_S or answered.begun_s > killed_at for killed_at in kills
    )


def pid_of(desk: Desk, kind: str) -> int:
    """The pid of the control, inference or worker process of the desk's workspace."""
    run = desk.folder / ".mlspine" / "run"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if kind == "worker":
                processes = json.loads(desk.mlspine("status", "--json").out)["processes"]
                return int(next(iter(processes[0]["workers"].values())))
            file = run / ("control.json" if kind == "control" else "inference-0.json")
            pid = int(json.loads(file.read_text())["pid"])
            os.kill(pid, 0)
            return pid
        except (OSError, ValueError, IndexError, StopIteration, KeyError):
            time.sleep(0.1)
    raise AssertionError(f"no living {kind} process to kill")


def _back_after(callers: Callers, killed_at: float) -> float:
    """Seconds from the kill to the end of the first answer that was begun after it."""
    deadline = killed_at + 60
    while time.monotonic() < deadline:
        after = [answered.ended_s for answered in list(callers.answered) if answered.begun_s > killed_at]
        failures = [begun for begun in list(callers.failed) if begun >= killed_at - 0.5]
        if after and (not failures or max(after) > max(failures)):
            good = [end for end in after if not failures or end > max(failures)]
            return min(good) - killed_at
        time.sleep(0.01)
    return float("inf")


def _logged_ids(desk: Desk, endpoint: str) -> dict[str, int]:
    sql = "select cast(_id as varchar) as id, count(*) as n from log group by 1"
    told = json.loads(desk.mlspine("log", endpoint, sql, "--json").out)
    return {row[0]: int(row[1]) for row in told["rows"]}


def _rows(desk: Desk) -> tuple[int, int]:
    """Rows in profiles and rows in segments, read in one transaction of the store itself."""
    store = Path(desk.folder / ".mlspine" / "store.db")
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        connection.execute("begin")
        profiles = connection.execute("select coalesce(sum(rows), 0) from sub_window").fetchone()[0]
        segments = connection.execute("select coalesce(sum(rows), 0) from segment where kind = 'log'").fetchone()[0]
        return int(profiles), int(segments)
    finally:
        connection.close()
