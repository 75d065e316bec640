"""Experiments, registered models, their versions and logged models, searched on real databases."""

from __future__ import annotations

from typing import Any

import pytest

from mlspine.ports import Database
from mlspine.search import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    DatasetFilter,
    Dialect,
    build,
    fetch_page,
    sort_field,
)


def found(db: Database, dialect: Dialect, columns: str, text: str = "", *, size: int = 2, **asked: Any) -> list[Any]:
    """One value of each row found, page after page."""
    values: list[Any] = []
    token = ""
    while True:
        query = build(dialect, filter=text, max_results=size, page_token=token, **asked)
        rows, token = fetch_page(query, db.read, columns=f"{columns} as found")
        values += [row["found"] for row in rows]
        if not token:
            return values


def add(db: Database, table: str, **row: Any) -> None:
    with db.write() as tx:
        names = ", ".join(f":{name}" for name in row)
        tx.execute(f"insert into {table} ({', '.join(row)}) values ({names})", **row)


# ---------------------------------------------------------------- experiments


@pytest.fixture(scope="module")
def experiments(db: Database) -> Database:
    with db.write() as tx:
        tx.execute("delete from experiment where id = 0")
    for number, name, created, updated in ((1, "Alpha", 100, 900), (2, "beta", 300, 800), (3, "Gamma", 300, 700)):
        add(
            db,
            "experiment",
            id=number,
            name=name,
            artifact_location="",
            lifecycle_stage="active",
            created_at_ms=created,
            updated_at_ms=updated,
        )
    for number, value in ((1, "red"), (2, "blue")):
        add(db, "experiment_tag", experiment_id=number, key="team", value=value)
    return db


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [2, 3, 1]),
        ("name LIKE '%a'", [2, 3, 1]),
        ("name ILIKE 'B%'", [2]),
        ("tags.team != 'red'", [2]),
        ("tags.team IS NULL", [3]),
        ("creation_time >= 300 AND last_update_time < 800", [3]),
        ("experiment_id IN ('1', '3')", [3, 1]),
        ("experiment_id != '1'", [2, 3]),
    ],
)
def test_experiments_are_found(experiments: Database, text: str, ids: list[int]) -> None:
    assert found(experiments, EXPERIMENTS, "e.id", text) == ids


@pytest.mark.parametrize(
    ("order_by", "ids"), [("name", [1, 3, 2]), ("creation_time", [1, 3, 2]), ("experiment_id", [1, 2, 3])]
)
def test_experiments_are_sorted_and_the_later_comes_first_of_equals(
    experiments: Database, order_by: str, ids: list[int]
) -> None:
    assert found(experiments, EXPERIMENTS, "e.id", order_by=[order_by]) == ids


# ---------------------------------------------------------------- the registry


VERSION = {
    **dict.fromkeys(("release_hash", "owner", "tier", "message", "description", "origin", "flavor", "location"), ""),
    **dict.fromkeys(("run_link", "model_id", "metric", "missing", "captured", "bulk"), ""),
    **dict.fromkeys(("owner_assumed", "trusted", "bare"), 0),
    "stage": "None",
}


@pytest.fixture(scope="module")
def registry(db: Database) -> Database:
    for name, created, updated in (("ask", 4, 40), ("churn", 1, 30), ("Flights", 2, 30), ("plain", 3, 10)):
        add(db, "model", name=name, created_at_ms=created, updated_at_ms=updated)
    for name, key, value in (
        ("ask", "mlflow.prompt.is_prompt", "true"),
        ("plain", "mlflow.prompt.is_prompt", "false"),
        ("churn", "team", "red"),
    ):
        add(db, "model_tag", model=name, key=key, value=value)
    for name, version, run, source, created, updated in (
        ("ask", 1, "", "prompt", 1, 60),
        ("churn", 1, "r1", "models:/m-1", 1, 50),
        ("churn", 2, "", "s3://x/y", 2, 20),
        ("churn", 10, "r2", "models:/m-2", 3, 20),
        ("Flights", 1, "r2", "models:/m-3", 4, 20),
    ):
        add(
            db,
            "model_version",
            **VERSION,
            model=name,
            version=version,
            run_id=run,
            source=source,
            created_at_ms=created,
            updated_at_ms=updated,
        )
    for name, version, key, value in (("ask", 1, "mlflow.prompt.is_prompt", "true"), ("churn", 2, "team", "red")):
        add(db, "model_version_tag", model=name, version=version, key=key, value=value)
    return db


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["Flights", "churn", "plain"]),
        ("name = 'ask'", []),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", ["Flights", "churn", "plain"]),
        ("tags.`mlflow.prompt.is_prompt` = 'false'", ["Flights", "churn", "plain"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["ask"]),
        ("name LIKE 'c%' AND tag.`mlflow.prompt.is_prompt` != 'true'", ["churn"]),
        ("name ILIKE 'F%'", ["Flights"]),
        ("name IN ('churn', 'plain', 'ask')", ["churn", "plain"]),
        ("tags.team != 'blue'", ["churn"]),
        ("tags.team != 'red'", []),
    ],
)
def test_registered_models_are_found_and_prompts_only_when_asked_for(
    registry: Database,
    text: str,
    names: list[str],
) -> None:
    assert found(registry, REGISTERED_MODELS, "m.name", text) == names


@pytest.mark.parametrize(
    ("order_by", "names"),
    [
        ("name DESC", ["plain", "churn", "Flights"]),
        ("timestamp DESC", ["Flights", "churn", "plain"]),
        ("last_updated_timestamp", ["plain", "Flights", "churn"]),
        ("creation_timestamp DESC", ["plain", "Flights", "churn"]),
    ],
)
def test_registered_models_are_sorted(registry: Database, order_by: str, names: list[str]) -> None:
    assert found(registry, REGISTERED_MODELS, "m.name", order_by=[order_by]) == names


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("", ["churn 1", "Flights 1", "churn 10", "churn 2"]),
        ("name = 'churn'", ["churn 1", "churn 10", "churn 2"]),
        ("name IN ('ask', 'Flights')", ["Flights 1"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["ask 1"]),
        ("run_id = 'r2'", ["Flights 1", "churn 10"]),
        ("run_id != 'r2'", ["churn 1", "churn 2"]),  # a version without a run has an empty run id
        ("run_id IN ('r1', '')", ["churn 1", "churn 2"]),
        ("version_number = '2'", ["churn 2"]),
        ("source_path LIKE 'models:%' AND version_number >= 10", ["churn 10"]),
        ("creation_timestamp > 2", ["Flights 1", "churn 10"]),
        ("tags.team = 'red'", ["churn 2"]),
    ],
)
def test_model_versions_are_found_the_last_changed_first(
    registry: Database,
    text: str,
    versions: list[str],
) -> None:
    assert found(registry, MODEL_VERSIONS, "v.model || ' ' || v.version", text) == versions


def test_model_versions_are_sorted_by_number_not_by_digits(registry: Database) -> None:
    versions = found(registry, MODEL_VERSIONS, "v.version", "name = 'churn'", order_by=["version_number"], size=1)
    assert versions == [1, 2, 10]
    assert found(registry, MODEL_VERSIONS, "v.version", "name = 'churn'", order_by=["name"]) == [10, 2, 1]


# ---------------------------------------------------------------- logged models


@pytest.fixture(scope="module")
def logged(experiments: Database) -> Database:
    db = experiments
    models = [
        ("m-1", "tree", "READY", "sklearn", "r1", 10),
        ("m-2", "Tree", "PENDING", "", "r1", 20),
        ("m-3", "line", "READY", "xgboost", "", 20),
        ("m-4", "gone", "READY", "", "", 5),
    ]
    for model_id, name, status, model_type, run, at in models:
        add(
            db,
            "logged_model",
            id=model_id,
            experiment_id=1,
            name=name,
            status=status,
            status_message="",
            model_type=model_type,
            source_run_id=run,
            artifact_uri="",
            created_at_ms=at,
            updated_at_ms=at,
        )
    add(db, "logged_model_param", model_id="m-1", key="depth", value="3")
    add(db, "logged_model_tag", model_id="m-3", key="team", value="red")
    for model_id, nan, value, step, name, digest in (
        ("m-1", 0, 0.9, 1, "old", "d1"),
        ("m-1", 0, 0.5, 2, "new", "d1"),  # the later step counts
        ("m-2", 0, 0.7, 1, "old", "d2"),
        ("m-2", 1, 0.0, 1, "new", "d1"),  # NaN loses at the same step
        ("m-3", 1, 0.0, 1, "", ""),
    ):
        add(
            db,
            "logged_model_metric",
            model_id=model_id,
            key="auc",
            is_nan=nan,
            value=value,
            step=step,
            timestamp_ms=1,
            run_id="r",
            dataset_name=name,
            dataset_digest=digest,
        )
    return db


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ["m-2", "m-3", "m-1", "m-4"]),
        ("name = 'tree'", ["m-1"]),
        ("name ILIKE 'tree'", ["m-2", "m-1"]),
        ("status = 'READY' AND creation_time < 20", ["m-1", "m-4"]),
        ("model_id IN ('m-1', 'm-3')", ["m-3", "m-1"]),
        ("source_run_id = 'r1'", ["m-2", "m-1"]),
        ("source_run_id != 'r2'", ["m-2", "m-3", "m-1", "m-4"]),
        ("model_type != 'sklearn'", ["m-2", "m-3", "m-4"]),
        ("experiment_id = '1' AND name = 'tree'", ["m-1"]),
        ("experiment_id != '1'", []),
        ("params.depth = '3'", ["m-1"]),
        ("params.depth = 3", ["m-1"]),
        ("tags.team IS NULL AND params.depth IS NULL", ["m-2", "m-4"]),
        ("metrics.auc > 0.6", ["m-2"]),
        ("metrics.auc < 0.6", ["m-1"]),
        ("metrics.auc != 0.7", ["m-3", "m-1"]),
    ],
)
def test_logged_models_are_found(logged: Database, text: str, ids: list[str]) -> None:
    assert found(logged, LOGGED_MODELS, "l.id", text, within=[1]) == ids


@pytest.mark.parametrize(
    ("name", "ascending", "dataset", "ids"),
    [
        ("metrics.auc", True, ("", ""), ["m-1", "m-2", "m-3", "m-4"]),
        ("metrics.auc", False, ("", ""), ["m-2", "m-1", "m-3", "m-4"]),
        ("metrics.auc", False, ("old", ""), ["m-1", "m-2", "m-3", "m-4"]),
        ("metrics.auc", False, ("old", "d2"), ["m-2", "m-3", "m-1", "m-4"]),
        ("model_type", True, ("", ""), ["m-2", "m-4", "m-1", "m-3"]),
        ("model_type", False, ("", ""), ["m-3", "m-1", "m-2", "m-4"]),
        ("creation_timestamp", True, ("", ""), ["m-4", "m-1", "m-2", "m-3"]),
    ],
)
def test_logged_models_are_sorted_by_the_metric_on_a_dataset(
    logged: Database, name: str, ascending: bool, dataset: tuple[str, str], ids: list[str]
) -> None:
    item = sort_field(name, LOGGED_MODELS, ascending=ascending, dataset_name=dataset[0], dataset_digest=dataset[1])
    for size in (1, 3):
        assert found(logged, LOGGED_MODELS, "l.id", within=[1], order_by=[item], size=size) == ids


def test_datasets_asked_for_narrow_the_models_and_their_metrics(logged: Database) -> None:
    def on(*datasets: DatasetFilter, text: str = "", **asked: Any) -> list[str]:
        return found(logged, LOGGED_MODELS, "l.id", text, within=[1], datasets=datasets, **asked)

    old, older = DatasetFilter(name="old"), DatasetFilter(name="old", digest="d1")
    assert on(old) == ["m-2", "m-1"]
    assert on(older) == ["m-1"]
    assert on(old, text="metrics.auc > 0.8") == ["m-1"]
    assert on(DatasetFilter(name="new"), text="metrics.auc > 0.8") == []
    assert on(old, text="status = 'READY'") == ["m-1"]
    assert on(old, DatasetFilter(name="new"), order_by=["metrics.auc"]) == ["m-1", "m-2"]
