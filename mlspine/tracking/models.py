"""The second door of tracking: logged models."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.ids import now_ms
from mlspine.core.types import Struct
from mlspine.ports import Database, Param, Row, Transaction
from mlspine.search import LOGGED_MODELS, DatasetFilter, SortItem, build, fetch_page
from mlspine.tracking import limits, models_store
from mlspine.tracking.logged_model import (
    MODEL_STATUSES,
    VERSIONS_TAG,
    LoggedModel,
    ModelPoint,
    ModelStatus,
    with_versions,
)
from mlspine.tracking.names import run_name
from mlspine.tracking.run import Point
from mlspine.tracking.store import find_experiment

NAME_LENGTH = 500
MOST_POINTS = 25_000  # of one model in one answer
_NOT_IN_NAMES = "/:.%\"'"
_COLUMNS = (
    *("id", "experiment_id", "name", "status", "status_message", "model_type", "source_run_id", "artifact_uri"),
    *("created_at_ms", "updated_at_ms"),
)


class ModelPage(Struct, frozen=True, kw_only=True):
    """A page of a search; the token of the next one is "" on the last."""

    models: tuple[LoggedModel, ...]
    next_page_token: str = ""


class LoggedModels:
    """Logged models: made, filled, finished, measured, deleted. Nothing here reaches the ledger: to register one does.

    A deleted model is found no more, neither by its id nor by a search, but by whoever asks for deleted ones. What
    is logged on it is stored still: the run that makes or measures it goes on.
    """

    def __init__(self, *, db: Database, clock: Callable[[], int] = now_ms, dice: random.Random | None = None) -> None:
        self._db = db
        self._clock = clock
        self._dice = dice or random.Random()

    # ------------------------------------------------------------ one model

    def create(
        self,
        experiment_id: int,
        *,
        name: str = "",
        model_type: str = "",
        source_run_id: str = "",
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> LoggedModel:
        """A new model in status PENDING; without a name it is given one.

        Raises NotFound or Invalid for an absent or deleted experiment, Invalid for a name that cannot be, or a
        parameter that comes twice with different values.
        """
        _check_name(name)
        with self._db.write(synced=False) as tx:
            location = self._location(experiment_id)
            model_id, now = f"m-{uuid.uuid4().hex}", self._clock()
            row: dict[str, Param] = {
                "id": model_id,
                "experiment_id": experiment_id,
                "name": name or run_name(self._dice),
                "status": "PENDING",
                "status_message": "",
                "model_type": model_type,
                "source_run_id": source_run_id,
                "artifact_uri": f"{location.rstrip('/')}/models/{model_id}/artifacts",
                "created_at_ms": now,
                "updated_at_ms": now,
            }
            models_store.add(tx, row)
            _add_params(tx, model_id, params)
            _set_tags(tx, model_id, tags)
            return self.get(model_id)

    def get(self, model_id: str, *, deleted: bool = False) -> LoggedModel:
        """One model with its points, at most MOST_POINTS; NotFound otherwise. deleted: also when it was deleted."""
        row = self._row(model_id)
        if row["deleted_at_ms"] is not None and not deleted:
            raise _absent(model_id)
        return self._of([row], {model_id: models_store.points_of(self._db, model_id, limit=MOST_POINTS)})[0]

    def finalize(self, model_id: str, status: ModelStatus) -> LoggedModel:
        """Say that a model's files are there, or that they could not be brought."""
        if status not in MODEL_STATUSES:
            raise Invalid(f"model status {status!r} is unknown", hint=f"one of {', '.join(MODEL_STATUSES)}")
        with self._db.write(synced=False) as tx:
            self._row(model_id)
            models_store.set_status(tx, model_id, status, self._clock())
            return self.get(model_id, deleted=True)

    def delete(self, model_id: str) -> None:
        """Put a model aside: only who asks for deleted ones finds it, until `mlspine gc` takes it."""
        with self._db.write(synced=False) as tx:
            if self._row(model_id)["deleted_at_ms"] is None:
                models_store.mark_deleted(tx, model_id, self._clock())

    # ------------------------------------------------------------ what is logged

    def log_params(self, model_id: str, params: Sequence[tuple[str, str]]) -> None:
        """Add parameters; Invalid for one that has another value already."""
        with self._db.write(synced=False) as tx:
            self._row(model_id)
            _add_params(tx, model_id, params)

    def set_tags(self, model_id: str, tags: Sequence[tuple[str, str]]) -> None:
        """Set tags. To the list of registered versions (VERSIONS_TAG) is added: nobody's entry is lost."""
        with self._db.write(synced=False) as tx:
            self._row(model_id)
            _set_tags(tx, model_id, tags)

    def delete_tag(self, model_id: str, key: str) -> None:
        with self._db.write(synced=False) as tx:
            self._row(model_id)
            if not models_store.delete_tag(tx, model_id, key):
                raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.")

    def log_metrics(
        self, model_id: str, points: Sequence[Point], *, run_id: str, dataset: tuple[str, str] = ("", "")
    ) -> None:
        """Add points that a run measured on this model. dataset: name and digest of what it was measured on."""
        for point in points:
            limits.check_point(point)
        with self._db.write(synced=False) as tx:
            self._row(model_id)
            for point in points:
                measured = ModelPoint(point=point, run_id=run_id, dataset_name=dataset[0], dataset_digest=dataset[1])
                models_store.add_point(tx, model_id, measured)

    # ------------------------------------------------------------ many

    def of_run(self, run_id: str) -> tuple[LoggedModel, ...]:
        """The models a run made, first to last."""
        return tuple(self._listed(models_store.made_by(self._db, run_id)))

    def search(
        self,
        experiment_ids: Sequence[int],
        *,
        filter: str = "",  # noqa: A002  the protocol's own word
        datasets: Sequence[DatasetFilter] = (),
        order_by: Sequence[str | SortItem] = (),
        max_results: int | None = None,
        page_token: str = "",
    ) -> ModelPage:
        """Models of some experiments that fit; made last first unless an order is asked.

        datasets: only points on one of them count for metrics in the filter and the order.
        """
        query = build(
            LOGGED_MODELS,
            filter=filter,
            order_by=order_by,
            page_token=page_token,
            max_results=max_results,
            within=experiment_ids,
            datasets=datasets,
        )
        rows, token = fetch_page(query, self._db.read, columns="l.*", where=["l.deleted_at_ms is null"])
        return ModelPage(models=tuple(self._listed(rows)), next_page_token=token)

    # ------------------------------------------------------------ inside

    def _row(self, model_id: str) -> Row:
        row = models_store.find(self._db, model_id)
        if row is None:
            raise _absent(model_id)
        return row

    def _location(self, experiment_id: int) -> str:
        experiment = find_experiment(self._db, experiment_id)
        if experiment is None:
            raise NotFound(f"No Experiment with id={experiment_id} exists", hint="mlspine runs ls --experiments")
        if experiment.lifecycle_stage != "active":
            raise Invalid(
                f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted.",
                hint="restore it first",
            )
        return experiment.artifact_location

    def _listed(self, rows: Sequence[Row]) -> list[LoggedModel]:
        return self._of(rows, models_store.latest_of(self._db, [row["id"] for row in rows]))

    def _of(self, rows: Sequence[Row], metrics: dict[str, tuple[ModelPoint, ...]]) -> list[LoggedModel]:
        ids = [row["id"] for row in rows]
        params, tags = models_store.params_of(self._db, ids), models_store.tags_of(self._db, ids)
        return [
            LoggedModel(
                **{name: row[name] for name in _COLUMNS},
                params=params.get(row["id"], {}),
                tags=tags.get(row["id"], {}),
                metrics=metrics.get(row["id"], ()),
            )
            for row in rows
        ]


def _absent(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id}' not found.")


def _check_name(name: str) -> None:
    if set(name) & set(_NOT_IN_NAMES):
        raise Invalid(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain"
            f" the following characters: {tuple(_NOT_IN_NAMES)}",
            hint="take another name",
        )
    if len(name) > NAME_LENGTH:
        raise Invalid(f"a model name of {len(name)} characters", hint=f"at most {NAME_LENGTH} are taken")


def _add_params(tx: Transaction, model_id: str, params: Sequence[tuple[str, str]]) -> None:
    for key, value in params:
        limits.check_length(key, what="parameter")  # of any signs
        there = models_store.add_param(tx, model_id, key, value)
        if there != value:
            raise Invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with"
                f" value='{there}' for model ID='{model_id}'. Attempted logging new value '{value}'.",
                hint="log another model for other parameters",
            )


def _set_tags(tx: Transaction, model_id: str, tags: Sequence[tuple[str, str]]) -> None:
    for key, value in tags:
        limits.check_length(key, what="tag")
        before = models_store.find_tag(tx, model_id, key) if key == VERSIONS_TAG else None
        models_store.set_tag(tx, model_id, key, value if before is None else with_versions(before, value))
