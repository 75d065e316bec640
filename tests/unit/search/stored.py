"""Runs in a store's own tables, put there without the room that keeps them: what a search is tried on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from mlspine.core.types import Struct
from mlspine.ports import Database
from mlspine.search import RUNS, build, fetch_page

_experiments, _runs, _datasets = count(1), count(1), count(1)


class Run(Struct, frozen=True, kw_only=True):
    """A run as the tests write it down; NaN is a metric like others, datasets are (name, digest, context)."""

    id: str
    name: str = ""
    status: str = "FINISHED"
    user_id: str = ""
    start_time: int | None = None
    end_time: int | None = None
    metrics: Mapping[str, float] = {}
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    datasets: Sequence[tuple[str, str, str | None]] = ()


def put(db: Database, runs: Sequence[Run]) -> int:
    """Store them in an experiment of their own; returns its id."""
    experiment = next(_experiments)
    with db.write() as tx:
        tx.execute(
            "insert into experiment (id, name, artifact_location, lifecycle_stage, created_at_ms, updated_at_ms)"
            " values (:id, :name, '', 'active', 0, 0)",
            id=experiment,
            name=f"experiment {experiment}",
        )
        for name, digest in {(name, digest) for run in runs for name, digest, _ in run.datasets}:
            tx.execute(
                "insert into run_dataset (no, experiment_id, name, digest, source_type, source, schema_text, profile)"
                " values (:no, :experiment, :name, :digest, '', '', '', '')",
                no=next(_datasets),
                experiment=experiment,
                name=name,
                digest=digest,
            )
        for run in runs:
            no = next(_runs)
            tx.execute(
                "insert into run (no, id, experiment_id, name, user_id, status, start_time_ms, end_time_ms,"
                " lifecycle_stage, artifact_uri) values (:no, :id, :experiment, :name, :user, :status, :start, :end,"
                " 'active', '')",
                no=no,
                id=f"{experiment}-{run.id}",
                experiment=experiment,
                name=run.name,
                user=run.user_id,
                status=run.status,
                start=run.start_time,
                end=run.end_time,
            )
            for sql, values in _parts(run, experiment):
                tx.execute(sql, run=no, **values)
    return experiment


def search(db: Database, experiment: int, text: str = "", *, size: int | None = None, **asked: Any) -> list[str]:
    """Ids of the runs found, page after page of that size."""
    found: list[str] = []
    token = ""
    while True:
        query = build(RUNS, filter=text, within=[experiment], max_results=size, page_token=token, **asked)
        rows, token = fetch_page(query, db.read, columns="r.id")
        assert len(rows) == query.page_rows if token else len(rows) <= query.page_rows
        found += [row["id"].partition("-")[2] for row in rows]
        if not token:
            return found


def _parts(run: Run, experiment: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in run.params.items():
        yield "insert into run_param (run_no, key, value) values (:run, :key, :value)", {"key": key, "value": value}
    for key, value in run.tags.items():
        yield "insert into run_tag (run_no, key, value) values (:run, :key, :value)", {"key": key, "value": value}
    for key, number in run.metrics.items():
        nan = math.isnan(number)
        yield (
            "insert into run_metric (run_no, key, experiment_id, is_nan, value, step, timestamp_ms, points)"
            " values (:run, :key, :experiment, :nan, :value, 0, 0, 1)",
            {"key": key, "experiment": experiment, "nan": int(nan), "value": 0.0 if nan else number},
        )
    for name, digest, context in run.datasets:
        yield (
            "insert into run_input (run_no, dataset_no, tags, context) select :run, no, '{}', :context"
            " from run_dataset where experiment_id = :experiment and name = :name and digest = :digest",
            {"experiment": experiment, "name": name, "digest": digest, "context": context},
        )
