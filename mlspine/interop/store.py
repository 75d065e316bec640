"""SQL of what was brought and taken, and of bringing in what the doors of tracking do not offer: given ids and times.

Points, inputs and tags go through the SQL of tracking itself, so that each has one home.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlspine.core.types import Struct
from mlspine.ports import Database, Param, Transaction
from mlspine.tracking import inputs, models_store, points
from mlspine.tracking import store as tracking
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.logged_model import LoggedModel
from mlspine.tracking.run import Point, Run

ASKED = "asked"  # the other store was asked to make it, and perhaps did
BEGUN = "begun"  # a part of it is here
OPEN = "open"  # all of it is here, and it was not finished there
DONE = "done"


class Brought(Struct, frozen=True, kw_only=True):
    """What became of one thing of another store."""

    our_id: str
    state: str


class Taken(Struct, frozen=True, kw_only=True):
    """What became of one thing of ours in another store."""

    foreign_id: str
    state: str


# ---------------------------------------------------------------- what was brought


def brought(db: Database, source: str, kind: str) -> dict[str, Brought]:
    """Everything of a kind that came from a source, by its id there."""
    rows = db.read(
        "select foreign_id, our_id, state from imported where source = :source and kind = :kind",
        source=source,
        kind=kind,
    )
    return {row["foreign_id"]: Brought(our_id=row["our_id"], state=row["state"]) for row in rows}


def note_brought(tx: Transaction, source: str, kind: str, foreign_id: str, our_id: str, state: str, at_ms: int) -> None:
    tx.execute(
        "insert into imported (source, kind, foreign_id, our_id, at_ms, state)"
        " values (:source, :kind, :foreign_id, :our_id, :at_ms, :state)"
        " on conflict (source, kind, foreign_id) do update set state = excluded.state, at_ms = excluded.at_ms",
        source=source,
        kind=kind,
        foreign_id=foreign_id,
        our_id=our_id,
        at_ms=at_ms,
        state=state,
    )


# ---------------------------------------------------------------- experiments


def name_taken(db: Database, name: str) -> bool:
    return bool(db.read("select id from experiment where name = :name", name=name))


def is_untouched(db: Database, experiment_id: int) -> bool:
    """Whether nothing was ever logged in an experiment."""
    used = "select no from run where experiment_id = :id limit 1"
    models = "select id from logged_model where experiment_id = :id limit 1"
    tags = "select key from experiment_tag where experiment_id = :id limit 1"
    return not any(db.read(sql, id=experiment_id) for sql in (used, models, tags))


def put_experiment(tx: Transaction, db: Database, experiment: Experiment) -> None:
    """Store an experiment as it was there, over the one of that number."""
    tx.execute("delete from experiment_tag where experiment_id = :id", id=experiment.id)
    changed = tx.execute(
        "update experiment set name = :name, artifact_location = :location, lifecycle_stage = :stage,"
        " created_at_ms = :created, updated_at_ms = :updated where id = :id",
        id=experiment.id,
        name=experiment.name,
        location=experiment.artifact_location,
        stage=experiment.lifecycle_stage,
        created=experiment.created_at_ms,
        updated=experiment.updated_at_ms,
    )
    if not changed:
        tracking.add_experiment(tx, experiment)
        return
    for key, value in experiment.tags.items():
        tracking.set_experiment_tag(tx, experiment.id, key, value)


# ---------------------------------------------------------------- runs


def run_exists(db: Database, run_id: str) -> bool:
    return tracking.find_run(db, run_id) is not None


def put_run(tx: Transaction, db: Database, run: Run, *, deleted_at_ms: int | None) -> int:
    """Store a run with its parameters, tags, datasets and models, or bring it up to date; returns its number."""
    known = tracking.find_run(db, run.id)
    columns: dict[str, Param] = {
        "experiment_id": run.experiment_id,
        "name": run.name,
        "user_id": run.user_id,
        "status": run.status,
        "start_time_ms": run.start_time_ms,
        "end_time_ms": run.end_time_ms,
        "lifecycle_stage": run.lifecycle_stage,
        "artifact_uri": run.artifact_uri,
    }
    no = int(known["no"]) if known else tracking.add_run(tx, {"id": run.id, **columns})
    tracking.change_run(tx, no, {**columns, "deleted_at_ms": deleted_at_ms})
    for key, value in run.params.items():
        tracking.add_param(tx, no, key, value)
    for key, value in run.tags.items():
        tracking.set_tag(tx, no, key, value)
    for dataset in run.datasets:
        inputs.add_dataset(tx, no, run.experiment_id, dataset)
    for model_id in run.model_inputs:
        inputs.add_model(tx, no, "input", model_id, 0)
    for output in run.model_outputs:
        inputs.add_model(tx, no, "output", output.model_id, output.step)
    return no


def add_points(tx: Transaction, no: int, experiment_id: int, page: Sequence[Point]) -> int:
    """Store points of a run, each once; returns how many were not there."""
    return points.add_points(tx, no, experiment_id, page)


def set_artifact_uri(tx: Transaction, no: int, uri: str) -> None:
    tracking.change_run(tx, no, {"artifact_uri": uri})


# ---------------------------------------------------------------- logged models


def logged_model_exists(db: Database, model_id: str) -> bool:
    return bool(db.read("select id from logged_model where id = :id", id=model_id))


def artifact_uri(db: Database, owner: str, *, is_model: bool) -> str:
    """Where the files of a run or logged model are, "" for one that is not here."""
    sql = f"select artifact_uri from {'logged_model' if is_model else 'run'} where id = :id"
    rows = db.read(sql, id=owner)
    return str(rows[0]["artifact_uri"]) if rows else ""


def put_logged_model(tx: Transaction, model: LoggedModel) -> None:
    """Store a logged model as it was there, or bring it up to date."""
    tx.execute(
        "insert into logged_model (id, experiment_id, name, status, status_message, model_type, source_run_id,"
        " artifact_uri, created_at_ms, updated_at_ms, deleted_at_ms) values (:id, :experiment, :name, :status,"
        " :message, :type, :run, :uri, :created, :updated, null)"
        " on conflict (id) do update set status = excluded.status, status_message = excluded.status_message,"
        " artifact_uri = excluded.artifact_uri, updated_at_ms = excluded.updated_at_ms",
        id=model.id,
        experiment=model.experiment_id,
        name=model.name,
        status=model.status,
        message=model.status_message,
        type=model.model_type,
        run=model.source_run_id,
        uri=model.artifact_uri,
        created=model.created_at_ms,
        updated=model.updated_at_ms,
    )
    for key, value in model.params.items():
        models_store.add_param(tx, model.id, key, value)
    for key, value in model.tags.items():
        models_store.set_tag(tx, model.id, key, value)
    for measured in model.metrics:
        models_store.add_point(tx, model.id, measured)


# ---------------------------------------------------------------- what was taken


def taken(db: Database, target: str, kind: str) -> dict[str, Taken]:
    """Everything of a kind that went to a target, by its id here."""
    rows = db.read(
        "select our_id, foreign_id, state from exported where target = :target and kind = :kind",
        target=target,
        kind=kind,
    )
    return {row["our_id"]: Taken(foreign_id=row["foreign_id"], state=row["state"]) for row in rows}


def note_taken(tx: Transaction, target: str, kind: str, our_id: str, foreign_id: str, state: str, at_ms: int) -> None:
    tx.execute(
        "insert into exported (target, kind, our_id, foreign_id, at_ms, state)"
        " values (:target, :kind, :our_id, :foreign_id, :at_ms, :state)"
        " on conflict (target, kind, our_id) do update set foreign_id = excluded.foreign_id, state = excluded.state,"
        " at_ms = excluded.at_ms",
        target=target,
        kind=kind,
        our_id=our_id,
        foreign_id=foreign_id,
        at_ms=at_ms,
        state=state,
    )
