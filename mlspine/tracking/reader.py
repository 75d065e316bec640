"""The reading door of tracking: runs by what people call them, for the command line and whoever asks over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from mlspine.artifacts import Artifacts
from mlspine.core.errors import Invalid, NotFound
from mlspine.core.public import public
from mlspine.core.types import Struct
from mlspine.ports import Database, Row
from mlspine.search import RUNS, build, fetch_page
from mlspine.tracking import store
from mlspine.tracking.comparison import Comparison, compare
from mlspine.tracking.experiment import Experiment, View
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.run import PARENT_TAG, Run
from mlspine.tracking.service import ARTIFACTS, Tracking, seen
from mlspine.tracking.sheet import (
    History,
    RunLine,
    RunList,
    RunName,
    RunSheet,
    code_of,
    line_of,
    made,
    number,
    used,
)

CHARTED_STEPS = 60
CHARTED_METRICS = 200
SHORTEST_PREFIX = 4
SHOWN_CHOICES = 10
MOST_COMPARED = 20


class ExperimentLine(Struct, frozen=True, kw_only=True):
    """An experiment and how many runs it holds, deleted ones not counted."""

    experiment: Experiment
    runs: int


class RunReader:
    """Reads, writes nothing. A run is named by its id, the beginning of its id, or its name."""

    def __init__(self, *, db: Database, tracking: Tracking, models: LoggedModels, artifacts: Artifacts) -> None:
        self._db = db
        self._tracking = tracking
        self._models = models
        self._artifacts = artifacts

    @public("read")
    def experiments(self, *, view: View = "ACTIVE_ONLY") -> list[ExperimentLine]:
        """All experiments, by number."""
        found = store.experiments_of(self._db, store.all_experiments(self._db))
        counts = store.run_counts(self._db)
        return [
            ExperimentLine(experiment=each, runs=counts.get(each.id, 0))
            for each in found
            if view == "ALL" or each.lifecycle_stage == ("active" if view == "ACTIVE_ONLY" else "deleted")
        ]

    @public("read")
    def search(
        self,
        *,
        experiment: str = "",
        filter: str = "",  # noqa: A002  the protocol's own word
        order_by: tuple[str, ...] = (),
        view: View = "ACTIVE_ONLY",
        max_results: int | None = None,
        page_token: str = "",
    ) -> RunList:
        """Runs by MLflow's filter grammar, of one experiment (name or number) or of all; begun last first."""
        query = build(
            RUNS,
            filter=filter,
            order_by=order_by,
            page_token=page_token,
            max_results=max_results,
            within=[self._experiment(experiment).id] if experiment else None,
        )
        rows, token = fetch_page(query, self._db.read, columns="r.*", where=seen("r", view))
        return RunList(runs=tuple(self._lines(self._tracking.runs_of(rows))), next_page_token=token)

    @public("read")
    def best(
        self,
        metric: str,
        *,
        lowest: bool = False,
        experiment: str = "",
        filter: str = "",  # noqa: A002
        max_results: int = 1,
    ) -> RunList:
        """The runs with the greatest latest value of a metric, or the lowest; those without one never.

        Raises NotFound when no run has it.
        """
        if "`" in metric:
            raise Invalid(f"{metric!r} is no metric's name", hint="names hold no `")
        direction = "ASC" if lowest else "DESC"
        page = self.search(
            experiment=experiment, filter=filter, order_by=(f"metrics.`{metric}` {direction}",), max_results=max_results
        )
        found = tuple(run for run in page.runs if run.metrics.get(metric) is not None)
        if not found:
            where = f" in experiment {experiment!r}" if experiment else ""
            fits = f" that fits {filter!r}" if filter else ""
            raise NotFound(f"no run{fits}{where} has a metric {metric!r}", hint="see what they have: mlspine runs ls")
        return RunList(runs=found)

    @public("read")
    def get(self, run: str) -> RunSheet:
        """All there is to one run, deleted ones too. NotFound otherwise; Invalid when several are called that."""
        found = self._tracking.run(self._id_of(run))
        tags = found.tags
        return RunSheet(
            run=self._lines([found])[0],
            code=code_of(tags),
            command=tags.get("mlspine.command") or tags.get("mlflow.source.name", ""),
            histories=tuple(self._histories(found)),
            datasets=tuple(map(used, found.datasets)),
            models_used=found.model_inputs,
            models_made=tuple(map(made, self._models.of_run(found.id))),
            parent=self._parent(tags.get(PARENT_TAG, "")),
            children=tuple(_named(row) for row in store.children_of(self._db, found.experiment_id, found.id)),
            artifact_uri=found.artifact_uri,
            files=self._artifacts.list(path) if (path := _path(found.artifact_uri)) else (),
        )

    @public("read")
    def compare(self, runs: tuple[str, ...]) -> Comparison:
        """What differs between 2 to MOST_COMPARED runs, each named as for `get`."""
        if not 2 <= len(runs) <= MOST_COMPARED:
            raise Invalid(f"{len(runs)} run(s) to compare", hint=f"name 2 to {MOST_COMPARED}")
        return compare(self._lines([self._tracking.run(self._id_of(run)) for run in runs]))

    # ------------------------------------------------------------ inside

    def _id_of(self, text: str) -> str:
        """The id of the run that is called this: its id, its name, or the beginning of its id."""
        if store.find_run(self._db, text) is not None:
            return text
        rows = store.runs_named(self._db, text, limit=SHOWN_CHOICES + 1)
        if not rows and len(text) >= SHORTEST_PREFIX:
            rows = store.runs_beginning(self._db, text.lower(), limit=SHOWN_CHOICES + 1)
        if len(rows) == 1:
            return str(rows[0]["id"])
        if not rows:
            short = 0 < len(text) < SHORTEST_PREFIX
            hint = f"give at least {SHORTEST_PREFIX} letters of its id" if short else "see: mlspine runs ls"
            raise NotFound(f"no run {text!r}", hint=hint)
        raise Invalid(
            f"{text!r} is what more than one run is called",
            hint="name it by its id",
            details=[f"{row['id']}  {row['name']}" for row in rows[:SHOWN_CHOICES]],
        )

    def _experiment(self, text: str) -> Experiment:
        known = store.find_experiment_by_name(self._db, text)
        if known is None and text.isascii() and text.isdigit() and len(text) < 19:
            return self._tracking.experiment(int(text))
        return known or self._tracking.experiment_named(text)

    def _lines(self, runs: Sequence[Run]) -> list[RunLine]:
        names = {row["id"]: row["name"] for row in store.all_experiments(self._db)}
        return [line_of(run, names[run.experiment_id]) for run in runs]

    def _histories(self, run: Run) -> list[History]:
        found = []
        for point in run.metrics[:CHARTED_METRICS]:
            sampled = self._tracking.sampled_history([run.id], point.key, amount=CHARTED_STEPS)
            found.append(
                History(
                    metric=point.key,
                    steps=tuple(each.point.step for each in sampled),
                    values=tuple(number(each.point.value) for each in sampled),
                )
            )
        return found

    def _parent(self, run_id: str) -> RunName | None:
        row = store.find_run(self._db, run_id) if run_id else None
        return _named(row) if row else None


def _named(row: Row) -> RunName:
    return RunName(id=row["id"], name=row["name"])


def _path(uri: str) -> str:
    """Where a run's files lie among our artifacts, "" when they are elsewhere."""
    return uri.removeprefix(ARTIFACTS).strip("/") if uri.startswith(ARTIFACTS) else ""
