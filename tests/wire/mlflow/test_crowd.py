"""Fifty real clients at once for twenty seconds: nothing is lost, nobody is told of a lock, memory stays."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk
from tests.needs import need
from tests.wire.mlflow.clients import SKINNY

CROWD = Path(__file__).with_name("crowd.py")
PROCESSES, THREADS, SECONDS = 8, 50, 20
MOST_MIB = 150
GROWTH_MIB = 25  # of the second half: what is kept for each run and client has a bound


@contextlib.contextmanager
def crowds(desk: Desk) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of clients, each at the starting line."""
    need("mlflow", SKINNY.python.exists(), "no environment with mlflow-skinny: make wire")
    share = [THREADS // PROCESSES + (n < THREADS % PROCESSES) for n in range(PROCESSES)]
    argv = [str(SKINNY.python), str(CROWD), f"http://127.0.0.1:{desk.control_port}"]
    env = {**desk.env, "PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # nobody empties the pipe meanwhile
    with contextlib.ExitStack() as stack:
        made = []
        for n, threads in enumerate(share):
            command = [*argv, str(threads), str(SECONDS), f"c{n}"]
            pipe = subprocess.PIPE
            each = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, cwd=desk.folder)
            stack.enter_context(each)
            stack.callback(each.kill)
            made.append(each)
        for each in made:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        yield made


@pytest.mark.wire
def test_fifty_clients_lose_nothing_and_memory_stays(desk: Desk) -> None:
    desk.mlspine("up")
    pid = json.loads((desk.folder / ".mlspine" / "run" / "control.json").read_bytes())["pid"]
    with crowds(desk) as running:
        for each in running:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        begun, memory = time.monotonic(), []
        while any(each.poll() is None for each in running) and time.monotonic() < begun + 3 * SECONDS:
            memory.append((time.monotonic() - begun, _pss_mib(pid)))
            time.sleep(0.5)
        answers = [json.loads(each.communicate(timeout=60)[0]) for each in running]
    assert [failed for answer in answers for failed in answer["failed"]] == []
    told = {run: seen for answer in answers for run, seen in answer["told"].items()}
    assert len(told) >= THREADS  # each client came round at least once
    assert _missing(desk, told) == []
    log = (desk.folder / ".mlspine" / "run" / "control.log").read_text()
    assert "locked" not in log
    assert "Traceback" not in log
    half = [mib for at_s, mib in memory if at_s > SECONDS / 2]
    points = sum(seen["points"] for seen in told.values())
    print(f"{len(told)} runs, {points} points in {SECONDS} s; PSS MiB {memory[0][1]} to {half[-1]}")
    assert max(mib for _, mib in memory) < MOST_MIB
    assert half[-1] - half[0] < GROWTH_MIB


def _missing(desk: Desk, told: dict[str, Any]) -> list[str]:
    store = desk.folder / ".mlspine" / "store.db"
    problems = []
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        for run, seen in told.items():
            rows = connection.execute("select no, status from run where id = ?", (run,)).fetchall()
            if len(rows) != 1:
                problems.append(f"run {run}: {rows}")
                continue
            (no, status), stored = rows[0], {}
            for table, column in (("metric_point", "step"), ("run_param", "key"), ("run_tag", "key")):
                found = connection.execute(f"select {column} from {table} where run_no = ?", (no,)).fetchall()
                stored[table] = [row[0] for row in found]
            if sorted(stored["metric_point"]) != list(range(seen["points"])):
                problems.append(f"run {run}: {len(stored['metric_point'])} points of {seen['points']}")
            problems += [f"run {run}: {key}" for key in {*seen["params"]} - {*stored["run_param"]}]
            problems += [f"run {run}: {key}" for key in {*seen["tags"]} - {*stored["run_tag"]}]
            if (status == "FINISHED") != seen["ended"]:
                problems.append(f"run {run}: {status}")
    return problems


def _pss_mib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) // 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
