from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlspine.interop.naming import derived_id
from mlspine.interop.sqlite import SqliteSource
from mlspine.tracking.service import Tracking
from tests.mlflow_stores import CHILD, GONE, MODEL, OPEN, POINTS, RUN, T0, everything, write_mlflow_store
from tests.unit.interop.conftest import NOW, Store, open_store

TABLES = (
    *("experiment", "experiment_tag", "run", "run_param", "run_tag", "run_metric", "metric_point", "run_dataset"),
    *("run_input", "run_model", "logged_model", "logged_model_param", "logged_model_tag", "logged_model_point"),
    *("model", "model_version", "model_alias", "model_tag", "model_version_tag", "artifact", "imported", "ledger"),
)


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_everything_of_a_store_is_here_afterwards(generation: int, mlflow_folder: Path, store: Store) -> None:
    source = SqliteSource(write_mlflow_store(mlflow_folder, generation=generation))
    store.bring(source)
    assert everything(store.source()) == everything(source)
    source.close()


def test_ids_times_and_numbers_are_those_of_the_source(mlflow_folder: Path, store: Store) -> None:
    store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    runs = {row["id"]: row for row in store.db.read("select * from run")}
    assert runs.keys() == {RUN, CHILD, OPEN, GONE}
    assert (runs[RUN]["start_time_ms"], runs[RUN]["end_time_ms"]) == (T0, T0 + 900)
    experiment = store.db.read("select * from experiment where name = 'churn'")[0]
    assert (experiment["id"], experiment["created_at_ms"], experiment["updated_at_ms"]) == (1, T0 + 1, T0 + 2)
    versions = store.db.read("select * from model_version where model = 'forest' order by version")
    assert [(row["version"], row["stage"], row["created_at_ms"]) for row in versions] == [
        *((1, "Production", T0 + 11), (3, "None", T0 + 15), (4, "Staging", T0 + 17))
    ]
    assert [row["model_id"] for row in versions] == ["", "", MODEL]
    assert versions[2]["location"] == f"mlflow-artifacts:/1/models/{MODEL}/artifacts"


def test_a_version_whose_files_came_along_is_a_bare_release(mlflow_folder: Path, store: Store) -> None:
    store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    rows = store.db.read("select version, release_hash, bare, flavor from model_version where model = 'forest'")
    made = {row["version"]: (bool(row["release_hash"]), row["bare"], row["flavor"]) for row in rows}
    assert made == {1: (True, 1, "python_function"), 3: (False, 1, ""), 4: (True, 1, "sklearn")}


def test_no_version_number_is_given_again(mlflow_folder: Path, store: Store) -> None:
    with sqlite3.connect(write_mlflow_store(mlflow_folder).removeprefix("sqlite:///")) as connection:
        connection.execute("update model_versions set current_stage = 'Deleted_Internal' where version = 4")
    store.bring(SqliteSource(f"sqlite:///{mlflow_folder}/mlflow.db"))
    assert store.db.read("select newest from model where name = 'forest'")[0]["newest"] == 4


def test_the_latest_point_of_a_metric_is_known(mlflow_folder: Path, store: Store) -> None:
    store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    latest = {point.key: point for point in Tracking(db=store.db).run(RUN).metrics}
    assert (latest["loss"].step, latest["loss"].value) == (POINTS - 1, 1 / POINTS)
    assert latest["odd"].value == 1.7976931348623157e308
    assert math.isnan(Tracking(db=store.db).run(CHILD).metrics[0].value)


def test_a_second_run_brings_nothing_twice(mlflow_folder: Path, store: Store) -> None:
    source = SqliteSource(write_mlflow_store(mlflow_folder))
    store.bring(source)
    before = {table: store.count(table) for table in TABLES}
    report = store.bring(source)
    assert {table: store.count(table) for table in TABLES} == before
    assert report.progress.here_already == 3  # all but the one that was still running


def test_a_run_that_went_on_is_brought_up_to_date(mlflow_folder: Path, store: Store) -> None:
    uri = write_mlflow_store(mlflow_folder)
    store.bring(SqliteSource(uri))
    with sqlite3.connect(mlflow_folder / "mlflow.db") as connection:
        connection.execute("update runs set status = 'FINISHED', end_time = 7 where run_uuid = ?", (OPEN,))
        connection.execute("insert into metrics values ('loss', 0.5, 1, ?, 0, 0)", (OPEN,))
        connection.execute("insert into latest_metrics values ('loss', 0.5, 1, 0, 0, ?)", (OPEN,))
    store.bring(SqliteSource(uri))
    run = Tracking(db=store.db).run(OPEN)
    assert (run.status, run.end_time_ms, run.metrics[0].value) == ("FINISHED", 7, 0.5)


def test_new_versions_of_a_model_are_brought_and_its_aliases_stay(mlflow_folder: Path, store: Store) -> None:
    uri = write_mlflow_store(mlflow_folder)
    store.bring(SqliteSource(uri))
    with sqlite3.connect(mlflow_folder / "mlflow.db") as connection:
        row = f"('forest', 5, {T0}, {T0}, null, null, 'None', 's3://b/m', '{RUN}', 'READY', null, null)"
        connection.execute(f"insert into model_versions values {row}")
        connection.execute("update registered_model_aliases set version = 5")
    report = store.bring(SqliteSource(uri))
    assert (report.progress.versions, report.progress.registered_models) == (1, 0)
    assert {row["version"] for row in store.db.read("select version from model_alias")} == {1, 3}


def test_what_is_here_already_is_left_alone_and_the_newcomer_renamed(mlflow_folder: Path, store: Store) -> None:
    tracking = Tracking(db=store.db)
    mine = tracking.create_experiment("churn")
    store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    assert tracking.experiment(mine.id).tags == {}
    assert tracking.experiment_named("churn (2)").tags == {"team": "risk"}


def test_an_id_that_is_taken_gets_another_and_everything_that_names_it_follows(
    mlflow_folder: Path, store: Store, tmp_path: Path
) -> None:
    uri = write_mlflow_store(mlflow_folder)
    store.bring(SqliteSource(uri))
    copy = tmp_path / "copy"
    copy.mkdir()
    source = SqliteSource(write_mlflow_store(copy))
    report = store.bring(source)
    new, tracking = derived_id(source.name, RUN), Tracking(db=store.db)
    child = tracking.run(derived_id(source.name, CHILD))
    assert child.tags["mlflow.parentRunId"] == new
    assert child.model_inputs == (derived_id(source.name, MODEL),)
    assert tracking.run(new).params == tracking.run(RUN).params
    version = store.db.read("select * from model_version where model = 'forest-2' and version = 1")[0]
    assert (version["run_id"], version["source"]) == (new, f"{tracking.run(new).artifact_uri}/model")
    bucket = store.db.read("select source from model_version where model = 'forest-2' and version = 3")[0]["source"]
    assert bucket == f"s3://bucket/1/{CHILD}/artifacts/model"
    tag = store.db.read("select value from logged_model_tag where model_id = :id", id=child.model_inputs[0])[0]["value"]
    assert json.loads(tag) == [{"name": "forest-2", "version": 4}]
    assert report.renamed


def test_files_in_a_bucket_stay_there_and_are_named(mlflow_folder: Path, store: Store) -> None:
    report = store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    assert Tracking(db=store.db).run(CHILD).artifact_uri == f"s3://bucket/1/{CHILD}/artifacts"
    assert any(f"s3://bucket/1/{CHILD}" in line for line in report.not_brought)


def test_what_was_decided_elsewhere_is_in_the_ledger(mlflow_folder: Path, store: Store) -> None:
    store.bring(SqliteSource(write_mlflow_store(mlflow_folder)))
    entries = {entry.subject: entry for entry in store.governance.entries()}
    assert entries["model:forest"].action == "import"
    assert entries["model:forest"].facts["stages"] == {"1": "Production", "4": "Staging"}
    assert entries["model:forest"].at_ms == NOW


KILLS_ITSELF = """
import os, signal, sys
from pathlib import Path
from mlspine.interop.sqlite import SqliteSource
from tests.unit.interop.conftest import open_store

class Mortal(SqliteSource):
    left = int(sys.argv[3])

    def step(self):
        Mortal.left -= 1
        if Mortal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def points(self, run):
        for page in super().points(run):
            for start in range(0, len(page), 50):
                yield page[start : start + 50]
                self.step()

    def open(self, owner, path):
        self.step()
        return super().open(owner, path)

    def registered_models(self):
        for model in super().registered_models():
            self.step()
            yield model

open_store(Path(sys.argv[1])).bring(Mortal(sys.argv[2]))
"""


def test_an_import_that_was_killed_goes_on(mlflow_folder: Path, tmp_path: Path) -> None:
    uri = write_mlflow_store(mlflow_folder)
    folder = tmp_path / "killed"
    folder.mkdir()
    for steps in (4, 8, 11):
        command = [sys.executable, "-c", KILLS_ITSELF, str(folder), uri, str(steps)]
        assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    killed = open_store(folder)
    assert 0 < killed.count("imported") < 14
    source = SqliteSource(uri)
    killed.bring(source)
    assert everything(killed.source()) == everything(source)
    whole = tmp_path / "whole"
    whole.mkdir()
    at_once = open_store(whole)
    at_once.bring(source)
    assert {table: killed.count(table) for table in TABLES} == {table: at_once.count(table) for table in TABLES}
    killed.db.close()
    at_once.db.close()
