"""Brings what another MLflow store holds into ours: once, whole, and on from where it was stopped.

Each thing is noted in the transaction that stores it. `begun`: a part is here, the next run goes on with it, and
every part is stored under its natural key, so nothing is stored twice. `open`: it was still going on there, and is
brought again. `done`: it is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from mlspine.artifacts import Artifacts
from mlspine.core.errors import Denied, Invalid, NotFound
from mlspine.core.ids import now_ms
from mlspine.core.types import Actor
from mlspine.governance.service import Governance
from mlspine.interop import store
from mlspine.interop.importing_models import ModelImport
from mlspine.interop.naming import (
    PROXIED,
    RUN_TAGS,
    derived_id,
    free_name,
    is_elsewhere,
    model_of,
    owners,
    rebased,
    run_ids,
    said,
    with_ids,
    with_model_names,
)
from mlspine.interop.pool import all_done
from mlspine.interop.progress import Progress, Report, Tally
from mlspine.interop.source import UNFINISHED, NotBrought, RegisteredVersion, Source
from mlspine.ports import Database, Transaction
from mlspine.registry.arrival import Arrivals
from mlspine.tracking import store as tracking
from mlspine.tracking.experiment import DEFAULT, Experiment
from mlspine.tracking.logged_model import LoggedModel
from mlspine.tracking.run import Point, Run

WORKERS = 4
POINTS_PER_WRITE = 5000  # others who write wait for one such transaction, a few hundredths of a second
PIECE_BYTES = 1 << 20
EXPERIMENT, RUN, LOGGED_MODEL = "experiment", "run", "logged_model"


class Import:
    """One source on its way into the store. `bring` does all of it and may be called again at any time."""

    def __init__(
        self,
        source: Source,
        *,
        db: Database,
        artifacts: Artifacts,
        governance: Governance,
        actor: Actor,
        arrivals: Arrivals,
        clock: Callable[[], int] = now_ms,
        seconds: Callable[[], float] = time.monotonic,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._source = source
        self._db = db
        self._artifacts = artifacts
        self._clock = clock
        self._tally = Tally(source.name, tell, seconds=seconds)
        self._runs, self._models = (
            _Ids(source.name, kind, db, exists)
            for kind, exists in ((RUN, store.run_exists), (LOGGED_MODEL, store.logged_model_exists))
        )
        self._registered = ModelImport(
            source.name,
            db=db,
            governance=governance,
            actor=actor,
            clock=clock,
            tally=self._tally,
            arrivals=arrivals,
            as_ours=self._version_as_ours,
        )

    def bring(self) -> Report:
        """Bring everything that is not here yet; what stays where it is, is listed with its reason."""
        experiments = list(self._source.experiments())
        self._tally.add(runs_total=sum(self._source.count_runs(each.id) for each in experiments))
        models = list(self._source.registered_models())
        names = {model.name: self._registered.name_of(model.name) for model in models}
        for foreign in experiments:
            ours = self._experiment(foreign)
            with ThreadPoolExecutor(WORKERS) as pool:
                all_done(pool, (partial(self._run, run, ours) for run in self._source.runs(foreign.id)))
            for model in self._source.logged_models(foreign.id):
                self._logged_model(model, ours, names)
        for each in models:
            self._registered.bring(each)
        for line in self._source.missing():
            self._tally.not_brought(line)
        return self._tally.report()

    # ------------------------------------------------------------ experiments

    def _experiment(self, foreign: Experiment) -> Experiment:
        """The experiment of ours that stands for it. Experiment 0 stands for experiment 0 unless it is in use."""
        known = store.brought(self._db, self._source.name, EXPERIMENT).get(str(foreign.id))
        self._tally.add(experiments=1)
        if known is not None:
            found = tracking.find_experiment(self._db, int(known.our_id))
            if found is not None:
                return found
        with self._db.write(synced=False) as tx:
            into_default = foreign.id == DEFAULT and store.is_untouched(self._db, DEFAULT)
            number = DEFAULT if into_default else tracking.next_experiment_id(self._db)
            name = foreign.name
            if not (into_default and name == self._name_of(DEFAULT)):
                name = free_name(name, lambda each: store.name_taken(self._db, each), "{} ({})")
            location = foreign.artifact_location
            ours = msgspec.structs.replace(
                foreign,
                id=number,
                name=name,
                artifact_location=location if is_elsewhere(location) else f"{PROXIED}{number}",
            )
            store.put_experiment(tx, self._db, ours)
            self._note(tx, EXPERIMENT, str(foreign.id), str(number), store.DONE)
        if name != foreign.name:
            self._tally.renamed(f"experiment {foreign.name!r} is {name!r} here: that name was taken")
        return ours

    def _name_of(self, experiment_id: int) -> str:
        found = tracking.find_experiment(self._db, experiment_id)
        return found.name if found else ""

    # ------------------------------------------------------------ runs

    def _run(self, listed: Run, experiment: Experiment) -> None:
        if self._runs.state(listed.id) == store.DONE:
            self._tally.add(runs=1, here_already=1)
            return
        try:
            foreign = self._source.whole(listed)
        except NotFound as exc:
            self._tally.not_brought(f"run {listed.id}: {said(exc)}")
            return
        ours = self._run_as_ours(foreign, experiment)
        deleted_at_ms = self._clock() if ours.lifecycle_stage == "deleted" else None
        with self._db.write(synced=False) as tx:
            no = store.put_run(tx, self._db, ours, deleted_at_ms=deleted_at_ms)
            self._note(tx, RUN, foreign.id, ours.id, store.BEGUN)
        for page in self._source.points(foreign):
            self._points(no, experiment.id, page)
        here = self._files(foreign, ours.artifact_uri)
        with self._db.write(synced=False) as tx:
            if not here and is_elsewhere(foreign.artifact_uri):
                store.set_artifact_uri(tx, no, foreign.artifact_uri)
            self._note(tx, RUN, foreign.id, ours.id, store.OPEN if foreign.status in UNFINISHED else store.DONE)
        self._tally.add(runs=1)

    def _run_as_ours(self, foreign: Run, experiment: Experiment) -> Run:
        run_id = self._runs.ours(foreign.id)
        named = {foreign.id: run_id}
        for tag in RUN_TAGS:
            named |= {each: self._runs.ours(each) for each in run_ids(foreign.tags.get(tag, ""))}
        return msgspec.structs.replace(
            foreign,
            id=run_id,
            experiment_id=experiment.id,
            artifact_uri=f"{PROXIED}{experiment.id}/{run_id}/artifacts",
            tags=with_ids(foreign.tags, named),
            model_inputs=tuple(map(self._models.ours, foreign.model_inputs)),
            model_outputs=tuple(
                msgspec.structs.replace(each, model_id=self._models.ours(each.model_id))
                for each in foreign.model_outputs
            ),
        )

    def _points(self, no: int, experiment_id: int, page: Sequence[Point]) -> None:
        for start in range(0, len(page), POINTS_PER_WRITE):
            part = page[start : start + POINTS_PER_WRITE]
            with self._db.write(synced=False) as tx:
                store.add_points(tx, no, experiment_id, part)
            self._tally.add(points=len(part))

    # ------------------------------------------------------------ logged models

    def _logged_model(self, foreign: LoggedModel, experiment: Experiment, names: Mapping[str, str]) -> None:
        if self._models.state(foreign.id) == store.DONE:
            return
        model_id = self._models.ours(foreign.id)
        uri = f"{PROXIED}{experiment.id}/models/{model_id}/artifacts"
        here = self._files(foreign, uri)
        ours = msgspec.structs.replace(
            foreign,
            id=model_id,
            experiment_id=experiment.id,
            source_run_id=self._runs.ours(foreign.source_run_id),
            artifact_uri=uri if here or not is_elsewhere(foreign.artifact_uri) else foreign.artifact_uri,
            tags=with_model_names(foreign.tags, names),
            metrics=tuple(
                msgspec.structs.replace(each, run_id=self._runs.ours(each.run_id)) for each in foreign.metrics
            ),
        )
        with self._db.write(synced=False) as tx:
            store.put_logged_model(tx, ours)
            self._note(
                tx, LOGGED_MODEL, foreign.id, model_id, store.OPEN if foreign.status == "PENDING" else store.DONE
            )
        self._tally.add(logged_models=1)

    def _version_as_ours(self, foreign: RegisteredVersion) -> RegisteredVersion:
        source = foreign.source
        for owner in owners(source):
            is_model = owner.startswith("m-")
            our_id = self._models.ours(owner) if is_model else self._runs.ours(owner)
            uri = store.artifact_uri(self._db, our_id, is_model=is_model)
            if not (is_elsewhere(source) and is_elsewhere(uri)):  # what stays in a bucket keeps its path there
                source = (rebased(source, owner, uri) if uri else source).replace(owner, our_id)
        model_id = model_of(source)
        return msgspec.structs.replace(
            foreign,
            source=source,
            location=(store.artifact_uri(self._db, model_id, is_model=True) if model_id else "") or source,
            run_id=self._runs.ours(foreign.run_id),
            model_id=model_id or self._models.ours(foreign.model_id),
        )

    # ------------------------------------------------------------ files

    def _files(self, owner: Run | LoggedModel, uri: str) -> bool:
        """Bring the files of a run or model below our uri; False when they are out of reach."""
        try:
            for file in self._source.files(owner):
                path = f"{uri.removeprefix(PROXIED)}/{file.path}"
                try:
                    size = self._file(owner, file.path, path)
                except (NotFound, Denied, Invalid) as exc:
                    self._tally.not_brought(f"{owner.artifact_uri}/{file.path}: {said(exc)}")
                else:
                    self._tally.add(files=1, bytes=size)
        except NotBrought as exc:
            self._tally.not_brought(said(exc))
            return False
        return True

    def _file(self, owner: Run | LoggedModel, foreign_path: str, path: str) -> int:
        upload = self._artifacts.begin()
        try:
            with self._source.open(owner, foreign_path) as data:
                while piece := data.read(PIECE_BYTES):
                    upload.write(piece)
        except BaseException:
            upload.abort()
            raise
        return self._artifacts.finish(path, upload).size_bytes

    def _note(self, tx: Transaction, kind: str, foreign_id: str, our_id: str, state: str) -> None:
        store.note_brought(tx, self._source.name, kind, foreign_id, our_id, state, self._clock())


class _Ids:
    """What the runs or logged models of a source are called here: as there, unless somebody has that id already."""

    def __init__(self, source: str, kind: str, db: Database, exists: Callable[[Database, str], bool]) -> None:
        self._source = source
        self._db = db
        self._exists = exists
        self._brought = store.brought(db, source, kind)
        self._named: dict[str, str] = {}

    def state(self, foreign_id: str) -> str:
        """How far it was brought before this run of the command, "" when not at all."""
        known = self._brought.get(foreign_id)
        return known.state if known and self._exists(self._db, known.our_id) else ""

    def ours(self, foreign_id: str) -> str:
        """Its id here; asked for before it is brought when something else names it."""
        if not foreign_id:
            return ""
        if foreign_id in self._brought:
            return self._brought[foreign_id].our_id
        if foreign_id not in self._named:
            taken = self._exists(self._db, foreign_id)
            self._named.setdefault(foreign_id, derived_id(self._source, foreign_id) if taken else foreign_id)
        return self._named[foreign_id]
