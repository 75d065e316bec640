"""SQL of removing for good: which deleted runs, logged models and experiments are due, and what they take along.

A run or model that is being removed is marked first (`GOING`), then it is found no more and cannot be restored;
its points go in pieces, its row last. Whoever was killed in between left marks, and the next one goes on there.
"""

from __future__ import annotations

from typing import Literal

from mlspine.ports import Database, Row, Transaction
from mlspine.tracking.store import GOING

Kind = Literal["run", "logged_model"]

# Nothing that a version stands on goes: its run, its logged model, the run that made that one, and whoever's files
# it names. Runs brought in as deleted may lack the time of it.
_RUN_IS_NEEDED = (
    "(exists (select 1 from model_version v where v.run_id = r.id)"
    " or exists (select 1 from model_version v join logged_model l on l.id = v.model_id where l.source_run_id = r.id)"
    " or exists (select 1 from model_version v where v.location >= r.artifact_uri || '/'"
    " and v.location < r.artifact_uri || '0'))"
)
_MODEL_IS_NEEDED = (
    "(exists (select 1 from model_version v where v.model_id = r.id)"
    " or exists (select 1 from model_version v where v.location = r.artifact_uri)"
    " or exists (select 1 from model_version v where v.location >= r.artifact_uri || '/'"
    " and v.location < r.artifact_uri || '0'))"
)
_EXPERIMENT_IS_DUE = (
    "exists (select 1 from experiment e where e.id = r.experiment_id and e.lifecycle_stage = 'deleted'"
    " and e.updated_at_ms <= :until)"
)
_IS_DUE = {
    "run": f"r.lifecycle_stage = 'deleted' and coalesce(r.deleted_at_ms, {GOING}) <= :until and not {_RUN_IS_NEEDED}",
    "logged_model": f"(r.deleted_at_ms <= :until or {_EXPERIMENT_IS_DUE}) and not {_MODEL_IS_NEEDED}",
}
# Table, the column that says whose, and the rest of its primary key.
_POINTS = {
    "run": ("metric_point", "run_no", ("key", "step", "timestamp_ms", "is_nan", "value")),
    "logged_model": (
        "logged_model_point",
        "model_id",
        ("key", "timestamp_ms", "step", "dataset_name", "dataset_digest", "is_nan", "value", "run_id"),
    ),
}
_OF_RUN = ("run_param", "run_tag", "run_metric", "run_input", "run_model")
_OF_MODEL = ("logged_model_param", "logged_model_tag", "logged_model_metric")


def due(db: Database | Transaction, kind: Kind, *, until_at_ms: int, limit: int) -> list[Row]:
    """Rows that may go for good, deleted longest first: id, number ("no", of runs), name, artifact_uri."""
    number = "r.no" if kind == "run" else "r.id as no"
    return db.read(
        f"select r.id, {number}, r.name, r.artifact_uri from {kind} r where {_IS_DUE[kind]}"
        " order by r.deleted_at_ms, r.id limit :limit",
        until=until_at_ms,
        limit=limit,
    )


def points(db: Database, kind: Kind, *, until_at_ms: int) -> int:
    """How many points those that are due have."""
    table, key, _ = _POINTS[kind]
    number = "r.no" if kind == "run" else "r.id"
    rows = db.read(
        f"select count(*) as many from {kind} r join {table} p on p.{key} = {number} where {_IS_DUE[kind]}",
        until=until_at_ms,
    )
    return int(rows[0]["many"])


def kept(db: Database, *, until_at_ms: int) -> int:
    """Deleted runs that stay because a version stands on them."""
    rows = db.read(
        "select count(*) as runs from run r where r.lifecycle_stage = 'deleted'"
        f" and coalesce(r.deleted_at_ms, {GOING}) <= :until and {_RUN_IS_NEEDED}",
        until=until_at_ms,
    )
    return int(rows[0]["runs"])


def mark(tx: Transaction, kind: Kind, row_id: str) -> None:
    """From now on it is found no more."""
    stage = ", lifecycle_stage = 'deleted'" if kind == "run" else ""
    tx.execute(f"update {kind} set deleted_at_ms = {GOING}{stage} where id = :id", id=row_id)


def delete_points(tx: Transaction, kind: Kind, number: int | str, *, limit: int) -> int:
    """Remove the first `limit` points by the order of the primary key; returns how many went.

    By place: 5,000 of 300,000 take 9 ms on SQLite, 130 ms when they are named one by one.
    """
    table, key, rest = _POINTS[kind]
    columns, places = ", ".join(rest), ", ".join(f":{column}" for column in rest)
    end = tx.read(
        f"select {columns} from {table} where {key} = :number order by {columns} limit 1 offset :limit",
        number=number,
        limit=limit,
    )
    before = f" and ({columns}) < ({places})" if end else ""
    return tx.execute(f"delete from {table} where {key} = :number{before}", number=number, **(end[0] if end else {}))


def delete_run(tx: Transaction, no: int, run_id: str) -> None:
    """Remove a run whose points are gone, and datasets that nobody else used."""
    datasets = [row["dataset_no"] for row in tx.read("select dataset_no from run_input where run_no = :no", no=no)]
    for table in _OF_RUN:
        tx.execute(f"delete from {table} where run_no = :no", no=no)
    for dataset in datasets:
        tx.execute(
            "delete from run_dataset where no = :no"
            " and not exists (select 1 from run_input i where i.dataset_no = :no)",
            no=dataset,
        )
    tx.execute("delete from run where no = :no", no=no)
    _forget_import(tx, "run", run_id)


def delete_model(tx: Transaction, model_id: str) -> None:
    """Remove a logged model whose points are gone, and what runs say of it."""
    for table in _OF_MODEL:
        tx.execute(f"delete from {table} where model_id = :id", id=model_id)
    tx.execute("delete from run_model where model_id = :id", id=model_id)
    tx.execute("delete from logged_model where id = :id", id=model_id)
    _forget_import(tx, "logged_model", model_id)


def empty_experiments(db: Database | Transaction, *, until_at_ms: int) -> list[Row]:
    """Deleted experiments in which nothing is left; never the one that is there from the start."""
    return db.read(
        "select e.* from experiment e where e.id > 0 and e.lifecycle_stage = 'deleted' and e.updated_at_ms <= :until"
        " and not exists (select 1 from run r where r.experiment_id = e.id)"
        " and not exists (select 1 from logged_model l where l.experiment_id = e.id) order by e.id",
        until=until_at_ms,
    )


def due_experiments(db: Database, *, until_at_ms: int) -> int:
    """Deleted experiments that will be empty once all that is due is gone."""
    rows = db.read(
        "select count(*) as many from experiment e where e.id > 0 and e.lifecycle_stage = 'deleted'"
        " and e.updated_at_ms <= :until and not exists (select 1 from run r where r.experiment_id = e.id"
        f" and not ({_IS_DUE['run']})) and not exists (select 1 from logged_model r where r.experiment_id = e.id"
        f" and not ({_IS_DUE['logged_model']}))",
        until=until_at_ms,
    )
    return int(rows[0]["many"])


def delete_experiment(tx: Transaction, experiment_id: int) -> None:
    tx.execute("delete from run_dataset where experiment_id = :id", id=experiment_id)
    tx.execute("delete from experiment_tag where experiment_id = :id", id=experiment_id)
    tx.execute("delete from experiment where id = :id", id=experiment_id)
    _forget_import(tx, "experiment", str(experiment_id))


def _forget_import(tx: Transaction, kind: str, our_id: str) -> None:
    """Numbers of experiments are given again: what was brought into this one must not go on in another."""
    tx.execute("delete from imported where kind = :kind and our_id = :id", kind=kind, id=our_id)
    tx.execute("delete from exported where kind = :kind and our_id = :id", kind=kind, id=our_id)
