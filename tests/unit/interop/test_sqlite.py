from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.interop.source import NotBrought
from mlspine.interop.sqlite import SqliteSource
from mlspine.tracking.run import Run
from tests.mlflow_stores import OPEN, RUN, write_mlflow_store


def run_of(source: SqliteSource, run_id: str) -> Run:
    return next(run for each in source.experiments() for run in source.runs(each.id) if run.id == run_id)


def test_the_file_is_only_read(mlflow_folder: Path) -> None:
    source = SqliteSource(write_mlflow_store(mlflow_folder))
    before = (mlflow_folder / "mlflow.db").read_bytes()
    list(source.points(run_of(source, RUN)))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        source._connection().execute("delete from runs")
    source.close()
    assert (mlflow_folder / "mlflow.db").read_bytes() == before


def test_only_the_default_workspace_is_read_and_others_are_named(mlflow_folder: Path) -> None:
    uri = write_mlflow_store(mlflow_folder)
    with sqlite3.connect(mlflow_folder / "mlflow.db") as connection:
        for table in ("experiments", "registered_models", "model_versions"):
            connection.execute(f"alter table {table} add column workspace text not null default 'default'")
        connection.execute("update experiments set workspace = 'other' where name = 'gone'")
    source = SqliteSource(uri)
    assert [each.name for each in source.experiments()] == ["Default", "churn"]
    assert any("'other'" in line for line in source.missing())


def test_files_are_found_by_path_by_uri_and_in_the_servers_folder(mlflow_folder: Path, tmp_path: Path) -> None:
    uri = write_mlflow_store(mlflow_folder)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x.txt").write_text("x")
    for location in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
        with sqlite3.connect(mlflow_folder / "mlflow.db") as connection:
            connection.execute("update runs set artifact_uri = ? where run_uuid = ?", (location, OPEN))
        source = SqliteSource(uri)
        assert [file.path for file in source.files(run_of(source, OPEN))] == ["x.txt"]
    assert {file.path for file in source.files(run_of(source, RUN))} == {"model/MLmodel", "e/mpty.txt"}


def test_a_server_folder_that_nobody_named_is_asked_for(mlflow_folder: Path) -> None:
    uri = write_mlflow_store(mlflow_folder)
    (mlflow_folder / "mlartifacts").rename(mlflow_folder / "elsewhere")
    source = SqliteSource(uri)
    with pytest.raises(NotBrought) as caught:
        list(source.files(run_of(source, RUN)))
    assert "--artifacts" in caught.value.hint
    named = SqliteSource(uri, artifacts=mlflow_folder / "elsewhere")
    assert len(list(named.files(run_of(named, RUN)))) == 2


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").execute("create table a (b text)").connection.close()
    with pytest.raises(Invalid, match="not the store"):
        SqliteSource(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(NotFound):
        SqliteSource(f"sqlite:///{tmp_path}/absent.db")
    assert not (tmp_path / "absent.db").exists()
