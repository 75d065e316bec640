"""A workspace with a past: real ships, a real serving process, requests in the log at the times the story says."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlspine.advisor.facts import Link
from mlspine.advisor.service import Advised
from mlspine.cli.main import cli
from mlspine.core.columns import to_columns
from mlspine.core.config import load_config
from mlspine.core.ids import uuid7
from mlspine.core.plan import Endpoint
from mlspine.core.types import Actor, ModelVersion
from mlspine.folder import create
from mlspine.handover.card import FIELDS
from mlspine.handover.drill import Drilled
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.registry.prepare import prepare
from mlspine.workspace import Workspace
from tests.desk import free_port

NOW_MS = 1_772_452_800_000  # 2026-03-02 12:00 UTC
MINUTE_MS, DAY_MS = 60_000, 86_400_000
START_TIMEOUT_S = 30.0
MARIA = Actor(name="maria")
CANCER = load_breast_cancer(as_frame=True)
EIGHT = tuple(CANCER.data.columns[:8])


class World:
    """One workspace, and the clock it lives by."""

    def __init__(self, folder: Path, *, settings: str = "") -> None:
        self.folder = folder
        self.now_ms = NOW_MS
        if settings:
            (folder / "mlspine.toml").write_text(settings)
        path = folder / ".mlspine"
        create(path)
        self._lock = (path / "run" / "control.lock").open("ab")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # this test is control: none with another clock is started
        self.ports = {"serving.port": str(free_port()), "control.port": str(free_port())}
        self.workspace = Workspace(path, load_config(path, overrides=self.ports), clock=lambda: self.now_ms)
        self.models: dict[str, tuple[Any, pd.DataFrame]] = {}
        self._truth: list[int] = []
        self._writer = SpoolWriter(path / "run" / "spool", "replay")

    def ship(self, name: str, columns: tuple[str, ...] = EIGHT, *, C: float = 1.0, **said: Any) -> ModelVersion:
        """Fit a logistic regression on columns of the breast-cancer data and ship it at the story's time."""
        X, y = CANCER.data[list(columns)], CANCER.target
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(X, y)
        self.models[name] = (model, X)
        prepared = prepare(model, X, y, name=name, releases_dir=self.workspace.path / "releases", **said)
        return self.workspace.registry.register(prepared, actor=MARIA)

    def serve(self, name: str) -> Endpoint:
        self.workspace.deployment.serve(name, actor=MARIA)
        return self.workspace.deployment.get(name)

    def answer(self, name: str, *, at_ms: int, minutes: int, per_minute: int) -> list[str]:
        """Requests of one row each, drawn from the rows it was fitted on; returns their ids."""
        model, X = self.models[name]
        live = self.workspace.deployment.get(name).current
        ids: list[str] = []
        self._truth = []
        for minute in range(minutes):
            start_ms = at_ms + minute * MINUTE_MS
            rows = X.sample(per_minute, replace=True, random_state=minute)
            self._truth += CANCER.target[rows.index].tolist()
            scores = model.predict_proba(rows)[:, 1]
            received = [start_ms + n * MINUTE_MS // per_minute for n in range(per_minute)]
            batch_ids = [uuid7(each) for each in received]
            batch = Batch(
                endpoint=name,
                release_hash=live.release_hash,
                version=live.version,
                revision=live.number,
                request_ids=batch_ids,
                row_counts=[1] * per_minute,
                received_at_ms=received,
                latency_s=[0.002] * per_minute,
                inputs=encode_columns(to_columns(rows.reset_index(drop=True))[0]),
                prediction=encode_column("prediction", (scores > 0.5).astype(np.int64)),
                score=scores.astype("<f8").tobytes(),
                event_at_ms=received,
            )
            self._writer.append([batch])
            ids += batch_ids
        self.workspace.predictions.ingest()
        return ids

    def label(self, name: str, ids: list[str]) -> None:
        """What turned out to be true of the requests sent last, as told now."""
        labels: list[dict[str, Any]] = [
            {"id": f"{each}:0", "label": true, "label_time": self.now_ms}
            for each, true in zip(ids, self._truth, strict=True)
        ]
        self.workspace.predictions.add_labels(name, rows=labels, actor=MARIA)

    def drilled(self, name: str) -> None:
        """The runbooks of an endpoint were followed, and its card filled in."""
        self.workspace.handover.fill_card(name, dict.fromkeys(FIELDS, "auc >= 0.7"), actor=MARIA)
        for task in ("deploy", "rollback"):
            done = Drilled(endpoint=name, task=task, passed=True, why="", lines=(), duration_s=3.0)
            self.workspace.handover.record_drill(done, actor=MARIA)

    def post(self, name: str) -> None:
        """One real request to the serving process."""
        _, X = self.models[name]
        body = json.dumps({"rows": X.head(1).to_dict("records")}).encode()
        headers = {"Content-Type": "application/json"}
        address = f"{self._url}/endpoints/{name}/predict"
        self._wait_until_listening()
        with urllib.request.urlopen(urllib.request.Request(address, data=body, headers=headers), timeout=30) as answer:
            answer.read()

    def _wait_until_listening(self) -> None:
        """A process that has only just been started acknowledges its plan before it listens."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", int(self.ports["serving.port"]))):
                assert time.monotonic() < deadline, "the serving process does not listen"
                time.sleep(0.02)

    def scrape(self) -> None:
        """Read the metrics as a Prometheus does."""
        request = urllib.request.Request(f"{self._url}/metrics", headers={"User-Agent": "Prometheus/3.1.0"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.ports['serving.port']}"

    def advise(self) -> Advised:
        return self.workspace.advisor.advise()

    def close(self) -> None:
        self.workspace.processes.remove()
        self._writer.close()
        self.workspace.close()
        self._lock.close()


def whats(advised: Advised, kind: str) -> list[str]:
    """What is advised of one kind, in order."""
    return [each.what for each in advised.advice if each.kind == kind]


def why(advised: Advised, what: str) -> str:
    return next(each.why for each in advised.advice if each.what == what)


def unresolved(advised: Advised, *, apart: bool = False) -> list[str]:
    """Every link of every advice that does not resolve: commands are run, files looked for, addresses asked.

    apart: run our own commands in processes of their own too; here they leave their workspace open.
    """
    links = {link.at: link for each in advised.advice for link in each.evidence}
    assert all(each.evidence for each in advised.advice), [a.what for a in advised.advice if not a.evidence]
    return [f"{at}: {problem}" for at, link in links.items() if (problem := _problem(link, apart))]


def _problem(link: Link, apart: bool) -> str:
    if link.kind == "file":
        return "" if Path(link.at).is_file() else "no such file"
    if link.kind == "url":
        with urllib.request.urlopen(link.at, timeout=10) as answer:
            return "" if answer.status == 200 and b'"success"' in answer.read() else f"answered {answer.status}"
    words = shlex.split(link.at)
    if words[0] == "mlspine" and apart:
        words = [sys.executable, "-m", *words]
    if words[0] == "mlspine":
        ran = CliRunner().invoke(cli, words[1:])
        return "" if ran.exit_code == 0 and ran.output.strip() else f"exit {ran.exit_code}: {ran.output}{ran.exception}"
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 and done.stdout.strip() else done.stderr


def commit(folder: Path, author: str, days_ago: float, **files: str) -> None:
    """One commit by an author at a time of the story. files: path, with __ for /, to content."""
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    when = f"@{int((NOW_MS - days_ago * DAY_MS) / 1000)} +0000"
    variables = {**os.environ, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "GIT_CONFIG_GLOBAL": os.devnull}
    who = ["-c", f"user.name={author}", "-c", f"user.email={author}@example.org"]
    for words in (["add", "-A"], [*who, "commit", "-q", "--allow-empty", "-m", f"work of {author}"]):
        subprocess.run(["git", *words], cwd=folder, env=variables, check=True, capture_output=True)
