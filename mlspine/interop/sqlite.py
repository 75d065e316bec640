"""The SQLite file of an MLflow server as the source, as MLflow 1.30 to 3 write it; opened for reading only."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import threading
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from mlspine.core.errors import Invalid, NotFound, Unavailable
from mlspine.interop.source import File, NotBrought, RegisteredModel, RegisteredVersion
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.logged_model import LoggedModel, ModelPoint, ModelStatus
from mlspine.tracking.run import DatasetInput, ModelOutput, Point, Run

PREFIX = "sqlite:///"
PROXIED = "mlflow-artifacts:"
DEFAULT_ARTIFACTS = "mlartifacts"  # where `mlflow server` puts files when nobody says otherwise
AT_ONCE = 500
POINTS_AT_ONCE = 20_000
WORKSPACE = "default"
_GONE = "Deleted_Internal"
_STATUS: dict[int, ModelStatus] = {0: "PENDING", 1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}


class SqliteSource:
    """What the file holds. artifacts: the folder that the server keeps what is below `mlflow-artifacts:/` in."""

    def __init__(self, url: str, *, artifacts: Path | None = None) -> None:
        self._path = _path(url)
        self.name = f"{PREFIX}{self._path}"
        beside = self._path.parent / DEFAULT_ARTIFACTS
        self._artifacts = artifacts or (beside if beside.is_dir() else None)
        self._here = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._columns = self._introspect()

    def experiments(self) -> Iterator[Experiment]:
        tags = self._texts("experiment_tags", "experiment_id")
        for row in self._read(f"select * from experiments {self._workspace('experiments')} order by experiment_id"):
            yield Experiment(
                id=row["experiment_id"],
                name=row["name"],
                artifact_location=row["artifact_location"] or "",
                lifecycle_stage=row["lifecycle_stage"] or "active",
                created_at_ms=row.get("creation_time") or 0,
                updated_at_ms=row.get("last_update_time") or 0,
                tags=tags[row["experiment_id"]],
            )

    def count_runs(self, experiment_id: int) -> int:
        rows = self._read("select count(*) as runs from runs where experiment_id = ?", experiment_id)
        return int(rows[0]["runs"])

    def runs(self, experiment_id: int) -> Iterator[Run]:
        after = 0
        while True:
            rows = self._read(
                "select rowid as place, * from runs where experiment_id = ? and rowid > ? order by rowid limit ?",
                *(experiment_id, after, AT_ONCE),
            )
            if not rows:
                return
            yield from self._runs(rows)
            after = rows[-1]["place"]

    def whole(self, run: Run) -> Run:
        return run

    def points(self, run: Run) -> Iterator[Sequence[Point]]:
        after = 0
        while True:
            rows = self._tuples(
                "select key, value, timestamp, step, is_nan, rowid from metrics"
                " where run_uuid = ? and rowid > ? order by rowid limit ?",
                *(run.id, after, POINTS_AT_ONCE),
            )
            if not rows:
                return
            yield [_point(*row[:5]) for row in rows]
            after = rows[-1][5]

    def logged_models(self, experiment_id: int) -> Iterator[LoggedModel]:
        if "logged_models" not in self._columns:
            return
        rows = self._read(
            "select * from logged_models where experiment_id = ? and lifecycle_stage = 'active'"
            " order by creation_timestamp_ms, model_id",
            experiment_id,
        )
        for row in rows:
            yield self._logged_model(row)

    def registered_models(self) -> Iterator[RegisteredModel]:
        tags, here = self._texts("registered_model_tags", "name"), self._workspace("registered_models")
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        if "registered_model_aliases" in self._columns:
            for row in self._read(
                f"select * from registered_model_aliases {self._workspace('registered_model_aliases')}"
            ):
                aliases[row["name"]][row["alias"]] = row["version"]
        for row in self._read(f"select * from registered_models {here} order by name"):
            versions = self._versions(row["name"])
            yield RegisteredModel(
                name=row["name"],
                created_at_ms=row["creation_time"] or 0,
                updated_at_ms=row["last_updated_time"] or 0,
                description=row["description"] or "",
                tags=tags[row["name"]],
                aliases=aliases[row["name"]],
                versions=tuple(_version(each, texts) for each, texts in versions if each["current_stage"] != _GONE),
                newest=max((each["version"] for each, _ in versions), default=0),
            )

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        root = self._folder(owner)
        for folder, _, names in os.walk(root):
            for name in sorted(names):
                file = Path(folder) / name
                yield File(path=file.relative_to(root).as_posix(), size_bytes=file.stat().st_size)

    def open(self, owner: Run | LoggedModel, path: str) -> AbstractContextManager[BinaryIO]:
        try:
            return (self._folder(owner) / path).open("rb")
        except OSError as exc:
            raise NotFound(f"{owner.artifact_uri}/{path} cannot be read: {exc.strerror}") from exc

    def missing(self) -> Sequence[str]:
        found = []
        if "workspace" in self._columns["experiments"]:
            others = self._read("select distinct workspace from experiments where workspace <> ?", WORKSPACE)
            found += [f"workspace {row['workspace']!r}: only the workspace {WORKSPACE!r} is read" for row in others]
        if "logged_models" in self._columns:
            gone = self._read("select count(*) as models from logged_models where lifecycle_stage <> 'active'")
            if gone[0]["models"]:
                found.append(f"{gone[0]['models']} deleted logged models: MLflow shows them to nobody")
        return found

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()

    # ------------------------------------------------------------ runs

    def _runs(self, rows: list[dict[str, Any]]) -> Iterator[Run]:
        ids = [row["run_uuid"] for row in rows]
        params, tags = (self._texts(table, "run_uuid", ids) for table in ("params", "tags"))
        latest: dict[str, list[Point]] = defaultdict(list)
        columns = "run_uuid, key, value, timestamp, step, is_nan"
        for run_id, *point in self._tuples(
            f"select {columns} from latest_metrics where run_uuid in ({_marks(ids)})", *ids
        ):
            latest[run_id].append(_point(*point))
        datasets, (used, made) = self._datasets(ids), self._models(ids)
        for row in rows:
            run_id = row["run_uuid"]
            yield Run(
                id=run_id,
                experiment_id=row["experiment_id"],
                name=row["name"] or tags[run_id].get("mlflow.runName", ""),
                user_id=row["user_id"] or "",
                status=row["status"] or "RUNNING",
                start_time_ms=row["start_time"],
                end_time_ms=row["end_time"],
                lifecycle_stage=row["lifecycle_stage"] or "active",
                artifact_uri=row["artifact_uri"] or "",
                metrics=tuple(latest[run_id]),
                params=params[run_id],
                tags=tags[run_id],
                datasets=tuple(datasets[run_id]),
                model_inputs=tuple(used[run_id]),
                model_outputs=tuple(made[run_id]),
            )

    def _datasets(self, ids: list[str]) -> dict[str, list[DatasetInput]]:
        found: dict[str, list[DatasetInput]] = defaultdict(list)
        if "datasets" not in self._columns:
            return found
        rows = self._read(
            "select i.destination_id, i.input_uuid, d.* from inputs i join datasets d on d.dataset_uuid = i.source_id"
            " where i.source_type = 'DATASET' and i.destination_type = 'RUN'"
            f" and i.destination_id in ({_marks(ids)}) order by i.rowid",
            *ids,
        )
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        inputs = [row["input_uuid"] for row in rows]
        for start in range(0, len(inputs), AT_ONCE):
            part = inputs[start : start + AT_ONCE]
            for row in self._read(f"select * from input_tags where input_uuid in ({_marks(part)})", *part):
                tags[row["input_uuid"]][row["name"]] = row["value"]
        for row in rows:
            dataset = DatasetInput(
                name=row["name"],
                digest=row["digest"],
                source_type=row["dataset_source_type"],
                source=row["dataset_source"],
                schema_text=row["dataset_schema"] or "",
                profile=row["dataset_profile"] or "",
                tags=tags[row["input_uuid"]],
            )
            found[row["destination_id"]].append(dataset)
        return found

    def _models(self, ids: list[str]) -> tuple[dict[str, list[str]], dict[str, list[ModelOutput]]]:
        used: dict[str, list[str]] = defaultdict(list)
        made: dict[str, list[ModelOutput]] = defaultdict(list)
        if "step" not in self._columns.get("inputs", ()):
            return used, made
        rows = self._read(
            f"select * from inputs where source_type in ('RUN_INPUT', 'RUN_OUTPUT') and source_id in ({_marks(ids)})"
            " order by rowid",
            *ids,
        )
        for row in rows:
            if row["source_type"] == "RUN_INPUT":
                used[row["source_id"]].append(row["destination_id"])
            else:
                made[row["source_id"]].append(ModelOutput(model_id=row["destination_id"], step=row["step"] or 0))
        return used, made

    # ------------------------------------------------------------ models

    def _logged_model(self, row: dict[str, Any]) -> LoggedModel:
        model_id = row["model_id"]
        metrics = self._read("select * from logged_model_metrics where model_id = ? order by rowid", model_id)
        params = self._read("select * from logged_model_params where model_id = ?", model_id)
        tags = self._read("select * from logged_model_tags where model_id = ?", model_id)
        return LoggedModel(
            id=model_id,
            experiment_id=row["experiment_id"],
            name=row["name"],
            status=_STATUS.get(row["status"], "PENDING"),
            status_message=row["status_message"] or "",
            artifact_uri=row["artifact_location"],
            created_at_ms=row["creation_timestamp_ms"],
            updated_at_ms=row["last_updated_timestamp_ms"],
            model_type=row["model_type"] or "",
            source_run_id=row["source_run_id"] or "",
            params={each["param_key"]: each["param_value"] for each in params},
            tags={each["tag_key"]: each["tag_value"] for each in tags},
            metrics=tuple(map(_model_point, metrics)),
        )

    def _versions(self, name: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """The rows of a model's versions with their tags, those deleted too."""
        tags: dict[int, dict[str, str]] = defaultdict(dict)
        here = self._workspace("model_version_tags", "and")
        for row in self._read(f"select * from model_version_tags where name = ? {here}", name):
            tags[row["version"]][row["key"]] = row["value"] or ""
        here = self._workspace("model_versions", "and")
        rows = self._read(f"select * from model_versions where name = ? {here} order by version", name)
        return [(row, tags[row["version"]]) for row in rows]

    # ------------------------------------------------------------ files

    def _folder(self, owner: Run | LoggedModel) -> Path:
        uri = owner.artifact_uri
        parts = urllib.parse.urlsplit(uri)
        if uri.startswith(PROXIED):
            if self._artifacts is None:
                raise NotBrought(
                    f"{uri}: the folder in which the server keeps it is not known",
                    hint="name it: --artifacts FOLDER (what `mlflow server --artifacts-destination` was given)",
                )
            return self._artifacts / parts.path.strip("/")
        if parts.scheme == "file":
            return Path(urllib.parse.unquote(parts.path))
        if not parts.scheme:
            return self._path.parent / uri
        raise NotBrought(f"{uri}: it lies in another store, and stays there; clients read it as before")

    # ------------------------------------------------------------ SQL

    def _workspace(self, table: str, word: str = "where") -> str:
        return f"{word} workspace = '{WORKSPACE}'" if "workspace" in self._columns[table] else ""

    def _texts(self, table: str, owner: str, ids: Sequence[str] | None = None) -> dict[Any, dict[str, str]]:
        """Keys and values by what they are about: of all, or of the ids named."""
        found: dict[Any, dict[str, str]] = defaultdict(dict)
        chosen = "" if ids is None else f"where {owner} in ({_marks(ids)})"
        if ids is None and "workspace" in self._columns[table]:
            chosen = self._workspace(table)
        for row in self._tuples(f"select {owner}, key, value from {table} {chosen}", *(ids or ())):
            found[row[0]][row[1]] = row[2] or ""
        return found

    def _read(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with self._mapped():
            cursor = self._connection().execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _tuples(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._mapped():
            return self._connection().execute(sql, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        held: sqlite3.Connection | None = getattr(self._here, "connection", None)
        if held is None:
            held = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30)
            self._here.connection = held
            self._open.append(held)
        return held

    def _introspect(self) -> dict[str, frozenset[str]]:
        tables = [row[0] for row in self._tuples("select name from sqlite_master where type = 'table'")]
        if not {"experiments", "runs", "metrics", "latest_metrics", "params", "tags"} <= set(tables):
            raise Invalid(f"{self._path} is not the store of an MLflow server", hint="for instance sqlite:///mlflow.db")
        columns = self._tuples("select m.name, c.name from sqlite_master m join pragma_table_info(m.name) c")
        found: dict[str, set[str]] = defaultdict(set)
        for table, column in columns:
            found[table].add(column)
        return {table: frozenset(names) for table, names in found.items()}

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise Unavailable(
                f"{self._path} cannot be read: {exc}", hint=f"see whether it is whole: sqlite3 {self._path} .schema"
            ) from exc


def _path(url: str) -> Path:
    path = Path(url.removeprefix(PREFIX)).expanduser().absolute()
    if not url.startswith(PREFIX) or not path.is_file():
        raise NotFound(
            f"no file {path}", hint="sqlite:///mlflow.db is a file here, sqlite:////srv/mlflow.db one by its path"
        )
    return path


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _point(key: str, value: float, timestamp_ms: int, step: int, is_nan: int) -> Point:
    return Point(key=key, value=math.nan if is_nan else value, timestamp_ms=timestamp_ms, step=step)


def _model_point(row: dict[str, Any]) -> ModelPoint:
    value = row["metric_value"]
    point = Point(
        key=row["metric_name"],
        value=math.nan if value is None else value,
        timestamp_ms=row["metric_timestamp_ms"],
        step=row["metric_step"],
    )
    return ModelPoint(
        run_id=row["run_id"],
        point=point,
        dataset_name=row["dataset_name"] or "",
        dataset_digest=row["dataset_digest"] or "",
    )


def _version(row: dict[str, Any], tags: dict[str, str]) -> RegisteredVersion:
    return RegisteredVersion(
        version=row["version"],
        created_at_ms=row["creation_time"] or 0,
        updated_at_ms=row["last_updated_time"] or 0,
        stage=row["current_stage"] or "None",
        description=row["description"] or "",
        source=row["source"] or "",
        run_id=row["run_id"] or "",
        run_link=row["run_link"] or "",
        user_id=row["user_id"] or "",
        status=row["status"] or "READY",
        status_message=row["status_message"] or "",
        tags=tags,
    )
