"""SQL of logged models, their parameters, tags and points."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from mlspine.ports import Database, Param, Row, Transaction
from mlspine.tracking.logged_model import ModelPoint
from mlspine.tracking.points import stored_value, to_point
from mlspine.tracking.store import AT_ONCE, NOT_GOING

# The latest of a key and dataset; see tracking/points.py.
_NEWER = (
    "(excluded.step, excluded.timestamp_ms, 1 - excluded.is_nan, excluded.value)"
    " > (logged_model_metric.step, logged_model_metric.timestamp_ms, 1 - logged_model_metric.is_nan,"
    " logged_model_metric.value)"
)
_COLUMNS = "model_id, key, dataset_name, dataset_digest, step, timestamp_ms, is_nan, value, run_id"
_VALUES = ":model, :key, :dataset, :digest, :step, :at, :nan, :value, :run"


def add(tx: Transaction, row: Mapping[str, Param]) -> None:
    tx.execute(
        "insert into logged_model (id, experiment_id, name, status, status_message, model_type, source_run_id,"
        " artifact_uri, created_at_ms, updated_at_ms, deleted_at_ms) values (:id, :experiment_id, :name, :status,"
        " :status_message, :model_type, :source_run_id, :artifact_uri, :created_at_ms, :updated_at_ms, null)",
        **row,
    )


def find(db: Database, model_id: str) -> Row | None:
    """A model, None for one that is being removed for good."""
    rows = db.read(f"select * from logged_model where id = :id and {NOT_GOING}", id=model_id)
    return rows[0] if rows else None


def made_by(db: Database, run_id: str) -> list[Row]:
    return db.read(
        "select * from logged_model where source_run_id = :run and deleted_at_ms is null order by created_at_ms, id",
        run=run_id,
    )


def set_status(tx: Transaction, model_id: str, status: str, at_ms: int) -> None:
    tx.execute(
        "update logged_model set status = :status, updated_at_ms = :at where id = :id",
        id=model_id,
        status=status,
        at=at_ms,
    )


def mark_deleted(tx: Transaction, model_id: str, at_ms: int) -> None:
    tx.execute("update logged_model set deleted_at_ms = :at, updated_at_ms = :at where id = :id", id=model_id, at=at_ms)


# ---------------------------------------------------------------- texts


def params_of(db: Database, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    return _texts_of(db, "logged_model_param", ids)


def tags_of(db: Database, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    return _texts_of(db, "logged_model_tag", ids)


def add_param(tx: Transaction, model_id: str, key: str, value: str) -> str:
    """Store a parameter unless it is there; returns the value that is there now."""
    added = tx.execute(
        "insert into logged_model_param (model_id, key, value) values (:id, :key, :value)"
        " on conflict (model_id, key) do nothing",
        id=model_id,
        key=key,
        value=value,
    )
    if added:
        return value
    rows = tx.read("select value from logged_model_param where model_id = :id and key = :key", id=model_id, key=key)
    return str(rows[0]["value"])


def find_tag(tx: Transaction, model_id: str, key: str) -> str | None:
    rows = tx.read("select value from logged_model_tag where model_id = :id and key = :key", id=model_id, key=key)
    return str(rows[0]["value"]) if rows else None


def set_tag(tx: Transaction, model_id: str, key: str, value: str) -> None:
    tx.execute(
        "insert into logged_model_tag (model_id, key, value) values (:id, :key, :value)"
        " on conflict (model_id, key) do update set value = excluded.value",
        id=model_id,
        key=key,
        value=value,
    )


def delete_tag(tx: Transaction, model_id: str, key: str) -> int:
    return tx.execute("delete from logged_model_tag where model_id = :id and key = :key", id=model_id, key=key)


# ---------------------------------------------------------------- points


def add_point(tx: Transaction, model_id: str, measured: ModelPoint) -> None:
    """Store a point, once, and as the latest of its key and dataset if it is that."""
    point = measured.point
    row: dict[str, Param] = {
        "model": model_id,
        "key": point.key,
        "dataset": measured.dataset_name,
        "digest": measured.dataset_digest,
        "step": point.step,
        "at": point.timestamp_ms,
        "nan": int(math.isnan(point.value)),
        "value": stored_value(point.value),
        "run": measured.run_id,
    }
    tx.execute(f"insert into logged_model_point ({_COLUMNS}) values ({_VALUES}) on conflict do nothing", **row)
    tx.execute(
        f"insert into logged_model_metric ({_COLUMNS}) values ({_VALUES})"
        " on conflict (model_id, key, dataset_name, dataset_digest) do update set step = excluded.step,"
        " timestamp_ms = excluded.timestamp_ms, is_nan = excluded.is_nan, value = excluded.value,"
        f" run_id = excluded.run_id where {_NEWER}",
        **row,
    )


def points_of(db: Database, model_id: str, *, limit: int) -> tuple[ModelPoint, ...]:
    """The points of one model by (key, time, step), at most `limit`."""
    rows = db.read(
        f"select {_COLUMNS} from logged_model_point where model_id = :id order by key, timestamp_ms, step,"
        " dataset_name, dataset_digest, is_nan, value, run_id limit :limit",
        id=model_id,
        limit=limit,
    )
    return tuple(map(_measured, rows))


def latest_of(db: Database, ids: Sequence[str]) -> dict[str, tuple[ModelPoint, ...]]:
    """The latest points of each key and dataset, by model."""
    found: dict[str, list[ModelPoint]] = defaultdict(list)
    for part in _in_parts(ids):
        names, params = _named(part)
        rows = db.read(
            f"select {_COLUMNS} from logged_model_metric where model_id in ({names})"
            " order by model_id, key, dataset_name, dataset_digest",
            **params,
        )
        for row in rows:
            found[row["model_id"]].append(_measured(row))
    return {model_id: tuple(measured) for model_id, measured in found.items()}


# ---------------------------------------------------------------- inside


def _texts_of(db: Database, table: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for part in _in_parts(ids):
        names, params = _named(part)
        for row in db.read(
            f"select model_id, key, value from {table} where model_id in ({names}) order by key", **params
        ):
            found[row["model_id"]][row["key"]] = row["value"]
    return found


def _named(ids: Sequence[str]) -> tuple[str, dict[str, Param]]:
    params: dict[str, Param] = {f"m{place}": model_id for place, model_id in enumerate(ids)}
    return ", ".join(f":{name}" for name in params), params


def _in_parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]


def _measured(row: Row) -> ModelPoint:
    return ModelPoint(
        point=to_point(row),
        run_id=row["run_id"],
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
    )
