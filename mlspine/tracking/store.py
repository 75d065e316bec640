"""SQL of experiments and runs, their parameters and tags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlspine.ports import Database, Param, Row, Transaction
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.run import PARENT_TAG

AT_ONCE = 500  # rows asked for by name in one statement
GOING = 0  # as the time of its deletion: a run or logged model is being removed for good, and found no more
NOT_GOING = f"(deleted_at_ms is null or deleted_at_ms <> {GOING})"


# ---------------------------------------------------------------- experiments


def add_experiment(tx: Transaction, experiment: Experiment) -> None:
    tx.execute(
        "insert into experiment (id, name, artifact_location, lifecycle_stage, created_at_ms, updated_at_ms)"
        " values (:id, :name, :location, :stage, :created, :updated)",
        id=experiment.id,
        name=experiment.name,
        location=experiment.artifact_location,
        stage=experiment.lifecycle_stage,
        created=experiment.created_at_ms,
        updated=experiment.updated_at_ms,
    )
    for key, value in experiment.tags.items():
        set_experiment_tag(tx, experiment.id, key, value)


def next_experiment_id(db: Database) -> int:
    return int(db.read("select max(id) as id from experiment")[0]["id"]) + 1


def find_experiment(db: Database, experiment_id: int) -> Experiment | None:
    rows = db.read("select * from experiment where id = :id", id=experiment_id)
    return _with_tags(db, rows)[0] if rows else None


def find_experiment_by_name(db: Database, name: str) -> Experiment | None:
    rows = db.read("select * from experiment where name = :name", name=name)
    return _with_tags(db, rows)[0] if rows else None


def experiments_of(db: Database, rows: list[Row]) -> list[Experiment]:
    """Rows of table experiment as experiments, in their order."""
    return _with_tags(db, rows)


def experiment_names(db: Database) -> list[str]:
    return [row["name"] for row in db.read("select name from experiment where lifecycle_stage = 'active'")]


def all_experiments(db: Database) -> list[Row]:
    return db.read("select * from experiment order by id")


def change_experiment(tx: Transaction, experiment_id: int, at_ms: int, **columns: str) -> None:
    changes = ", ".join(f"{column} = :{column}" for column in columns)
    tx.execute(
        f"update experiment set {changes}, updated_at_ms = :at where id = :id", id=experiment_id, at=at_ms, **columns
    )


def set_experiment_tag(tx: Transaction, experiment_id: int, key: str, value: str) -> None:
    tx.execute(
        "insert into experiment_tag (experiment_id, key, value) values (:id, :key, :value)"
        " on conflict (experiment_id, key) do update set value = excluded.value",
        id=experiment_id,
        key=key,
        value=value,
    )


def delete_experiment_tag(tx: Transaction, experiment_id: int, key: str) -> int:
    return tx.execute("delete from experiment_tag where experiment_id = :id and key = :key", id=experiment_id, key=key)


def mark_runs_of(tx: Transaction, experiment_id: int, stage: str, deleted_at_ms: int | None) -> None:
    tx.execute(
        f"update run set lifecycle_stage = :stage, deleted_at_ms = :at where experiment_id = :id and {NOT_GOING}",
        stage=stage,
        at=deleted_at_ms,
        id=experiment_id,
    )


# ---------------------------------------------------------------- runs


def add_run(tx: Transaction, row: Mapping[str, Param]) -> int:
    """Store a run under the next number, which is returned."""
    no = int(tx.read("select max(no) as no from run")[0]["no"] or 0) + 1
    tx.execute(
        "insert into run (no, id, experiment_id, name, user_id, status, start_time_ms, end_time_ms, lifecycle_stage,"
        " deleted_at_ms, artifact_uri) values (:no, :id, :experiment_id, :name, :user_id, :status, :start_time_ms,"
        " :end_time_ms, :lifecycle_stage, null, :artifact_uri)",
        no=no,
        **row,
    )
    return no


def find_run(db: Database, run_id: str) -> Row | None:
    """A run, None for one that is being removed for good."""
    rows = db.read(f"select * from run where id = :id and {NOT_GOING}", id=run_id)
    return rows[0] if rows else None


def runs_named(db: Database, name: str, *, limit: int) -> list[Row]:
    """Runs of that name, begun last first."""
    return db.read(
        f"select * from run where name = :name and {NOT_GOING} order by start_time_ms desc, id limit :limit",
        name=name,
        limit=limit,
    )


def runs_beginning(db: Database, digits: str, *, limit: int) -> list[Row]:
    """Runs whose id begins like this."""
    return db.read(
        f"select * from run where id >= :first and id < :end and {NOT_GOING} order by id limit :limit",
        first=digits,
        end=digits + "g",  # after every hexadecimal digit
        limit=limit,
    )


def children_of(db: Database, experiment_id: int, run_id: str) -> list[Row]:
    """Runs of an experiment that name a run as their parent, in the order in which they began."""
    return db.read(
        "select r.* from run r join run_tag t on t.run_no = r.no and t.key = :key where r.experiment_id = :experiment"
        " and t.value = :run and r.lifecycle_stage = 'active' order by r.start_time_ms, r.id",
        key=PARENT_TAG,
        experiment=experiment_id,
        run=run_id,
    )


def run_counts(db: Database) -> dict[int, int]:
    """Active runs by experiment."""
    rows = db.read(
        "select experiment_id, count(*) as runs from run where lifecycle_stage = 'active' group by experiment_id"
    )
    return {row["experiment_id"]: row["runs"] for row in rows}


def change_run(tx: Transaction, no: int, columns: Mapping[str, Param]) -> None:
    changes = ", ".join(f"{column} = :{column}" for column in columns)
    tx.execute(f"update run set {changes} where no = :no", no=no, **columns)


def params_of(db: Database, nos: Sequence[int]) -> dict[int, dict[str, str]]:
    return _texts_of(db, "run_param", nos)


def tags_of(db: Database, nos: Sequence[int]) -> dict[int, dict[str, str]]:
    return _texts_of(db, "run_tag", nos)


def set_tag(tx: Transaction, no: int, key: str, value: str) -> None:
    tx.execute(
        "insert into run_tag (run_no, key, value) values (:no, :key, :value)"
        " on conflict (run_no, key) do update set value = excluded.value",
        no=no,
        key=key,
        value=value,
    )


def delete_tag(tx: Transaction, no: int, key: str) -> int:
    return tx.execute("delete from run_tag where run_no = :no and key = :key", no=no, key=key)


def add_param(tx: Transaction, no: int, key: str, value: str) -> str:
    """Store a parameter unless it is there; returns the value that is there now."""
    added = tx.execute(
        "insert into run_param (run_no, key, value) values (:no, :key, :value) on conflict (run_no, key) do nothing",
        no=no,
        key=key,
        value=value,
    )
    if added:
        return value
    return str(tx.read("select value from run_param where run_no = :no and key = :key", no=no, key=key)[0]["value"])


def named(numbers: Sequence[int]) -> tuple[str, dict[str, Param]]:
    """A list of numbers as SQL parameters: the text for `in (...)`, and their values.

    >>> named([7, 9])
    (':n0, :n1', {'n0': 7, 'n1': 9})
    """
    params: dict[str, Param] = {f"n{place}": number for place, number in enumerate(numbers)}
    return ", ".join(f":{name}" for name in params), params


def in_parts(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]


def _texts_of(db: Database, table: str, nos: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for part in in_parts(nos):
        names, params = named(part)
        for row in db.read(f"select run_no, key, value from {table} where run_no in ({names}) order by key", **params):
            found[row["run_no"]][row["key"]] = row["value"]
    return found


def _with_tags(db: Database, rows: list[Row]) -> list[Experiment]:
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    for part in in_parts([row["id"] for row in rows]):
        names, params = named(part)
        found = db.read(
            f"select experiment_id, key, value from experiment_tag where experiment_id in ({names}) order by key",
            **params,
        )
        for tag in found:
            tags[tag["experiment_id"]][tag["key"]] = tag["value"]
    return [_experiment(row, tags[row["id"]]) for row in rows]


def _experiment(row: dict[str, Any], tags: dict[str, str]) -> Experiment:
    return Experiment(
        id=row["id"],
        name=row["name"],
        artifact_location=row["artifact_location"],
        lifecycle_stage=row["lifecycle_stage"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        tags=tags,
    )
