"""Stores filled by SQL: the same runs, in MLflow's schema and in ours.

Through the wire ten thousand runs would take minutes a server, and the reads are what is measured. The benchmark
compares what the servers find afterwards with what was written here, so a schema that moved on shows at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

EXPERIMENT = 1
METRICS, STEPS, PARAMS = 5, 20, 5
CHOICES = 20  # values a parameter takes
FLOOR = 0.5
BEGAN_MS = 1_700_000_000_000
LONG_RUN, LONG_KEY, LONG_POINTS = "f" * 32, "loss", 100_000
TOP = {"order_by": ["metrics.m0 DESC"], "where": ""}
PAGE = {"order_by": [], "where": f"params.p0 = '7' and metrics.m1 > {FLOOR}"}


class Contents(NamedTuple):
    """What the runs hold. values: latest value of each metric, shape (runs, METRICS); choices: (runs, PARAMS)."""

    values: np.ndarray
    choices: np.ndarray

    def run_id(self, number: int) -> str:
        return f"{number + 1:032x}"

    def top(self) -> list[str]:
        """The hundred runs that TOP finds, in order."""
        return [self.run_id(int(at)) for at in np.argsort(-self.values[:, 0])[:100]]

    def page(self) -> list[str]:
        """The first hundred that PAGE finds: the newest come first."""
        matching = np.flatnonzero((self.choices[:, 0] == 7) & (self.values[:, 1] > FLOOR))
        return [self.run_id(int(at)) for at in matching[::-1][:100]]


def contents(runs: int) -> Contents:
    rng = np.random.default_rng(0)
    return Contents(rng.random((runs, METRICS)), rng.integers(0, CHOICES, (runs, PARAMS)))


def fill_mlspine(workspace: Path, filled: Contents) -> None:
    """Our store, as the server left it after its first start."""
    with _open(workspace / "store.db") as db:
        db.execute(
            "insert into experiment values (?, 'filled', ?, 'active', ?, ?)",
            (EXPERIMENT, f"mlflow-artifacts:/{EXPERIMENT}", BEGAN_MS, BEGAN_MS),
        )
        first = 1 + int(db.execute("select coalesce(max(no), 0) from run").fetchone()[0])
        db.executemany(
            "insert into run (no, id, experiment_id, name, user_id, status, start_time_ms, end_time_ms,"
            " lifecycle_stage, deleted_at_ms, artifact_uri)"
            " values (?, ?, ?, ?, 'someone', 'FINISHED', ?, ?, 'active', null, ?)",
            (
                (first + at, run, EXPERIMENT, f"run-{at}", began_ms, began_ms + 1, _files(run))
                for at, run, began_ms in _runs(filled)
            ),
        )
        runs = len(filled.values)
        db.executemany(
            "insert into run_param (run_no, key, value) values (?, ?, ?)",
            ((first + at, key, value) for at, key, value in _params(filled)),
        )
        db.executemany(
            "insert into run_tag (run_no, key, value) values (?, ?, ?)",
            ((first + at, key, value) for at in range(runs + 1) for key, value in _tags(at)),
        )
        db.executemany(
            "insert into run_metric (run_no, key, experiment_id, is_nan, value, step, timestamp_ms, points)"
            " values (?, ?, ?, 0, ?, ?, ?, ?)",
            (
                (first + at, key, EXPERIMENT, value, step, time_ms, n)
                for at, key, value, step, time_ms, n in _latest(filled)
            ),
        )
        db.executemany(
            "insert into metric_point (run_no, key, step, timestamp_ms, is_nan, value) values (?, ?, ?, ?, 0, ?)",
            ((first + at, key, step, time_ms, value) for at, key, value, step, time_ms in _points(filled)),
        )


def fill_mlflow(folder: Path, filled: Contents) -> None:
    """MLflow's SQLite store, as its server left it after its first start."""
    with _open(folder / "mlflow.db") as db:
        db.execute(
            "insert into experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,"
            " last_update_time) values (?, 'filled', ?, 'active', ?, ?)",
            (EXPERIMENT, f"mlflow-artifacts:/{EXPERIMENT}", BEGAN_MS, BEGAN_MS),
        )
        db.executemany(
            "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " values (?, ?, 'UNKNOWN', '', '', 'someone', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            (
                (run, f"run-{at}", began_ms, began_ms + 1, _files(run), EXPERIMENT)
                for at, run, began_ms in _runs(filled)
            ),
        )
        runs = len(filled.values)
        ids = [run for _, run, _ in _runs(filled)]
        db.executemany(
            "insert into params (key, value, run_uuid) values (?, ?, ?)",
            ((key, value, ids[at]) for at, key, value in _params(filled)),
        )
        db.executemany(
            "insert into tags (key, value, run_uuid) values (?, ?, ?)",
            ((key, value, ids[at]) for at in range(runs + 1) for key, value in _tags(at)),
        )
        db.executemany(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, ?, ?, 0, ?)",
            ((key, value, time_ms, step, ids[at]) for at, key, value, step, time_ms, _ in _latest(filled)),
        )
        db.executemany(
            "insert into metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, ?, ?, 0, ?)",
            ((key, value, time_ms, step, ids[at]) for at, key, value, step, time_ms in _points(filled)),
        )


@contextlib.contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that need not survive a power cut, committed at the end."""
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("pragma synchronous = off")
        yield db
        db.commit()


def _files(run: str) -> str:
    return f"mlflow-artifacts:/{EXPERIMENT}/{run}/artifacts"


def _runs(filled: Contents) -> Iterator[tuple[int, str, int]]:
    """Number, id and start of each run; the last is the one with the long history, older than all others."""
    runs = len(filled.values)
    yield from ((at, filled.run_id(at), BEGAN_MS + at * 1_000) for at in range(runs))
    yield runs, LONG_RUN, BEGAN_MS - 1_000


def _params(filled: Contents) -> Iterator[tuple[int, str, str]]:
    for at, choices in enumerate(filled.choices.tolist()):
        yield from ((at, f"p{number}", str(choice)) for number, choice in enumerate(choices))


def _tags(at: int) -> tuple[tuple[str, str], ...]:
    return ("mlflow.runName", f"run-{at}"), ("mlflow.source.name", "train.py"), ("mlflow.user", "someone")


def _latest(filled: Contents) -> Iterator[tuple[int, str, float, int, int, int]]:
    """Run, key, value, step, time and number of points of each latest point."""
    for at, values in enumerate(filled.values.tolist()):
        for number, value in enumerate(values):
            yield at, f"m{number}", value, STEPS - 1, BEGAN_MS + STEPS - 1, STEPS
    last = LONG_POINTS - 1
    yield len(filled.values), LONG_KEY, _long_value(last), last, BEGAN_MS + last, LONG_POINTS


def _points(filled: Contents) -> Iterator[tuple[int, str, float, int, int]]:
    """Run, key, value, step and time of every point: each series ends in its latest value."""
    for at, values in enumerate(filled.values.tolist()):
        for number, value in enumerate(values):
            key = f"m{number}"
            for step in range(STEPS):
                yield at, key, value - (STEPS - 1 - step) / STEPS, step, BEGAN_MS + step
    for step in range(LONG_POINTS):
        yield len(filled.values), LONG_KEY, _long_value(step), step, BEGAN_MS + step


def _long_value(step: int) -> float:
    return 1.0 / (step + 1)
