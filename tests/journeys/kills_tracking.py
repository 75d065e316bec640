"""Many clients that log through the MLflow wire while control is killed: what each was told is stored must be there.

The clients speak HTTP as MLflow's do: a connection that breaks is opened anew and the same request sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.desk import Desk
from tests.journeys.kills import pid_of

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
POINTS = 10  # of one batch
REGISTERS_EVERY = 3  # runs of a writer
BACK_TIMEOUT_S = 90.0

# Rows of one SQL text with :name parameters, straight from the store and past the process that is killed.
Reads = Callable[..., Sequence[Sequence[Any]]]


class Told(NamedTuple):
    """What one writer was told of one run: everything here was acknowledged."""

    run: str
    name: str
    run_sent: int  # how often the run's creation was sent before it was answered
    steps: int  # points "loss" 0..steps-1
    file: str  # path below mlflow-artifacts:/
    digest: str
    model: str = ""
    version: int = 0  # 0: none registered
    version_sent: int = 0


class Round(NamedTuple):
    back_after_s: float
    by_itself: bool
    acknowledged: int
    broken: int  # requests that ended in a broken connection, and were sent again
    missing: list[str]
    doubled: list[str]
    sound: bool
    ledger_intact: bool


class Stopped(Exception):
    """The writers are to end."""


class Writers:
    """Clients in threads: run, batches of points, params, tag, file, end of the run; now and then a version."""

    def __init__(self, port: int, *, threads: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self.answered: list[tuple[float, float]] = []  # begun, ended
        self.broken = 0
        self.refused: list[str] = []
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(timeout=30)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """No request begins meanwhile: fifty clients write faster than one reader can check."""
        self._go.clear()
        try:
            yield
        finally:
            self._go.set()

    def take(self) -> list[Told]:
        """What was acknowledged since the last time."""
        with self._lock:
            told, self._told = self._told, []
            return told

    def _write(self, number: int) -> None:
        client = _Client(self, self._port)
        model = f"model-{number}"
        try:
            client.post("/registered-models/create", name=model)
            for turn in range(1_000_000):
                with_version = turn % REGISTERS_EVERY == 0
                told = self._run(client, f"w{number}-{turn}", model if with_version else "")
                with self._lock:
                    self._told.append(told)
        except Stopped:
            pass
        except Exception as exc:  # whatever a writer meets fails the test, by its words
            self.refused.append(f"writer {number}: {exc!r}")
        finally:
            client.close()

    def _run(self, client: _Client, name: str, model: str) -> Told:
        run = client.post("/runs/create", experiment_id="0", run_name=name, start_time=1)["run"]["info"]["run_id"]
        run_sent = client.sent
        points = [{"key": "loss", "value": step / 7, "timestamp": step, "step": step} for step in range(POINTS)]
        params = [{"key": "name", "value": name}]
        client.post("/runs/log-batch", run_id=run, metrics=points, params=params, tags=[{"key": "t", "value": name}])
        client.post("/runs/log-metric", run_id=run, key="loss", value=1.0, timestamp=POINTS, step=POINTS)
        file, data = f"0/{run}/artifacts/model/MLmodel", f"run_id: {run}\n".encode() * 40
        client.ask("PUT", f"{FILES}/{file}", data)
        told = Told(run, name, run_sent, POINTS + 1, file, hashlib.sha256(data).hexdigest())
        if model:
            told = self._version(client, told, model)
        client.post("/runs/update", run_id=run, status="FINISHED", end_time=2)
        return told

    def _version(self, client: _Client, told: Told, model: str) -> Told:
        source = f"mlflow-artifacts:/0/{told.run}/artifacts/model"
        made = client.post("/model-versions/create", name=model, source=source, run_id=told.run)
        version, sent = int(made["model_version"]["version"]), client.sent
        client.post("/registered-models/alias", name=model, alias="champion", version=str(version))
        return told._replace(model=model, version=version, version_sent=sent)

    def begun(self) -> float:
        self._go.wait()
        if self._stop.is_set():
            raise Stopped
        return time.monotonic()


class _Client:
    """One kept connection. What breaks is sent again until it is answered, as often as MLflow's clients would."""

    def __init__(self, writers: Writers, port: int) -> None:
        self._writers = writers
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.sent = 0  # how often the last request was sent

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str, **body: object) -> Any:
        return json.loads(self.ask("POST", API + path, json.dumps(body).encode()))

    def ask(self, method: str, path: str, body: bytes) -> bytes:
        self.sent = 0
        while True:
            begun = self._writers.begun()
            self.sent += 1
            try:
                self._connection.request(method, path, body, {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._writers.broken += 1
                time.sleep(0.05)
                continue
            if response.status in (429, 503):  # what MLflow's clients come back after
                time.sleep(0.05)
                continue
            if response.status != 200 and b"ALREADY_EXISTS" not in answer:
                raise AssertionError(f"{method} {path}: {response.status} {answer[:300]!r}")
            self._writers.answered.append((begun, time.monotonic()))
            return answer


def run_round(desk: Desk, writers: Writers, reads: Reads, rng: random.Random, *, by_itself: bool) -> Round:
    """Kill control at a random moment, have it back, and look for everything acknowledged since the round before.

    by_itself: wait until inference starts it; else `mlspine up` does.
    """
    time.sleep(rng.uniform(0.3, 2.0))
    broken_before, answered_before = writers.broken, len(writers.answered)
    pid = pid_of(desk, "control")
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    if not by_itself:
        desk.mlspine("up")
    back_after = _back_after(writers, killed_at)
    with writers.resting():
        acknowledged = len(writers.answered) - answered_before
        missing, doubled = look(desk, reads, writers.take())
        ledger = desk.mlspine("ledger", "--verify", "--json", check=False)
        sound = is_sound(reads)
    return Round(
        back_after,
        by_itself,
        acknowledged,
        writers.broken - broken_before,
        missing,
        doubled,
        sound,
        ledger.code == 0,
    )


def look(desk: Desk, reads: Reads, told: list[Told]) -> tuple[list[str], list[str]]:
    """What of the acknowledged is not in the store, and what is there twice."""
    missing, doubled = list[str](), list[str]()
    for each in told:
        rows = reads("select no, name, status from run where id = :id", id=each.run)
        if len(rows) != 1 or rows[0][1:] != (each.name, "FINISHED"):
            (doubled if len(rows) > 1 else missing).append(f"run {each.run}: {rows}")
            continue
        no = rows[0][0]
        steps = [row[0] for row in reads("select step from metric_point where run_no = :no and key = 'loss'", no=no)]
        missing += [f"{each.run} step {step}" for step in set(range(each.steps)) - set(steps)]
        doubled += [f"{each.run} steps {steps}"] if len(steps) != len(set(steps)) else []
        for table, key in (("run_param", "name"), ("run_tag", "t")):
            found = reads(f"select value from {table} where run_no = :no and key = :key", no=no, key=key)
            missing += [] if list(map(tuple, found)) == [(each.name,)] else [f"{each.run} {table}: {found}"]
        if _digest_of(desk, each.file) != each.digest:
            missing.append(f"file {each.file}")
        if each.version:
            missing += _version_missing(reads, each)
    return missing, doubled + _too_many(reads, told)


def _too_many(reads: Reads, told: list[Told]) -> list[str]:
    """Runs and versions of which there are more than were asked for: a request cut off may have been stored."""
    runs = {row[0]: row[1] for row in reads("select name, count(*) from run group by name having count(*) > 1")}
    versions = {
        row[0]: row[1]
        for row in reads("select run_id, count(*) from model_version group by run_id having count(*) > 1")
    }
    return [f"{runs[each.name]} runs {each.name}" for each in told if runs.get(each.name, 1) > each.run_sent] + [
        f"{versions[each.run]} versions of {each.run}"
        for each in told
        if each.version and versions.get(each.run, 1) > each.version_sent
    ]


def _version_missing(reads: Reads, told: Told) -> list[str]:
    versions = reads(
        "select run_id from model_version where model = :model and version = :version",
        model=told.model,
        version=told.version,
    )
    alias = reads("select version from model_alias where model = :model and alias = 'champion'", model=told.model)
    problems = [] if list(map(tuple, versions)) == [(told.run,)] else [f"{told.model} {told.version}: {versions}"]
    # The writer goes on: the alias may have moved to a later version since, never back.
    return problems + ([] if alias and alias[0][0] >= told.version else [f"{told.model} champion: {alias}"])


def _digest_of(desk: Desk, file: str) -> str:
    status, text = desk.get(f"{FILES}/{urllib.parse.quote(file)}", port=desk.control_port)
    return hashlib.sha256(text.encode()).hexdigest() if status == 200 else ""


def is_sound(reads: Reads) -> bool:
    """Whether every run's latest metric is one of its points, and none came later."""
    stale = reads(
        "select m.run_no from run_metric m where not exists"
        " (select 1 from metric_point p where p.run_no = m.run_no and p.key = m.key and p.step = m.step"
        " and p.value = m.value) or exists"
        " (select 1 from metric_point p where p.run_no = m.run_no and p.key = m.key and p.step > m.step)"
    )
    return not stale


def _back_after(writers: Writers, killed_at: float) -> float:
    """Seconds from the kill to the end of the first answer to a request begun after it."""
    deadline = killed_at + BACK_TIMEOUT_S
    while time.monotonic() < deadline:
        after = [ended for begun, ended in writers.answered[-2000:] if begun > killed_at]
        if after:
            return min(after) - killed_at
        time.sleep(0.02)
    raise AssertionError(f"control did not answer again within {BACK_TIMEOUT_S:g} s; writers: {writers.refused[:3]}")
