"""Experiments and runs: made, logged on, renamed, put aside, brought back, found."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

import pytest

from mlspine.core.errors import AlreadyExists, Invalid, NotFound
from mlspine.ports import Database
from mlspine.tracking.run import LOGGED_MODELS_TAG, NAME_TAG, DatasetInput, ModelOutput, Point, Run
from mlspine.tracking.service import SAMPLED_RUNS, Tracking
from tests.unit.tracking.conftest import Clock

JUNE = DatasetInput(
    name="june", digest="d1", source_type="local", source="{}", tags={"mlflow.data.context": "training"}
)


def point(value: float, *, key: str = "loss", step: int = 0, at: int = 0) -> Point:
    return Point(key=key, value=value, timestamp_ms=at, step=step)


def found(tracking: Tracking, text: str = "", **how: object) -> list[str]:
    return [run.name for run in tracking.search_runs([0], filter=text, **how).runs]  # type: ignore[arg-type]


# ---------------------------------------------------------------- experiments


def test_experiment_0_is_there_from_the_start(tracking: Tracking) -> None:
    default = tracking.experiment(0)
    assert (default.name, default.artifact_location) == ("Default", "mlflow-artifacts:/0")
    assert default.lifecycle_stage == "active"


def test_an_experiment_is_made_and_read_by_number_and_name(tracking: Tracking, clock: Clock) -> None:
    before = clock.now_ms
    made = tracking.create_experiment("flights", tags={"team": "red"})
    assert made == tracking.experiment(made.id) == tracking.experiment_named("flights")
    assert made.artifact_location == f"mlflow-artifacts:/{made.id}"
    assert made.created_at_ms == made.updated_at_ms > before
    assert made.tags == {"team": "red"}
    assert tracking.create_experiment("far", artifact_location="s3://bucket/x").artifact_location == "s3://bucket/x"


def test_an_absent_experiment_is_told_with_the_nearest_name(tracking: Tracking) -> None:
    tracking.create_experiment("flights")
    with pytest.raises(NotFound) as told:
        tracking.experiment_named("flihgts")
    assert "'flights'" in told.value.hint
    with pytest.raises(NotFound, match="No Experiment with id=77"):
        tracking.experiment(77)


@pytest.mark.parametrize("name", ["", "n" * 501])
def test_a_name_no_experiment_may_have_is_refused(tracking: Tracking, name: str) -> None:
    with pytest.raises(Invalid):
        tracking.create_experiment(name)
    with pytest.raises(Invalid):
        tracking.rename_experiment(0, name)


def test_a_name_is_taken_by_deleted_experiments_too(tracking: Tracking) -> None:
    made = tracking.create_experiment("flights")
    with pytest.raises(AlreadyExists, match="already exists"):
        tracking.create_experiment("flights")
    tracking.delete_experiment(made.id)
    with pytest.raises(AlreadyExists, match="already exists in deleted state"):
        tracking.create_experiment("flights")
    with pytest.raises(AlreadyExists):
        tracking.rename_experiment(0, "flights")


def test_an_experiment_is_renamed(tracking: Tracking) -> None:
    made = tracking.create_experiment("flights")
    tracking.rename_experiment(made.id, "planes")
    tracking.rename_experiment(made.id, "planes")
    renamed = tracking.experiment_named("planes")
    assert renamed.id == made.id
    assert renamed.updated_at_ms > made.updated_at_ms


def test_a_deleted_experiment_takes_its_runs_with_it_and_brings_them_back(tracking: Tracking) -> None:
    made = tracking.create_experiment("flights")
    run = tracking.create_run(made.id)
    tracking.delete_experiment(made.id)
    assert tracking.experiment(made.id).lifecycle_stage == "deleted"
    assert tracking.run(run.id).lifecycle_stage == "deleted"
    for change in (
        lambda: tracking.create_run(made.id),
        lambda: tracking.rename_experiment(made.id, "x"),
        lambda: tracking.set_experiment_tag(made.id, "a", "b"),
        lambda: tracking.log_batch(run.id, metrics=[point(1.0)]),
    ):
        with pytest.raises(Invalid, match="must be in the 'active' state"):
            change()
    with pytest.raises(NotFound):
        tracking.delete_experiment(made.id)
    tracking.restore_experiment(made.id)
    assert tracking.experiment(made.id).lifecycle_stage == tracking.run(run.id).lifecycle_stage == "active"
    with pytest.raises(NotFound):
        tracking.restore_experiment(made.id)


def test_an_experiment_s_tags_are_set_and_deleted(tracking: Tracking) -> None:
    tracking.set_experiment_tag(0, "a", "1")
    tracking.set_experiment_tag(0, "a", "2")
    assert tracking.experiment(0).tags == {"a": "2"}
    tracking.delete_experiment_tag(0, "a")
    assert tracking.experiment(0).tags == {}
    with pytest.raises(NotFound, match="No tag with name: a"):
        tracking.delete_experiment_tag(0, "a")
    with pytest.raises(Invalid):
        tracking.set_experiment_tag(0, "a", "v" * 20_001)


def test_experiments_are_found_newest_first_by_lifecycle(tracking: Tracking) -> None:
    for name in ("a", "b"):
        tracking.create_experiment(name)
    tracking.delete_experiment(tracking.experiment_named("a").id)
    names = {
        view: [each.name for each in tracking.search_experiments(view=view).experiments]
        for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")
    }
    assert names == {"ACTIVE_ONLY": ["b", "Default"], "DELETED_ONLY": ["a"], "ALL": ["b", "a", "Default"]}
    assert [each.name for each in tracking.search_experiments(filter="name = 'b'").experiments] == ["b"]


# ---------------------------------------------------------------- one run


def test_a_new_run_is_running_and_its_files_lie_below_its_experiment(tracking: Tracking) -> None:
    run = tracking.create_run(0, name="first", user_id="ada", start_time_ms=5, tags=[("a", "b")])
    assert run == tracking.run(run.id)
    assert (run.name, run.user_id, run.status, run.start_time_ms, run.end_time_ms) == (
        "first",
        "ada",
        "RUNNING",
        5,
        None,
    )
    assert run.artifact_uri == f"mlflow-artifacts:/0/{run.id}/artifacts"
    assert run.tags == {"a": "b", NAME_TAG: "first"}
    assert len(run.id) == 32


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("n", [], "n"),
        ("", [(NAME_TAG, "n")], "n"),
        ("n", [(NAME_TAG, "n")], "n"),
        ("", [], None),
        ("", [(NAME_TAG, "")], None),
    ],
)
def test_a_run_s_name_and_its_name_tag_are_one(
    tracking: Tracking, name: str, tags: list[tuple[str, str]], expected: str | None
) -> None:
    run = tracking.create_run(0, name=name, tags=tags)
    assert run.name == run.tags[NAME_TAG]
    assert run.name == expected if expected else run.name


def test_two_names_for_one_run_are_refused(tracking: Tracking) -> None:
    with pytest.raises(Invalid, match=r"'a'.*'b'"):
        tracking.create_run(0, name="a", tags=[(NAME_TAG, "b")])


def test_a_run_is_renamed_by_name_and_by_tag(tracking: Tracking) -> None:
    run = tracking.create_run(0, name="a")
    tracking.update_run(run.id, name="b")
    assert tracking.run(run.id).tags[NAME_TAG] == "b"
    tracking.log_batch(run.id, tags=[(NAME_TAG, "c")])
    assert tracking.run(run.id).name == "c"


def test_what_is_not_said_of_a_run_stays(tracking: Tracking) -> None:
    run = tracking.create_run(0, name="a", start_time_ms=1)
    ended = tracking.update_run(run.id, status="FINISHED", end_time_ms=9)
    assert (ended.status, ended.end_time_ms, ended.name, ended.start_time_ms) == ("FINISHED", 9, "a", 1)
    assert tracking.update_run(run.id) == ended
    with pytest.raises(Invalid, match="'DONE' is unknown"):
        tracking.update_run(run.id, status="DONE")  # type: ignore[arg-type]


def test_a_finished_run_may_be_logged_on_and_a_deleted_one_not(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    tracking.update_run(run.id, status="FINISHED")
    tracking.log_batch(run.id, params=[("a", "b")])
    tracking.delete_run(run.id)
    changes: list[Callable[[], object]] = [
        lambda: tracking.log_batch(run.id, params=[("c", "d")]),
        lambda: tracking.update_run(run.id, status="FAILED"),
        lambda: tracking.delete_tag(run.id, NAME_TAG),
        lambda: tracking.log_inputs(run.id, datasets=[JUNE]),
        lambda: tracking.log_outputs(run.id, [ModelOutput(model_id="m")]),
        lambda: tracking.append_model(run.id, {}),
    ]
    for change in changes:
        with pytest.raises(Invalid, match=f"The run {run.id} must be in the 'active' state"):
            change()
    tracking.restore_run(run.id)
    assert tracking.run(run.id).params == {"a": "b"}


def test_what_is_asked_of_an_absent_run_is_not_found(tracking: Tracking) -> None:
    asks: list[Callable[[], object]] = [
        lambda: tracking.run("gone"),
        lambda: tracking.update_run("gone"),
        lambda: tracking.delete_run("gone"),
        lambda: tracking.restore_run("gone"),
        lambda: tracking.log_batch("gone"),
        lambda: tracking.history("gone", "loss"),
    ]
    for ask in asks:
        with pytest.raises(NotFound, match="Run with id=gone not found"):
            ask()


# ---------------------------------------------------------------- logging


def test_a_batch_is_all_or_nothing(tracking: Tracking) -> None:
    run = tracking.create_run(0, name="a")
    tracking.log_batch(run.id, metrics=[point(0.5)], params=[("p", "1")], tags=[("t", "x")])
    before = tracking.run(run.id)
    assert (before.metrics, before.params) == ((point(0.5),), {"p": "1"})
    assert before.tags == {NAME_TAG: "a", "t": "x"}
    with pytest.raises(Invalid, match="Changing param values is not allowed"):
        tracking.log_batch(run.id, metrics=[point(9.0, step=1)], params=[("q", "1"), ("p", "2")], tags=[("t", "y")])
    assert tracking.run(run.id) == before


def test_a_batch_sent_twice_is_stored_once(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    for _ in range(2):
        tracking.log_batch(
            run.id, metrics=[point(0.5), point(math.nan, key="n")], params=[("p", "1")], tags=[("t", "x")]
        )
    assert len(tracking.history(run.id, "loss").points) == len(tracking.history(run.id, "n").points) == 1
    assert tracking.run(run.id).params == {"p": "1"}


def test_a_tag_is_deleted_once(tracking: Tracking) -> None:
    run = tracking.create_run(0, tags=[("t", "x")])
    tracking.delete_tag(run.id, "t")
    with pytest.raises(NotFound, match="No tag with name: t"):
        tracking.delete_tag(run.id, "t")
    assert "t" not in tracking.run(run.id).tags


def test_an_experiment_holds_a_dataset_once_whatever_runs_use_it(tracking: Tracking, db: Database) -> None:
    first, second = tracking.create_run(0), tracking.create_run(0)
    for run in (first, second, first):
        tracking.log_inputs(run.id, datasets=[JUNE])
    other = tracking.create_run(tracking.create_experiment("other").id)
    tracking.log_inputs(other.id, datasets=[JUNE])
    assert tracking.run(first.id).datasets == tracking.run(other.id).datasets == (JUNE,)
    assert db.read("select count(*) as n from run_dataset") == [{"n": 2}]


def test_models_used_and_made_are_kept_apart(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    for _ in range(2):
        tracking.log_inputs(run.id, models=["m-1"])
        tracking.log_outputs(run.id, [ModelOutput(model_id="m-2", step=3), ModelOutput(model_id="m-3")])
    kept = tracking.run(run.id)
    assert kept.model_inputs == ("m-1",)
    assert kept.model_outputs == (ModelOutput(model_id="m-3"), ModelOutput(model_id="m-2", step=3))


def test_descriptions_of_models_gather_in_a_tag(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    for flavor in ("sklearn", "lightgbm"):
        tracking.append_model(run.id, {"flavors": {flavor: {}}})
    history = json.loads(tracking.run(run.id).tags[LOGGED_MODELS_TAG])
    assert [list(each["flavors"]) for each in history] == [["sklearn"], ["lightgbm"]]


# ---------------------------------------------------------------- searching


def test_the_run_begun_last_comes_first_and_ties_are_settled(tracking: Tracking) -> None:
    made = [
        tracking.create_run(0, name=name, start_time_ms=at) for name, at in (("a", 1), ("b", 3), ("c", None), ("d", 3))
    ]
    tied = sorted((run for run in made if run.start_time_ms == 3), key=lambda run: run.id)
    assert found(tracking) == [*(run.name for run in tied), "a", "c"]


def test_runs_are_searched_by_what_was_logged_and_by_lifecycle(tracking: Tracking) -> None:
    for name, loss in (("a", 0.1), ("b", 0.2), ("c", math.nan)):
        run = tracking.create_run(0, name=name)
        tracking.log_batch(run.id, metrics=[point(9.0), point(loss, step=1)], params=[("model", name)])
    tracking.log_inputs(run.id, datasets=[JUNE])
    tracking.create_run(0, name="bare")
    tracking.delete_run(tracking.search_runs([0], filter="params.model = 'a'").runs[0].id)
    by_name = {"order_by": ["attributes.run_name ASC"]}
    assert found(tracking, "metrics.loss < 1", **by_name) == ["b"]
    assert found(tracking, "metrics.loss < 1", view="ALL", **by_name) == ["a", "b"]
    assert found(tracking, "metrics.loss != 7", **by_name) == ["b", "c"]
    assert found(tracking, "params.model != 'b'", **by_name) == ["c"]
    assert found(tracking, "dataset.context = 'training'") == ["c"]
    assert found(tracking, view="DELETED_ONLY") == ["a"]
    assert found(tracking, order_by=["metrics.loss DESC"]) == ["b", "c", "bare"]


def test_pages_of_runs_do_not_shift_while_runs_are_added(tracking: Tracking) -> None:
    for number in range(5):
        run = tracking.create_run(0, name=f"n{number}", start_time_ms=number)
        tracking.log_batch(run.id, metrics=[point(number)])
    seen: list[Run] = []
    token = ""
    while len(seen) < 10:
        page = tracking.search_runs([0], order_by=["metrics.loss DESC"], max_results=2, page_token=token)
        seen += page.runs
        token = page.next_page_token
        if not token:
            break
        late = tracking.create_run(0, name="late")
        tracking.log_batch(late.id, metrics=[point(100.0)])
    assert [run.name for run in seen] == ["n4", "n3", "n2", "n1", "n0"]


# ---------------------------------------------------------------- histories


def test_a_history_comes_in_pages_by_time_step_and_value(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    points = [point(float(value), step=step, at=at) for at in (3, 1, 2) for step in (2, 1) for value in (1, 0)]
    random.Random(3).shuffle(points)
    tracking.log_batch(run.id, metrics=points)
    wanted = sorted(points, key=lambda each: (each.timestamp_ms, each.step, each.value))
    seen: list[Point] = []
    after = None
    for _ in range(4):
        page = tracking.history(run.id, "loss", limit=5, after=after)
        seen += page.points
        after = page.after
        if after is None:
            break
    assert seen == wanted
    assert tracking.history(run.id, "never logged").points == ()


def test_sampled_histories_keep_the_ends_of_each_run_and_pass_over_absent_ones(tracking: Tracking) -> None:
    long, short = tracking.create_run(0), tracking.create_run(0)
    tracking.log_batch(long.id, metrics=[point(0.0, step=step) for step in range(1000)])
    tracking.log_batch(short.id, metrics=[point(0.0, step=step) for step in range(3, 10)])
    sampled = tracking.sampled_history([long.id, "gone", short.id], "loss", amount=10)
    steps = {run.id: [each.point.step for each in sampled if each.run_id == run.id] for run in (long, short)}
    assert steps[long.id] == [0, 100, 200, 300, 400, 500, 600, 700, 800, 999]
    assert steps[short.id] == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("amount", [1, 2, 3, 7, 12, 13])
def test_many_points_at_one_step_are_sampled_like_points_at_many(tracking: Tracking, amount: int) -> None:
    spread, heaped = tracking.create_run(0), tracking.create_run(0)
    tracking.log_batch(spread.id, metrics=[point(float(at), step=at) for at in range(12)])
    heaped_points = [Point(key="loss", value=float(at), timestamp_ms=at, step=at // 5) for at in range(12)]
    tracking.log_batch(heaped.id, metrics=heaped_points)
    values = {
        run.id: [each.point.value for each in tracking.sampled_history([run.id], "loss", amount=amount)]
        for run in (spread, heaped)
    }
    assert values[spread.id] == values[heaped.id]
    assert len(values[heaped.id]) == min(amount, 12)


def test_a_sampled_history_is_narrowed_to_steps_and_sees_new_points(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    tracking.log_batch(run.id, metrics=[point(0.0, step=step) for step in range(10)])

    def steps(**how: int) -> list[int]:
        return [each.point.step for each in tracking.sampled_history([run.id], "loss", **how)]

    assert steps(start=3, end=5) == [3, 4, 5]
    tracking.log_batch(run.id, metrics=[point(0.0, step=10)])
    assert steps() == list(range(11))
    assert steps(start=100, end=200) == []
    for half in ({"start": 3}, {"end": 3}, {"start": 4, "end": 3}):
        with pytest.raises(Invalid, match="no interval"):
            steps(**half)
    assert tracking.sampled_history([run.id], "never logged") == []


@pytest.mark.parametrize(("runs", "amount"), [(0, 1), (SAMPLED_RUNS + 1, 1), (1, 0), (1, 25_001)])
def test_too_much_at_once_is_refused(tracking: Tracking, runs: int, amount: int) -> None:
    with pytest.raises(Invalid, match="asked for"):
        tracking.sampled_history(["r"] * runs, "loss", amount=amount)
