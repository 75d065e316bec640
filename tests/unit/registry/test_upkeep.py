"""Removing for good what was deleted: what goes, what stays, and what a death half-way leaves."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Actor
from mlspine.governance.service import Governance
from mlspine.ports import Database
from mlspine.registry import upkeep
from mlspine.registry.upkeep import Upkeep
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.run import DatasetInput, Point
from mlspine.tracking.service import Tracking
from tests.postgres import postgres_schema

ANN = Actor(name="ann")
DAY_MS = 24 * 3_600_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = 2_000_000_000_000

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


class World(NamedTuple):
    db: Database
    clock: Clock
    tracking: Tracking
    models: LoggedModels
    artifacts: Artifacts
    governance: Governance
    upkeep: Upkeep
    pauses: list[float]


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        db: Database
        if request.param == "sqlite":
            db = SqliteDatabase(tmp_path / "store.db")
        else:
            url = stack.enter_context(postgres_schema())
            from mlspine.backends.postgres import PostgresDatabase

            db = PostgresDatabase(url)
        stack.callback(db.close)
        db.migrate(migrations.scripts())
        clock, pauses = Clock(), list[float]()
        blobs = FileBlobStore(tmp_path / "blobs")
        artifacts = Artifacts(db=db, blobs=blobs, drafts=tmp_path / "drafts", clock=clock)
        governance = Governance(db=db, clock=clock)
        yield World(
            db,
            clock,
            Tracking(db=db, clock=clock),
            LoggedModels(db=db, clock=clock),
            artifacts,
            governance,
            Upkeep(db=db, artifacts=artifacts, governance=governance, clock=clock, pause=pauses.append),
            pauses,
        )


def a_run(world: World, experiment_id: int = 0, *, points: int = 3) -> str:
    run = world.tracking.create_run(experiment_id, tags=[("team", "a")])
    world.tracking.log_batch(
        run.id,
        metrics=[Point(key="loss", value=float(n), timestamp_ms=n, step=n) for n in range(points)],
        params=[("C", "1")],
    )
    dataset = DatasetInput(name="rows", digest=run.id[:8], source_type="local", source="rows.csv")
    world.tracking.log_inputs(run.id, datasets=[dataset])
    world.artifacts.put(f"{experiment_id}/{run.id}/artifacts/note.txt", run.id.encode())
    return run.id


def stand_on(world: World, *, run_id: str = "", model_id: str = "", location: str = "") -> None:
    """A registered version, as far as upkeep looks at it."""
    with world.db.write() as tx:
        tx.execute("insert into model (name, created_at_ms) values ('churn', 1) on conflict (name) do nothing")
        tx.execute(
            "insert into model_version (model, version, release_hash, stage, created_at_ms, updated_at_ms, owner,"
            " owner_assumed, tier, message, description, origin, trusted, bare, flavor, source, location, run_id,"
            " run_link, model_id, metric, missing, captured, bulk) values ('churn', 1, '', 'None', 1, 1, '', 0, 'low',"
            " '', '', '', 0, 1, '', '', :location, :run, '', :model, 'null', '[]', '{}', '{}')",
            location=location,
            run=run_id,
            model=model_id,
        )


def rows(world: World, table: str) -> int:
    return int(world.db.read(f"select count(*) as many from {table}")[0]["many"])


OF_RUNS = ("run", "run_param", "run_tag", "run_metric", "metric_point", "run_input", "run_dataset", "artifact")


def test_a_deleted_run_goes_with_all_it_had_and_others_stay_whole(world: World) -> None:
    kept, gone = a_run(world), a_run(world)
    before = {table: rows(world, table) for table in OF_RUNS}
    world.tracking.delete_run(gone)
    found = world.upkeep.find(older_than_s=0)
    assert (found.runs, found.points, found.files, found.size_bytes) == (1, 3, 1, 32)
    assert [each.id for each in found.runs_shown] == [gone]
    assert world.tracking.run(gone).lifecycle_stage == "deleted"
    went = world.upkeep.collect(older_than_s=0, actor=ANN)
    assert (went.runs, went.points, went.files) == (1, 3, 1)
    with pytest.raises(NotFound):
        world.tracking.run(gone)
    assert {table: 2 * rows(world, table) for table in OF_RUNS} == before
    assert len(world.tracking.history(kept, "loss").points) == 3
    line = world.governance.entries("workspace")[-1]
    assert (line.action, line.actor, line.facts) == ("gc", "ann", {"runs": [gone]})


def test_what_was_deleted_lately_stays(world: World) -> None:
    run = a_run(world)
    world.tracking.delete_run(run)
    world.clock.now_ms += 5 * DAY_MS
    assert world.upkeep.collect(older_than_s=30 * 86_400, actor=ANN).runs == 0
    world.tracking.restore_run(run)
    assert len(world.tracking.history(run, "loss").points) == 3
    assert world.governance.entries("workspace") == []


@pytest.mark.parametrize("by", ["run", "logged model", "location"])
def test_a_run_that_a_version_stands_on_never_goes(world: World, by: str) -> None:
    run = a_run(world)
    model = world.models.create(0, source_run_id=run)
    uri = world.tracking.run(run).artifact_uri
    world.tracking.delete_run(run)
    world.models.delete(model.id)
    stand_on(
        world,
        run_id=run if by == "run" else "",
        model_id=model.id if by == "logged model" else "",
        location=f"{uri}/model" if by == "location" else "",
    )
    assert world.upkeep.find(older_than_s=0).needed == 1
    went = world.upkeep.collect(older_than_s=0, actor=ANN)
    assert went.runs == 0
    assert went.logged_models == (0 if by == "logged model" else 1)
    assert len(world.tracking.history(run, "loss").points) == 3


def test_a_deleted_experiment_goes_with_its_runs_and_models_and_its_name_is_free(world: World) -> None:
    number = world.tracking.create_experiment("churn", tags={"team": "a"}).id
    a_run(world, number)
    model = world.models.create(number, params=[("C", "1")])
    world.models.log_metrics(model.id, [Point(key="auc", value=0.9, timestamp_ms=1)], run_id="")
    world.artifacts.put(f"{number}/models/{model.id}/artifacts/MLmodel", b"flavors: {}")
    world.tracking.delete_experiment(number)
    found = world.upkeep.find(older_than_s=0)
    assert (found.experiments, found.runs, found.logged_models, found.points) == (1, 1, 1, 4)
    went = world.upkeep.collect(older_than_s=0, actor=ANN)
    assert (went.experiments, went.runs, went.logged_models, went.points) == (1, 1, 1, 4)
    left = ("logged_model", "logged_model_param", "logged_model_metric", "logged_model_point", "experiment_tag")
    assert [rows(world, table) for table in (*OF_RUNS, *left)] == [0] * (len(OF_RUNS) + len(left))
    world.tracking.create_experiment("churn")
    assert world.upkeep.find(older_than_s=0).experiments == 0


def test_an_experiment_in_which_something_is_needed_stays(world: World) -> None:
    number = world.tracking.create_experiment("churn").id
    kept, gone = a_run(world, number), a_run(world, number)
    stand_on(world, run_id=kept)
    world.tracking.delete_experiment(number)
    assert world.upkeep.find(older_than_s=0).experiments == 0
    went = world.upkeep.collect(older_than_s=0, actor=ANN)
    assert (went.experiments, went.runs) == (0, 1)
    world.tracking.restore_experiment(number)
    assert world.tracking.run(kept).lifecycle_stage == "active"
    with pytest.raises(NotFound):
        world.tracking.run(gone)


def test_points_go_in_pieces_with_pauses_between(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "POINTS_AT_ONCE", 10)
    run = a_run(world, points=35)
    world.tracking.delete_run(run)
    assert world.upkeep.collect(older_than_s=0, actor=ANN).points == 35
    assert len(world.pauses) == 3 + 1


def test_what_a_death_half_way_left_is_found_no_more_and_ended_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "POINTS_AT_ONCE", 10)
    number = world.tracking.create_experiment("churn").id
    run, other = a_run(world, number, points=35), a_run(world, number)
    world.tracking.delete_run(run)

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    dying = Upkeep(db=world.db, artifacts=world.artifacts, governance=world.governance, clock=world.clock, pause=killed)
    with pytest.raises(KeyboardInterrupt):
        dying.collect(older_than_s=0, actor=ANN)
    assert rows(world, "metric_point") == 25 + 3
    for look in (world.tracking.run, world.tracking.restore_run, world.tracking.delete_run):
        with pytest.raises(NotFound):
            look(run)
    assert [each.id for each in world.tracking.search_runs([number], view="ALL").runs] == [other]
    world.tracking.delete_experiment(number)
    world.tracking.restore_experiment(number)
    assert [each.id for each in world.tracking.search_runs([number]).runs] == [other]
    assert world.upkeep.collect(older_than_s=30 * 86_400, actor=ANN).runs == 1
    assert (rows(world, "metric_point"), rows(world, "run")) == (3, 1)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("pieces", [1, 4, 9])
def test_a_kill_half_way_is_harmless(world: World, tmp_path: Path, pieces: int) -> None:
    gone, kept = [a_run(world, points=35) for _ in range(2)], a_run(world, points=35)
    for run in gone:
        world.tracking.delete_run(run)
    command = [sys.executable, "-m", "tests.unit.registry.killed_upkeep", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = list(itertools.islice(process.stdout, pieces))
        process.kill()
    if pieces < 6:  # of each run three pieces are followed by another; the rest goes in one transaction
        assert said == ["piece\n"] * pieces
        assert process.returncode == -signal.SIGKILL
    assert world.db.read("pragma integrity_check") == [{"integrity_check": "ok"}]
    assert len(world.tracking.history(kept, "loss").points) == 35
    world.clock.now_ms = 2_100_000_000_001
    world.upkeep.collect(older_than_s=0, actor=ANN)
    assert (rows(world, "run"), rows(world, "metric_point"), rows(world, "artifact")) == (1, 35, 1)
    removed = [run for line in world.governance.entries("workspace") for run in line.facts["runs"]]
    assert sorted(removed) == sorted(gone)
    assert world.governance.verify().intact


def test_charts_of_a_run_with_a_number_given_again_are_its_own(world: World) -> None:
    old = a_run(world)
    world.tracking.sampled_history([old], "loss")
    world.tracking.delete_run(old)
    world.upkeep.collect(older_than_s=0, actor=ANN)
    new = world.tracking.create_run(0).id
    steps = [100, 200, 300]
    points = [Point(key="loss", value=1.0, timestamp_ms=step, step=step) for step in steps]
    world.tracking.log_batch(new, metrics=points)
    assert [each.point.step for each in world.tracking.sampled_history([new], "loss")] == steps


def test_content_goes_a_day_after_nobody_names_it(world: World) -> None:
    run = a_run(world)
    digest = world.artifacts.get(f"0/{run}/artifacts/note.txt").digest
    world.tracking.delete_run(run)
    world.upkeep.collect(older_than_s=0, actor=ANN)
    assert world.upkeep.find(older_than_s=0).left_over == 1
    assert world.artifacts.unreferenced() == (digest,)
    world.clock.now_ms += DAY_MS
    assert world.upkeep.collect(older_than_s=0, actor=ANN).left_over == 1
    assert world.artifacts.unreferenced() == ()


def test_what_was_brought_from_elsewhere_is_brought_again_once_it_is_gone(world: World) -> None:
    run = a_run(world)
    with world.db.write() as tx:
        tx.execute("insert into imported values ('s', 'run', 'theirs', :id, 1, 'done')", id=run)
    world.tracking.delete_run(run)
    world.upkeep.collect(older_than_s=0, actor=ANN)
    assert rows(world, "imported") == 0


def test_a_time_to_come_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="-1"):
        world.upkeep.find(older_than_s=-1)
