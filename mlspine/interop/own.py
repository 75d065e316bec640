"""Our own store as a source: what an export takes elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from mlspine.artifacts import Artifacts
from mlspine.interop.naming import PROXIED
from mlspine.interop.source import File, NotBrought, RegisteredModel
from mlspine.ports import Database, Row
from mlspine.tracking import models_store
from mlspine.tracking import store as tracking
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.logged_model import LoggedModel
from mlspine.tracking.run import Point, Run
from mlspine.tracking.service import Tracking

AT_ONCE = 500
HISTORY_PAGE = 20_000
MODEL_POINTS = 1_000_000  # of one logged model; its runs keep all of theirs


class Models(Protocol):
    """The registered models of our store, as they are written down there."""

    def registered_models(self) -> Iterator[RegisteredModel]: ...


class OwnSource:
    """Everything in our store, deleted runs and experiments too."""

    def __init__(self, *, db: Database, artifacts: Artifacts, models: Models, name: str) -> None:
        self._db = db
        self._artifacts = artifacts
        self._models = models
        self._tracking = Tracking(db=db)
        self.name = name

    def experiments(self) -> Iterator[Experiment]:
        yield from tracking.experiments_of(self._db, self._db.read("select * from experiment order by id"))

    def count_runs(self, experiment_id: int) -> int:
        rows = self._db.read("select count(*) as runs from run where experiment_id = :id", id=experiment_id)
        return int(rows[0]["runs"])

    def runs(self, experiment_id: int) -> Iterator[Run]:
        after = 0
        while True:
            rows = self._db.read(
                "select * from run where experiment_id = :id and no > :after order by no limit :limit",
                id=experiment_id,
                after=after,
                limit=AT_ONCE,
            )
            if not rows:
                return
            yield from self._tracking.runs_of(rows)
            after = rows[-1]["no"]

    def whole(self, run: Run) -> Run:
        return run

    def points(self, run: Run) -> Iterator[Sequence[Point]]:
        for metric in run.metrics:
            after = None
            while True:
                page = self._tracking.history(run.id, metric.key, limit=HISTORY_PAGE, after=after)
                yield page.points
                after = page.after
                if after is None:
                    break

    def logged_models(self, experiment_id: int) -> Iterator[LoggedModel]:
        rows = self._db.read(
            "select * from logged_model where experiment_id = :id and deleted_at_ms is null order by created_at_ms, id",
            id=experiment_id,
        )
        for row in rows:
            yield self._logged_model(row)

    def registered_models(self) -> Iterator[RegisteredModel]:
        return self._models.registered_models()

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        root = self._root(owner)
        for each in self._artifacts.walk(root):
            yield File(path=each.path.removeprefix(f"{root}/"), size_bytes=each.size_bytes)

    def open(self, owner: Run | LoggedModel, path: str) -> AbstractContextManager[BinaryIO]:
        return self._artifacts.open(f"{self._root(owner)}/{path}")

    def missing(self) -> Sequence[str]:
        gone = self._db.read("select count(*) as models from logged_model where deleted_at_ms is not null")[0]["models"]
        return [f"{gone} deleted logged models: MLflow shows them to nobody"] if gone else []

    def close(self) -> None:
        """The store stays open: it is its owner's to close."""

    def _root(self, owner: Run | LoggedModel) -> str:
        if not owner.artifact_uri.startswith(PROXIED):
            raise NotBrought(f"{owner.artifact_uri}: it lies in another store, and stays there")
        return owner.artifact_uri.removeprefix(PROXIED).strip("/")

    def _logged_model(self, row: Row) -> LoggedModel:
        model_id = row["id"]
        return LoggedModel(
            id=row["id"],
            experiment_id=row["experiment_id"],
            name=row["name"],
            status=row["status"],
            status_message=row["status_message"],
            artifact_uri=row["artifact_uri"],
            created_at_ms=row["created_at_ms"],
            updated_at_ms=row["updated_at_ms"],
            model_type=row["model_type"],
            source_run_id=row["source_run_id"],
            params=models_store.params_of(self._db, [model_id]).get(model_id, {}),
            tags=models_store.tags_of(self._db, [model_id]).get(model_id, {}),
            metrics=models_store.points_of(self._db, model_id, limit=MODEL_POINTS),
        )
