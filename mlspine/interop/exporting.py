"""Takes what a store holds to a running MLflow server: whole, and on from where it was stopped.

MLflow gives new ids, and a create whose answer is lost may have been done all the same. So a run or logged model
carries a tag with its id here while it is being written, by which a second run finds it, and which goes at the end;
experiments and registered models are found by the name that was noted before they were asked for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from mlspine.core.errors import Denied, Invalid, NotFound
from mlspine.core.ids import now_ms
from mlspine.interop import store
from mlspine.interop.exporting_models import take_versions
from mlspine.interop.naming import (
    RUN_TAGS,
    free_name,
    is_elsewhere,
    owners,
    rebased,
    run_ids,
    said,
    with_ids,
    with_model_names,
)
from mlspine.interop.pool import all_done
from mlspine.interop.progress import Progress, Report, Tally
from mlspine.interop.source import UNFINISHED, NotBrought, RegisteredModel, RegisteredVersion, Source
from mlspine.interop.target import Target
from mlspine.ports import Database
from mlspine.tracking.experiment import DEFAULT, Experiment
from mlspine.tracking.logged_model import LoggedModel, ModelPoint
from mlspine.tracking.run import Point, Run

WORKERS = 4
MARK = "mlspine.exporting"
EXPERIMENT, RUN, LOGGED_MODEL, REGISTERED = "experiment", "run", "logged_model", "registered_model"


class Export:
    """One store on its way to a server. `take` does all of it and may be called again at any time."""

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        db: Database,
        clock: Callable[[], int] = now_ms,
        seconds: Callable[[], float] = time.monotonic,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._source = source
        self._target = target
        self._db = db
        self._clock = clock
        self._tally = Tally(target.name, tell, seconds=seconds)
        self._model_points: dict[str, list[tuple[str, ModelPoint]]] = defaultdict(list)
        self._one_at_a_time = threading.Lock()  # MLflow fails when two runs name a dataset for the first time at once
        kinds = (EXPERIMENT, RUN, LOGGED_MODEL, REGISTERED)
        self._taken = {kind: store.taken(db, target.name, kind) for kind in kinds}

    def take(self) -> Report:
        """Take everything that is not there yet; what stays here is listed with its reason."""
        experiments = list(self._source.experiments())
        self._tally.add(runs_total=sum(self._source.count_runs(each.id) for each in experiments))
        # Runs and logged models name one another, across experiments too: all are made before any is filled.
        for each in experiments:
            self._make(each)
        names = {each.name: self._registered_name(each) for each in self._source.registered_models()}
        for each in experiments:
            self._fill(each, names)
        for model in self._source.registered_models():
            self._registered(model, names[model.name])
        for each in experiments:
            self._end_experiment(each)
        for line in self._source.missing():
            self._tally.not_brought(line)
        return self._tally.report()

    # ------------------------------------------------------------ experiments

    def _make(self, experiment: Experiment) -> None:
        """Have the experiment, its runs and its logged models there, still empty."""
        there = self._experiment(experiment)
        self._tally.add(experiments=1)
        with ThreadPoolExecutor(WORKERS) as pool:
            all_done(pool, (partial(self._make_run, run, there) for run in self._source.runs(experiment.id)))
        for model in self._source.logged_models(experiment.id):
            self._make_logged_model(model, there)
            for each in model.metrics:
                self._model_points[each.run_id].append((model.id, each))

    def _experiment(self, ours: Experiment) -> str:
        """The id of the experiment there. Experiment 0 becomes experiment 0 unless that one is in use."""
        known = self._taken[EXPERIMENT].get(str(ours.id))
        if known is not None and known.state != store.ASKED:
            return known.foreign_id
        name = known.foreign_id if known is not None else self._free_experiment_name(ours)
        self._note(EXPERIMENT, str(ours.id), name, store.ASKED)
        found = self._target.experiment_named(name)
        there = str(found["experiment_id"]) if found else self._target.create_experiment(name)
        if name != ours.name:
            self._tally.renamed(f"experiment {ours.name!r} is {name!r} there: that name was taken")
        self._note(EXPERIMENT, str(ours.id), there, store.BEGUN)
        return there

    def _free_experiment_name(self, ours: Experiment) -> str:
        found = self._target.experiment_named(ours.name)
        if found is not None and self._is_their_default(ours, found):
            return ours.name
        return free_name(ours.name, lambda each: self._target.experiment_named(each) is not None, "{} ({})")

    def _is_their_default(self, ours: Experiment, found: Mapping[str, Any]) -> bool:
        there = str(found["experiment_id"])
        return ours.id == DEFAULT and there == str(DEFAULT) and not self._target.has_runs(there)

    def _fill(self, experiment: Experiment, names: Mapping[str, str]) -> None:
        for model in self._source.logged_models(experiment.id):
            self._fill_logged_model(model, names)
        with ThreadPoolExecutor(WORKERS) as pool:
            runs = self._source.runs(experiment.id)
            all_done(pool, (partial(self._fill_run, run) for run in runs))

    def _end_experiment(self, ours: Experiment) -> None:
        """Its tags, and its deletion if it is deleted here: nothing can be written to it afterwards."""
        known = self._taken[EXPERIMENT][str(ours.id)]
        if known.state == store.DONE:
            return
        for key, value in ours.tags.items():
            self._target.set_experiment_tag(known.foreign_id, key, value)
        if ours.lifecycle_stage == "deleted":
            self._target.delete_experiment(known.foreign_id)
        self._note(EXPERIMENT, str(ours.id), known.foreign_id, store.DONE)

    # ------------------------------------------------------------ runs

    def _make_run(self, run: Run, experiment: str) -> None:
        known = self._taken[RUN].get(run.id)
        if known is not None and known.state != store.ASKED:
            return
        there = ""
        if known is not None:
            there = self._target.find_run(experiment, MARK, run.id)
        if not there:
            self._note(RUN, run.id, "", store.ASKED)
            there = self._target.create_run(experiment, run, {MARK: run.id})
        self._note(RUN, run.id, there, store.BEGUN)

    def _fill_run(self, listed: Run) -> None:
        known = self._taken[RUN].get(listed.id)
        if known is None:  # it began after the others were made; the next run of the command takes it
            return
        if known.state == store.DONE:
            self._tally.add(runs=1, here_already=1)
            return
        there, run = known.foreign_id, self._source.whole(listed)
        if run.lifecycle_stage == "deleted":
            self._target.restore_run(there)
        self._target.log_texts(there, run.params, self._tags(run))
        self._points(there, run, self._model_points.get(run.id, []))
        with self._one_at_a_time:
            self._target.log_inputs(there, run.datasets, [self._there(LOGGED_MODEL, each) for each in run.model_inputs])
        self._target.log_outputs(
            there,
            [
                msgspec.structs.replace(each, model_id=self._there(LOGGED_MODEL, each.model_id))
                for each in run.model_outputs
            ],
        )
        self._files(run, self._target.artifact_uri(there))
        self._target.end_run(there, run)
        self._target.delete_tag(there, MARK)
        if run.lifecycle_stage == "deleted":
            self._target.delete_run(there)
        self._note(RUN, run.id, there, store.OPEN if run.status in UNFINISHED else store.DONE)
        self._tally.add(runs=1)

    def _tags(self, run: Run) -> dict[str, str]:
        named = {run.id: self._there(RUN, run.id)}
        for tag in RUN_TAGS:
            named |= {each: self._there(RUN, each) for each in run_ids(run.tags.get(tag, ""))}
        return with_ids(run.tags, named)

    def _points(self, there: str, run: Run, model_points: Sequence[tuple[str, ModelPoint]]) -> None:
        # Of two points alike MLflow keeps the first, so those that say something of a model go first.
        sent: set[Point] = set()
        for model_id in dict.fromkeys(model_id for model_id, _ in model_points):
            part = [each for owner, each in model_points if owner == model_id]
            self._target.log_model_points(there, self._there(LOGGED_MODEL, model_id), part)
            sent.update(each.point for each in part)
        self._tally.add(points=len(sent))
        for page in self._source.points(run):
            rest = [point for point in page if point not in sent]
            self._target.log_points(there, rest)
            self._tally.add(points=len(rest))

    # ------------------------------------------------------------ logged models

    def _make_logged_model(self, model: LoggedModel, experiment: str) -> None:
        known = self._taken[LOGGED_MODEL].get(model.id)
        if known is not None and known.state != store.ASKED:
            return
        there = ""
        if known is not None:
            there = self._target.find_logged_model(experiment, MARK, model.id)
        if not there:
            self._note(LOGGED_MODEL, model.id, "", store.ASKED)
            run_id = self._there(RUN, model.source_run_id)
            sent = msgspec.structs.replace(model, source_run_id=run_id)
            try:
                there = self._target.create_logged_model(experiment, sent, {MARK: model.id})
            except NotBrought as exc:
                self._tally.not_brought(said(exc))
                return
        self._note(LOGGED_MODEL, model.id, there, store.BEGUN)

    def _fill_logged_model(self, model: LoggedModel, names: Mapping[str, str]) -> None:
        known = self._taken[LOGGED_MODEL].get(model.id)
        if known is None or known.state in (store.ASKED, store.DONE):
            return
        there = known.foreign_id
        self._files(model, self._target.logged_model_uri(there))
        if tags := with_model_names(model.tags, names):
            self._target.set_logged_model_tags(there, tags)
        self._target.delete_logged_model_tag(there, MARK)
        self._target.end_logged_model(there, model.status)
        self._note(LOGGED_MODEL, model.id, there, store.OPEN if model.status == "PENDING" else store.DONE)
        self._tally.add(logged_models=1)

    # ------------------------------------------------------------ registered models

    def _registered_name(self, model: RegisteredModel) -> str:
        """What the model is called there, where it is made if it is not there yet."""
        known = self._taken[REGISTERED].get(model.name)
        if known is not None and known.state != store.ASKED:
            return known.foreign_id
        free = partial(free_name, model.name, self._target.has_registered_model, "{}-{}")
        name = known.foreign_id if known is not None else free()
        self._note(REGISTERED, model.name, name, store.ASKED)
        if not self._target.has_registered_model(name):
            self._target.create_registered_model(name, model)
        if name != model.name:
            self._tally.renamed(f"model {model.name!r} is {name!r} there: that name was taken")
        self._note(REGISTERED, model.name, name, store.BEGUN)
        return name

    def _registered(self, model: RegisteredModel, name: str) -> None:
        first = self._taken[REGISTERED][model.name].state != store.DONE
        take_versions(self._target, name, model, self._version_as_there, self._tally, first=first)
        if first:
            self._note(REGISTERED, model.name, name, store.DONE)
            self._tally.add(registered_models=1)

    def _version_as_there(self, version: RegisteredVersion) -> RegisteredVersion:
        """A version whose run, logged model and source are those there."""
        source = version.source
        for our_id in owners(source) if not is_elsewhere(source) else ():
            kind = LOGGED_MODEL if our_id.startswith("m-") else RUN
            there = self._there(kind, our_id)
            if there != our_id:
                uri = self._target.artifact_uri(there) if kind == RUN else self._target.logged_model_uri(there)
                source = rebased(source, our_id, uri).replace(our_id, there)
        return msgspec.structs.replace(
            version,
            source=source,
            run_id=self._there(RUN, version.run_id),
            model_id=self._there(LOGGED_MODEL, version.model_id),
        )

    # ------------------------------------------------------------ files

    def _files(self, owner: Run | LoggedModel, uri: str) -> None:
        try:
            for file in self._source.files(owner):
                with self._source.open(owner, file.path) as data:
                    self._target.put_file(uri, file.path, data, file.size_bytes)
                self._tally.add(files=1, bytes=file.size_bytes)
        except (NotBrought, NotFound, Denied, Invalid) as exc:
            self._tally.not_brought(said(exc))

    # ------------------------------------------------------------ what is there already

    def _there(self, kind: str, our_id: str) -> str:
        """What a run or logged model of ours is called there; itself where it is not ours."""
        known = self._taken[kind].get(our_id)
        return known.foreign_id if known is not None and known.foreign_id else our_id

    def _note(self, kind: str, our_id: str, foreign_id: str, state: str) -> None:
        with self._db.write(synced=False) as tx:
            store.note_taken(tx, self._target.name, kind, our_id, foreign_id, state, self._clock())
        self._taken[kind][our_id] = store.Taken(foreign_id=foreign_id, state=state)
