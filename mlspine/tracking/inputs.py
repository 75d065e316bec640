"""SQL of what runs used and made: datasets, and logged models by their id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from mlspine.ports import Database, Row, Transaction
from mlspine.tracking.run import DatasetInput, ModelOutput
from mlspine.tracking.store import in_parts, named

_TAGS = msgspec.json.Decoder(dict[str, str])


def add_dataset(tx: Transaction, no: int, experiment_id: int, dataset: DatasetInput) -> None:
    """Link a run to a dataset, which an experiment holds once by (name, digest); a link that is there stays."""
    dataset_no = _known(tx, experiment_id, dataset) or _add(tx, experiment_id, dataset)
    tx.execute(
        "insert into run_input (run_no, dataset_no, tags, context) values (:no, :dataset, :tags, :context)"
        " on conflict (run_no, dataset_no) do nothing",
        no=no,
        dataset=dataset_no,
        tags=msgspec.json.encode(dataset.tags).decode(),
        context=dataset.tags.get("mlflow.data.context"),
    )


def add_model(tx: Transaction, no: int, direction: str, model_id: str, step: int) -> None:
    tx.execute(
        "insert into run_model (run_no, direction, model_id, step) values (:no, :direction, :model, :step)"
        " on conflict (run_no, direction, model_id) do nothing",
        no=no,
        direction=direction,
        model=model_id,
        step=step,
    )


def datasets_of(db: Database, nos: Sequence[int]) -> dict[int, tuple[DatasetInput, ...]]:
    found: dict[int, list[DatasetInput]] = defaultdict(list)
    for part in in_parts(nos):
        names, params = named(part)
        rows = db.read(
            "select i.run_no, i.tags, d.name, d.digest, d.source_type, d.source, d.schema_text, d.profile"
            f" from run_input i join run_dataset d on d.no = i.dataset_no where i.run_no in ({names})"
            " order by i.run_no, d.no",
            **params,
        )
        for row in rows:
            found[row["run_no"]].append(_dataset(row))
    return {no: tuple(each) for no, each in found.items()}


def models_of(db: Database, nos: Sequence[int]) -> dict[int, tuple[tuple[str, ...], tuple[ModelOutput, ...]]]:
    """Models used and models made, by run."""
    used: dict[int, list[str]] = defaultdict(list)
    made: dict[int, list[ModelOutput]] = defaultdict(list)
    for part in in_parts(nos):
        names, params = named(part)
        rows = db.read(
            f"select run_no, direction, model_id, step from run_model where run_no in ({names})"
            " order by run_no, step, model_id",
            **params,
        )
        for row in rows:
            if row["direction"] == "input":
                used[row["run_no"]].append(row["model_id"])
            else:
                made[row["run_no"]].append(ModelOutput(model_id=row["model_id"], step=row["step"]))
    return {no: (tuple(used[no]), tuple(made[no])) for no in {*used, *made}}


def datasets_in(db: Database, experiment_ids: Sequence[int], limit: int) -> list[Row]:
    """Datasets of some experiments with the context they were used in: what the page of a search offers."""
    found: list[Row] = []
    for part in in_parts(experiment_ids):
        names, params = named(part)
        found += db.read(
            "select distinct d.experiment_id, d.name, d.digest, i.context from run_dataset d"
            f" join run_input i on i.dataset_no = d.no where d.experiment_id in ({names})"
            " order by d.experiment_id, d.name, d.digest limit :limit",
            limit=limit,
            **params,
        )
    return found[:limit]


def _known(tx: Transaction, experiment_id: int, dataset: DatasetInput) -> int:
    rows = tx.read(
        "select no from run_dataset where experiment_id = :experiment and name = :name and digest = :digest",
        experiment=experiment_id,
        name=dataset.name,
        digest=dataset.digest,
    )
    return int(rows[0]["no"]) if rows else 0


def _add(tx: Transaction, experiment_id: int, dataset: DatasetInput) -> int:
    no = int(tx.read("select max(no) as no from run_dataset")[0]["no"] or 0) + 1
    tx.execute(
        "insert into run_dataset (no, experiment_id, name, digest, source_type, source, schema_text, profile)"
        " values (:no, :experiment, :name, :digest, :source_type, :source, :schema_text, :profile)",
        no=no,
        experiment=experiment_id,
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema_text=dataset.schema_text,
        profile=dataset.profile,
    )
    return no


def _dataset(row: Row) -> DatasetInput:
    return DatasetInput(
        name=row["name"],
        digest=row["digest"],
        source_type=row["source_type"],
        source=row["source"],
        schema_text=row["schema_text"],
        profile=row["profile"],
        tags=_TAGS.decode(row["tags"]),
    )
