"""The door of tracking: experiments, runs, and what is logged on them."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mlspine.core.errors import AlreadyExists, Invalid, NotFound, closest
from mlspine.core.ids import now_ms
from mlspine.core.public import public
from mlspine.core.types import Struct
from mlspine.ports import Database, Param, Row, Transaction
from mlspine.search import EXPERIMENTS, RUNS, build, fetch_page
from mlspine.tracking import inputs, limits, lineage, points, store
from mlspine.tracking.experiment import Experiment, View
from mlspine.tracking.names import run_name
from mlspine.tracking.run import (
    LOGGED_MODELS_TAG,
    NAME_TAG,
    STATUSES,
    DatasetInput,
    ModelOutput,
    Point,
    Run,
    RunPoint,
    Status,
)
from mlspine.tracking.sampling import StepMemory, sample

ARTIFACTS = "mlflow-artifacts:/"
HISTORY_PAGE = 25_000
SAMPLED_RUNS = 100
USES = 1_000
SAMPLED_POINTS = 2_500
MOST_SAMPLED = 25_000


class HistoryPage(Struct, frozen=True, kw_only=True):
    """Points by (time, step, value). `after`: where the next page begins, None on the last one."""

    points: tuple[Point, ...]
    after: tuple[int, int, int, float] | None = None


class ExperimentPage(Struct, frozen=True, kw_only=True):
    """A page of a search; the token of the next one is "" on the last."""

    experiments: tuple[Experiment, ...]
    next_page_token: str = ""


class RunPage(Struct, frozen=True, kw_only=True):
    """A page of a search; the token of the next one is "" on the last."""

    runs: tuple[Run, ...]
    next_page_token: str = ""


class Tracking:
    """Experiments and runs. Nothing here reaches the ledger: a run changes nothing that anybody is served.

    What is logged is stored when a method returns; it survives the death of the process at once, and a power cut
    within the moment (`write(synced=False)`).
    """

    def __init__(self, *, db: Database, clock: Callable[[], int] = now_ms, dice: random.Random | None = None) -> None:
        self._db = db
        self._clock = clock
        self._dice = dice or random.Random()
        self._steps = StepMemory()

    # ------------------------------------------------------------ experiments

    def create_experiment(
        self, name: str, *, artifact_location: str = "", tags: Mapping[str, str] | None = None
    ) -> Experiment:
        """A new experiment; AlreadyExists when the name is taken, also by a deleted one."""
        limits.check_experiment_name(name)
        limits.check_artifact_location(artifact_location)
        for key, value in (tags or {}).items():
            limits.check_experiment_tag(key, value)
        with self._db.write(synced=False) as tx:
            known = store.find_experiment_by_name(self._db, name)
            if known is not None:
                raise _taken(known)
            number, now = store.next_experiment_id(self._db), self._clock()
            experiment = Experiment(
                id=number,
                name=name,
                artifact_location=artifact_location or f"{ARTIFACTS}{number}",
                lifecycle_stage="active",
                created_at_ms=now,
                updated_at_ms=now,
                tags=dict(tags or {}),
            )
            store.add_experiment(tx, experiment)
        return experiment

    def experiment(self, experiment_id: int) -> Experiment:
        """One experiment, deleted ones too; NotFound otherwise."""
        found = store.find_experiment(self._db, experiment_id)
        if found is None:
            raise NotFound(f"No Experiment with id={experiment_id} exists", hint="mlspine runs ls --experiments")
        return found

    def experiment_named(self, name: str) -> Experiment:
        """One experiment by its name, deleted ones too; NotFound with the nearest name."""
        found = store.find_experiment_by_name(self._db, name)
        if found is None:
            near = closest(name, store.experiment_names(self._db))
            hint = f"did you mean {near!r}?" if near else "mlspine runs ls --experiments"
            raise NotFound(f"Could not find experiment with name '{name}'", hint=hint)
        return found

    def rename_experiment(self, experiment_id: int, name: str) -> None:
        limits.check_experiment_name(name)
        with self._db.write(synced=False) as tx:
            self._active_experiment(experiment_id)
            known = store.find_experiment_by_name(self._db, name)
            if known is not None and known.id != experiment_id:
                raise _taken(known)
            store.change_experiment(tx, experiment_id, self._clock(), name=name)

    def delete_experiment(self, experiment_id: int) -> None:
        """Put an experiment and its runs aside: `restore_experiment` brings them back."""
        with self._db.write(synced=False) as tx:
            if self.experiment(experiment_id).lifecycle_stage == "deleted":
                raise NotFound(f"No active Experiment with id={experiment_id} exists", hint="it is deleted already")
            now = self._clock()
            store.change_experiment(tx, experiment_id, now, lifecycle_stage="deleted")
            store.mark_runs_of(tx, experiment_id, "deleted", now)

    def restore_experiment(self, experiment_id: int) -> None:
        with self._db.write(synced=False) as tx:
            if self.experiment(experiment_id).lifecycle_stage == "active":
                raise NotFound(f"No deleted Experiment with id={experiment_id} exists", hint="it is active")
            store.change_experiment(tx, experiment_id, self._clock(), lifecycle_stage="active")
            store.mark_runs_of(tx, experiment_id, "active", None)

    def set_experiment_tag(self, experiment_id: int, key: str, value: str) -> None:
        limits.check_experiment_tag(key, value)
        with self._db.write(synced=False) as tx:
            self._active_experiment(experiment_id)
            store.set_experiment_tag(tx, experiment_id, key, value)

    def delete_experiment_tag(self, experiment_id: int, key: str) -> None:
        with self._db.write(synced=False) as tx:
            self._active_experiment(experiment_id)
            if not store.delete_experiment_tag(tx, experiment_id, key):
                raise NotFound(f"No tag with name: {key} in experiment with id {experiment_id}")

    # ------------------------------------------------------------ runs

    def create_run(
        self,
        experiment_id: int,
        *,
        name: str = "",
        user_id: str = "",
        start_time_ms: int | None = None,
        tags: Sequence[tuple[str, str]] = (),
    ) -> Run:
        """A new run in status RUNNING; without a name it is given one, which its name tag repeats."""
        said = dict(tags)
        if name and said.get(NAME_TAG, name) != name:
            raise Invalid(
                f"the run is named {name!r} and its tag {NAME_TAG} says {said[NAME_TAG]!r}", hint="send one of the two"
            )
        checked = limits.first_tags(tags)
        name = name or said.get(NAME_TAG, "") or run_name(self._dice)
        run_id = uuid.uuid4().hex
        with self._db.write(synced=False) as tx:
            experiment = self._active_experiment(experiment_id)
            row: dict[str, Param] = {
                "id": run_id,
                "experiment_id": experiment_id,
                "name": name,
                "user_id": user_id,
                "status": "RUNNING",
                "start_time_ms": start_time_ms,
                "end_time_ms": None,
                "lifecycle_stage": "active",
                "artifact_uri": f"{experiment.artifact_location.rstrip('/')}/{run_id}/artifacts",
            }
            no = store.add_run(tx, row)
            for key, value in {**checked, NAME_TAG: name}.items():
                store.set_tag(tx, no, key, value)
            return self.run(run_id)

    def run(self, run_id: str) -> Run:
        """One run with all that was logged, deleted ones too; NotFound otherwise."""
        return self.runs_of([self._row(run_id)])[0]

    def runs_of(self, rows: Sequence[Row]) -> list[Run]:
        """Rows of table run as runs, in their order."""
        nos = [row["no"] for row in rows]
        latest = points.latest_of(self._db, nos)
        params, tags = store.params_of(self._db, nos), store.tags_of(self._db, nos)
        datasets, models = inputs.datasets_of(self._db, nos), inputs.models_of(self._db, nos)
        return [
            Run(
                **{name: row[name] for name in _COLUMNS},
                metrics=latest.get(row["no"], ()),
                params=params.get(row["no"], {}),
                tags=tags.get(row["no"], {}),
                datasets=datasets.get(row["no"], ()),
                model_inputs=models.get(row["no"], ((), ()))[0],
                model_outputs=models.get(row["no"], ((), ()))[1],
            )
            for row in rows
        ]

    def update_run(
        self, run_id: str, *, status: Status | None = None, end_time_ms: int | None = None, name: str = ""
    ) -> Run:
        """Change what is said of a run; what is not given stays."""
        if status is not None and status not in STATUSES:
            raise Invalid(f"run status {status!r} is unknown", hint=f"one of {', '.join(STATUSES)}")
        changes: dict[str, Param] = {"status": status, "end_time_ms": end_time_ms, "name": name or None}
        changes = {column: value for column, value in changes.items() if value is not None}
        with self._db.write(synced=False) as tx:
            no = self._active(run_id)["no"]
            if changes:
                store.change_run(tx, no, changes)
            if name:
                store.set_tag(tx, no, NAME_TAG, name)
            return self.run(run_id)

    def delete_run(self, run_id: str) -> None:
        """Put a run aside; `restore_run` brings it back until `mlspine gc` takes it."""
        with self._db.write(synced=False) as tx:
            row = self._row(run_id)
            store.change_run(tx, row["no"], {"lifecycle_stage": "deleted", "deleted_at_ms": self._clock()})

    def restore_run(self, run_id: str) -> None:
        with self._db.write(synced=False) as tx:
            store.change_run(tx, self._row(run_id)["no"], {"lifecycle_stage": "active", "deleted_at_ms": None})

    # ------------------------------------------------------------ searching

    def search_experiments(
        self,
        *,
        filter: str = "",  # noqa: A002  the protocol's own word
        order_by: Sequence[str] = (),
        view: View = "ACTIVE_ONLY",
        max_results: int | None = None,
        page_token: str = "",
    ) -> ExperimentPage:
        """Experiments that fit, in MLflow's filter grammar; newest first unless an order is asked."""
        query = build(EXPERIMENTS, filter=filter, order_by=order_by, page_token=page_token, max_results=max_results)
        rows, token = fetch_page(query, self._db.read, columns="e.*", where=seen("e", view))
        return ExperimentPage(experiments=tuple(store.experiments_of(self._db, rows)), next_page_token=token)

    def search_runs(
        self,
        experiment_ids: Sequence[int],
        *,
        filter: str = "",  # noqa: A002
        order_by: Sequence[str] = (),
        view: View = "ACTIVE_ONLY",
        max_results: int | None = None,
        page_token: str = "",
    ) -> RunPage:
        """Runs of some experiments that fit; those begun last first unless an order is asked.

        Pages follow each other by the place of their last run: runs that are added meanwhile shift nothing.
        """
        query = build(
            RUNS,
            filter=filter,
            order_by=order_by,
            page_token=page_token,
            max_results=max_results,
            within=experiment_ids,
        )
        rows, token = fetch_page(query, self._db.read, columns="r.*", where=seen("r", view))
        return RunPage(runs=tuple(self.runs_of(rows)), next_page_token=token)

    # ------------------------------------------------------------ logging

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Point] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Log points, parameters and tags, all or nothing. Sent twice it is stored once.

        Raises Invalid for a parameter that has another value already, a deleted run, bad names; NotFound.
        """
        limits.check_amounts(len(metrics), len(params), len(tags))
        for point in metrics:
            limits.check_point(point)
        checked_params, checked_tags = limits.checked_params(params), limits.checked_tags(tags)
        with self._db.write(synced=False) as tx:
            row = self._active(run_id)
            for key, value in checked_params.items():
                _refuse_change(run_id, key, store.add_param(tx, row["no"], key, value), value)
            for key, value in checked_tags.items():
                _set_tag(tx, row["no"], key, value)
            if metrics:
                points.add_points(tx, row["no"], row["experiment_id"], metrics)

    def delete_tag(self, run_id: str, key: str) -> None:
        with self._db.write(synced=False) as tx:
            if not store.delete_tag(tx, self._active(run_id)["no"], key):
                raise NotFound(f"No tag with name: {key} in run with id {run_id}")

    def log_inputs(self, run_id: str, *, datasets: Sequence[DatasetInput] = (), models: Sequence[str] = ()) -> None:
        """Say which datasets and logged models a run used."""
        limits.check_datasets(datasets)
        with self._db.write(synced=False) as tx:
            row = self._active(run_id)
            for dataset in datasets:
                inputs.add_dataset(tx, row["no"], row["experiment_id"], dataset)
            for model_id in models:
                inputs.add_model(tx, row["no"], "input", model_id, 0)

    def log_outputs(self, run_id: str, models: Sequence[ModelOutput]) -> None:
        """Say which logged models a run made."""
        with self._db.write(synced=False) as tx:
            row = self._active(run_id)
            for model in models:
                inputs.add_model(tx, row["no"], "output", model.model_id, model.step)

    def append_model(self, run_id: str, model: Mapping[str, Any]) -> None:
        """Add a model's description to the run's history of models, as MLflow 2 clients have it kept."""
        with self._db.write(synced=False) as tx:
            no = self._active(run_id)["no"]
            before = store.tags_of(self._db, [no]).get(no, {}).get(LOGGED_MODELS_TAG, "[]")
            history = [*msgspec.json.decode(before, type=list[dict[str, Any]]), dict(model)]
            store.set_tag(tx, no, LOGGED_MODELS_TAG, json.dumps(history))  # spaced as there

    def datasets_in(self, experiment_ids: Sequence[int], *, limit: int) -> list[Row]:
        """Datasets that runs of some experiments used: experiment_id, name, digest, context."""
        return inputs.datasets_in(self._db, experiment_ids, limit)

    # ------------------------------------------------------------ lineage

    @public("read")
    def runs_using(self, digest: str) -> list[lineage.DatasetUse]:
        """Active runs with this dataset version among their inputs, those begun last first, at most USES."""
        return lineage.runs_using(self._db, digest, limit=USES)

    @public("read")
    def dataset_versions(self, run_id: str) -> list[lineage.DatasetUse]:
        """The dataset versions of ours among a run's inputs; other datasets are only in the run itself."""
        return lineage.used_by(self._db, self._row(run_id)["no"])

    # ------------------------------------------------------------ histories

    def history(
        self,
        run_id: str,
        key: str,
        *,
        limit: int = HISTORY_PAGE,
        after: tuple[int, int, int, float] | None = None,
    ) -> HistoryPage:
        """A page of a metric's points; none for a metric that was never logged."""
        rows = points.history(self._db, self._row(run_id)["no"], key, limit=limit + 1, after=after)
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return HistoryPage(
            points=tuple(map(points.to_point, rows[:limit])),
            after=(last["timestamp_ms"], last["step"], last["is_nan"], last["value"]) if last else None,
        )

    def sampled_history(
        self,
        run_ids: Sequence[str],
        key: str,
        *,
        amount: int = SAMPLED_POINTS,
        start: int | None = None,
        end: int | None = None,
    ) -> list[RunPoint]:
        """Points of some runs, of each at most `amount` evenly by rank, the first and the last among them.

        What a chart shows; runs that are not there have none. start, end: only steps from here to there.
        """
        if not 1 <= len(run_ids) <= SAMPLED_RUNS:
            raise Invalid(f"{len(run_ids)} runs are asked for", hint=f"ask for 1 to {SAMPLED_RUNS}")
        if not 1 <= amount <= MOST_SAMPLED:
            raise Invalid(f"{amount} points are asked for", hint=f"ask for 1 to {MOST_SAMPLED}")
        if (start is None) != (end is None) or (start is not None and end is not None and start > end):
            raise Invalid(f"steps from {start} to {end} are no interval", hint="say both ends, the lower one first")
        rows = {run_id: store.find_run(self._db, run_id) for run_id in run_ids}
        return [
            RunPoint(run_id=run_id, point=points.to_point(row))
            for run_id, run in rows.items()
            if run is not None
            for row in self._sampled(run, key, amount, start, end)
        ]

    def _sampled(self, run: Row, key: str, amount: int, start: int | None, end: int | None) -> list[Row]:
        count = points.count(self._db, run["no"], key)
        steps = self._steps.steps(run["id"], key, count, lambda: points.steps(self._db, run["no"], key))
        if len(steps) != count:
            return points.at_ranks(self._db, run["no"], key, amount, start=start, end=end)
        return points.at_steps(self._db, run["no"], key, sample(steps, amount, start=start, end=end))

    # ------------------------------------------------------------ inside

    def _row(self, run_id: str) -> Row:
        row = store.find_run(self._db, run_id)
        if row is None:
            raise NotFound(f"Run with id={run_id} not found", hint="mlspine runs ls")
        return row

    def _active(self, run_id: str) -> Row:
        row = self._row(run_id)
        if row["lifecycle_stage"] != "active":
            raise Invalid(
                f"The run {run_id} must be in the 'active' state. Current state is {row['lifecycle_stage']}.",
                hint="restore it first",
            )
        return row

    def _active_experiment(self, experiment_id: int) -> Experiment:
        experiment = self.experiment(experiment_id)
        if experiment.lifecycle_stage != "active":
            raise Invalid(
                f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted.",
                hint="restore it first",
            )
        return experiment


_COLUMNS = (
    *("id", "experiment_id", "name", "user_id", "status", "start_time_ms", "end_time_ms", "lifecycle_stage"),
    "artifact_uri",
)


def seen(alias: str, view: View) -> list[str]:
    """What must hold of a row for a view to show it."""
    stage = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted"}.get(view)
    shown = [f"{alias}.lifecycle_stage = '{stage}'"] if stage else []
    if alias == "r" and view != "ACTIVE_ONLY":
        shown.append(f"(r.deleted_at_ms is null or r.deleted_at_ms <> {store.GOING})")
    return shown


def _set_tag(tx: Transaction, no: int, key: str, value: str) -> None:
    if key == NAME_TAG:
        if not value:
            return  # a run keeps a name
        store.change_run(tx, no, {"name": value})
    store.set_tag(tx, no, key, value)


def _refuse_change(run_id: str, key: str, there: str, value: str) -> None:
    if there != value:
        raise Invalid(
            f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{there}'"
            f" for run ID='{run_id}'. Attempted logging new value '{value}'.",
            hint="begin a new run, or a nested one, for other parameters",
        )


def _taken(known: Experiment) -> AlreadyExists:
    if known.lifecycle_stage == "deleted":
        return AlreadyExists(
            f"Experiment '{known.name}' already exists in deleted state.",
            hint="restore it, or delete it for good: mlspine gc",
        )
    return AlreadyExists(f"Experiment(name={known.name}) already exists.", hint="use it, or take another name")
