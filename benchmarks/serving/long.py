"""Minutes of load on a whole mlspine: control takes in the log and judges a window meanwhile; then all is counted."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import joblib

from benchmarks.serving import load
from benchmarks.serving.cases import CLIENTS, Bench
from benchmarks.serving.contenders import Server
from benchmarks.serving.host import MARK, end, usage
from benchmarks.serving.load import Load
from benchmarks.serving.model import single
from benchmarks.serving.ours import NAME, OURS, PATH, faces
from mlspine.core.config import ServingConfig
from mlspine.core.messages import call, socket_path
from tests.serving_harness import free_port

SHIP = """
import sys, joblib, mlspine
model, X, y = joblib.load(sys.argv[1])
mlspine.ship(model, X, y, name=sys.argv[2], quiet=True)
"""
SETTLE_S = 300.0


class Long(NamedTuple):
    """What came of it. judged: the windows judged meanwhile, as control words them; log_s: until all was in the log."""

    load: Load
    answered: int
    log_rows: int
    profile_rows: int
    judged: int
    control_us: float
    rss_bytes: int
    log_s: float


def long_run(bench: Bench, seconds: float) -> Long:
    """Load for so long with `mlspine check` halfway; raises RuntimeError when answers, log and profiles differ."""
    folder = bench.folder / "whole"
    (folder / "home").mkdir(parents=True)
    mark, port = secrets.token_hex(8), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLSPINE_")},
        MARK: mark,
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MLSPINE_SERVING__PORT": str(port),
        "MLSPINE_CONTROL__PORT": str(free_port()),
    }
    for name, value in (("http", faces()[0]), ("processes", "1")):
        if name in ServingConfig.__struct_fields__:
            environment[f"MLSPINE_SERVING__{name.upper()}"] = value
    joblib.dump((bench.tree.classifier, bench.tree.train, bench.tree.labels), folder / "fitted.joblib")
    whole = Whole(folder, environment)
    whole.run([sys.executable, "-W", "ignore", "-c", SHIP, "fitted.joblib", NAME])
    try:
        whole.mlspine("serve", NAME)
        return _measured(bench, whole, Server(OURS, port, PATH, mark), seconds)
    finally:
        with contextlib.suppress(RuntimeError):
            whole.mlspine("down")
        end(mark)


class Whole(NamedTuple):
    """A workspace with everything running, spoken to by the terminal."""

    folder: Path
    environment: dict[str, str]

    def mlspine(self, *words: str) -> str:
        return self.run([sys.executable, "-W", "ignore", "-m", "mlspine", *words])

    def run(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words[-3:])} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout

    def pid(self, name: str) -> int:
        told: int = json.loads((self.folder / ".mlspine" / "run" / f"{name}.json").read_text())["pid"]
        return told

    def rows(self) -> tuple[int, int]:
        """Rows of the log and of the profiles, of one moment."""
        store = self.folder / ".mlspine" / "store.db"
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            connection.execute("begin")
            logged = connection.execute("select coalesce(sum(rows), 0) from segment where kind = 'log'").fetchone()[0]
            profiles = connection.execute("select coalesce(sum(rows), 0) from sub_window").fetchone()[0]
            return int(logged), int(profiles)

    def answered(self) -> int:
        """Rows answered, by the inference process's own count, once it has written them down."""
        where = socket_path(self.folder / ".mlspine" / "run", "inference-0")
        call(where, "flush", timeout_s=60)
        return int(call(where, "observe", timeout_s=60)["endpoints"][NAME]["rows"])


def _measured(bench: Bench, whole: Whole, server: Server, seconds: float) -> Long:
    bodies = single(bench.tree, "rows")
    load.check(server.port, PATH, bodies)
    file = bench.messages("long", PATH, bodies)
    inference, control = whole.pid("inference-0"), whole.pid("control")
    load.run(server.port, file, [inference], clients=CLIENTS, seconds=2)
    judged: list[str] = []
    halfway = threading.Timer(seconds / 2, lambda: judged.append(whole.mlspine("check", NAME)))
    control_before = usage([control]).cpu_s
    halfway.start()
    done = load.run(server.port, file, [inference], clients=CLIENTS, seconds=seconds)
    control_s = usage([control]).cpu_s - control_before
    halfway.join(300)
    rss = usage([inference]).rss_bytes
    began = time.monotonic()
    answered = whole.answered()
    log_rows, profile_rows = whole.rows()
    while (log_rows, profile_rows) != (answered, answered) and time.monotonic() < began + SETTLE_S:
        time.sleep(1.0)
        answered = whole.answered()
        log_rows, profile_rows = whole.rows()
    if not answered == log_rows == profile_rows:
        raise RuntimeError(f"{answered:,} answered, {log_rows:,} in the log, {profile_rows:,} in profiles")
    if not judged:
        raise RuntimeError("no window was judged")
    took_s = time.monotonic() - began
    return Long(done, answered, log_rows, profile_rows, len(judged), control_s / done.answered * 1e6, rss, took_s)


__all__ = ["Long", "long_run"]
