"""Logged models: made, filled, finished, measured, found, deleted."""

from __future__ import annotations

import json
import math

import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.search import LOGGED_MODELS, DatasetFilter, sort_field
from mlspine.tracking.logged_model import VERSIONS_TAG, LoggedModel
from mlspine.tracking.models import NAME_LENGTH, LoggedModels
from mlspine.tracking.run import Point
from mlspine.tracking.service import Tracking
from tests.unit.tracking.conftest import Clock

ABSENT = "m-" + "0" * 32


def point(value: float, *, key: str = "auc", step: int = 0, at: int = 0) -> Point:
    return Point(key=key, value=value, timestamp_ms=at, step=step)


def values(model: LoggedModel, key: str = "auc") -> list[float]:
    return [each.point.value for each in model.metrics if each.point.key == key]


def found(models: LoggedModels, text: str = "", **how: object) -> list[str]:
    return [each.name for each in models.search([0], filter=text, **how).models]  # type: ignore[arg-type]


# ---------------------------------------------------------------- one model


def test_a_new_model_is_pending_and_its_files_lie_below_its_experiment(models: LoggedModels, clock: Clock) -> None:
    before = clock.now_ms
    made = models.create(
        0, name="tree", model_type="sklearn", source_run_id="r", params=[("depth", "3")], tags=[("team", "red")]
    )
    assert made == models.get(made.id)
    assert made.id.startswith("m-")
    assert len(made.id) == 34
    assert (made.name, made.status, made.model_type, made.source_run_id) == ("tree", "PENDING", "sklearn", "r")
    assert made.artifact_uri == f"mlflow-artifacts:/0/models/{made.id}/artifacts"
    assert made.created_at_ms == made.updated_at_ms > before
    assert (made.params, made.tags, made.metrics) == ({"depth": "3"}, {"team": "red"}, ())


def test_a_model_without_a_name_is_given_one(models: LoggedModels) -> None:
    assert models.create(0).name


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", "a'b", 'a"b', "n" * (NAME_LENGTH + 1)])
def test_a_name_that_cannot_be_is_refused(models: LoggedModels, name: str) -> None:
    with pytest.raises(Invalid):
        models.create(0, name=name)
    assert found(models) == []


def test_a_model_needs_an_active_experiment(models: LoggedModels, tracking: Tracking) -> None:
    with pytest.raises(NotFound, match="No Experiment with id=77"):
        models.create(77)
    experiment = tracking.create_experiment("gone").id
    tracking.delete_experiment(experiment)
    with pytest.raises(Invalid, match="must be in the 'active' state"):
        models.create(experiment)


def test_files_lie_where_the_experiment_says(models: LoggedModels, tracking: Tracking) -> None:
    experiment = tracking.create_experiment("far", artifact_location="s3://bucket/deep/").id
    made = models.create(experiment)
    assert made.artifact_uri == f"s3://bucket/deep/models/{made.id}/artifacts"


def test_what_is_asked_of_an_absent_model_is_not_found(models: LoggedModels) -> None:
    for ask in (
        lambda: models.get(ABSENT),
        lambda: models.finalize(ABSENT, "READY"),
        lambda: models.delete(ABSENT),
        lambda: models.log_params(ABSENT, [("a", "b")]),
        lambda: models.set_tags(ABSENT, [("a", "b")]),
        lambda: models.delete_tag(ABSENT, "a"),
        lambda: models.log_metrics(ABSENT, [point(1.0)], run_id="r"),
    ):
        with pytest.raises(NotFound, match=f"Logged model with ID '{ABSENT}' not found"):
            ask()


def test_to_finish_a_model_changes_its_status_and_the_time_of_its_change(models: LoggedModels) -> None:
    made = models.create(0)
    done = models.finalize(made.id, "READY")
    assert (done.status, done.created_at_ms) == ("READY", made.created_at_ms)
    assert done.updated_at_ms > made.updated_at_ms
    assert models.finalize(made.id, "UPLOAD_FAILED").status == "UPLOAD_FAILED"
    with pytest.raises(Invalid, match="'DONE' is unknown"):
        models.finalize(made.id, "DONE")  # type: ignore[arg-type]


def test_a_deleted_model_is_found_only_by_who_asks_for_deleted_ones(models: LoggedModels) -> None:
    made = models.create(0, name="tree", source_run_id="r")
    models.delete(made.id)
    models.delete(made.id)
    with pytest.raises(NotFound, match="not found"):
        models.get(made.id)
    assert models.get(made.id, deleted=True).name == "tree"
    assert found(models) == []
    assert models.of_run("r") == ()


def test_what_is_logged_on_a_deleted_model_is_stored(models: LoggedModels) -> None:
    made = models.create(0)
    models.delete(made.id)
    models.log_metrics(made.id, [point(0.5)], run_id="r")
    models.set_tags(made.id, [("a", "b")])
    models.log_params(made.id, [("c", "d")])
    assert models.finalize(made.id, "READY").status == "READY"
    kept = models.get(made.id, deleted=True)
    assert (values(kept), kept.tags, kept.params) == ([0.5], {"a": "b"}, {"c": "d"})


# ---------------------------------------------------------------- params and tags


def test_a_param_is_written_once(models: LoggedModels) -> None:
    made = models.create(0, params=[("a", "1")])
    models.log_params(made.id, [("a", "1"), ("b", "2")])
    with pytest.raises(Invalid, match="Changing param values is not allowed"):
        models.log_params(made.id, [("c", "3"), ("a", "2")])
    assert models.get(made.id).params == {"a": "1", "b": "2"}


def test_a_param_that_comes_twice_with_two_values_makes_no_model(models: LoggedModels) -> None:
    with pytest.raises(Invalid, match="Changing param values"):
        models.create(0, params=[("a", "1"), ("a", "2")])
    assert found(models) == []


def test_tags_are_set_again_and_deleted(models: LoggedModels) -> None:
    made = models.create(0, tags=[("a", "1"), ("odd key!", "")])
    models.set_tags(made.id, [("a", "2"), ("b", "3")])
    assert models.get(made.id).tags == {"a": "2", "b": "3", "odd key!": ""}
    models.delete_tag(made.id, "a")
    with pytest.raises(NotFound, match="No tag with key 'a'"):
        models.delete_tag(made.id, "a")
    assert models.get(made.id).tags == {"b": "3", "odd key!": ""}


@pytest.mark.parametrize("key", ["", "k" * 251])
def test_a_key_that_is_empty_or_too_long_is_refused(models: LoggedModels, key: str) -> None:
    made = models.create(0)
    with pytest.raises(Invalid, match="250 characters"):
        models.set_tags(made.id, [(key, "v")])
    with pytest.raises(Invalid, match="250 characters"):
        models.log_params(made.id, [(key, "v")])


def test_nobody_s_registered_version_is_lost_when_two_write_the_list(models: LoggedModels) -> None:
    made = models.create(0)
    models.set_tags(made.id, [(VERSIONS_TAG, '[{"name": "churn", "version": "1"}]')])
    models.set_tags(made.id, [(VERSIONS_TAG, '[{"name": "flights", "version": "4"}]')])
    models.set_tags(made.id, [(VERSIONS_TAG, '[{"name": "churn", "version": 1}, {"name": "churn", "version": 2}]')])
    listed = json.loads(models.get(made.id).tags[VERSIONS_TAG])
    assert [(each["name"], str(each["version"])) for each in listed] == [
        ("churn", "1"),
        ("flights", "4"),
        ("churn", "2"),
    ]


def test_a_list_of_versions_that_is_none_is_kept_as_it_is(models: LoggedModels) -> None:
    made = models.create(0, tags=[(VERSIONS_TAG, '[{"name": "churn", "version": "1"}]')])
    for text in ("no list", '{"name": "x"}', "[1, 2]"):
        models.set_tags(made.id, [(VERSIONS_TAG, text)])
        assert models.get(made.id).tags[VERSIONS_TAG] == text


# ---------------------------------------------------------------- points


def test_a_model_has_all_its_points_and_a_listed_one_the_latest(models: LoggedModels) -> None:
    made = models.create(0, source_run_id="r")
    models.log_metrics(made.id, [point(0.5, step=1), point(0.75, step=2), point(0.25, step=0)], run_id="r")
    assert values(models.get(made.id)) == [0.25, 0.5, 0.75]
    assert values(models.of_run("r")[0]) == [0.75]
    assert values(models.search([0]).models[0]) == [0.75]


def test_a_point_sent_twice_is_stored_once(models: LoggedModels) -> None:
    made = models.create(0)
    for _ in range(2):
        models.log_metrics(made.id, [point(0.5, step=1), point(math.nan, key="loss")], run_id="r")
    assert len(models.get(made.id).metrics) == 2


@pytest.mark.parametrize(
    ("points", "latest"),
    [
        ([point(9.0, step=1, at=5), point(1.0, step=2, at=1)], 1.0),
        ([point(1.0, step=2, at=1), point(9.0, step=1, at=5)], 1.0),
        ([point(1.0, at=5), point(9.0, at=1)], 1.0),
        ([point(1.0), point(2.0)], 2.0),
        ([point(2.0), point(1.0)], 2.0),
        ([point(math.nan), point(-1.0)], -1.0),
        ([point(-1.0), point(math.nan)], -1.0),
    ],
)
def test_the_latest_point_is_the_greatest_by_step_time_and_value(
    models: LoggedModels, points: list[Point], latest: float
) -> None:
    made = models.create(0, source_run_id="r")
    for each in points:
        models.log_metrics(made.id, [each], run_id="r")
    assert values(models.of_run("r")[0]) == [latest]


def test_each_dataset_has_a_latest_point_of_its_own_with_the_run_that_measured_it(models: LoggedModels) -> None:
    made = models.create(0, source_run_id="r")
    models.log_metrics(made.id, [point(0.5, step=9)], run_id="r")
    models.log_metrics(made.id, [point(0.6)], run_id="s", dataset=("june", "d1"))
    models.log_metrics(made.id, [point(0.7)], run_id="t", dataset=("june", "d2"))
    latest = models.of_run("r")[0].metrics
    listed = [(each.dataset_name, each.dataset_digest, each.run_id, each.point.value) for each in latest]
    assert listed == [("", "", "r", 0.5), ("june", "d1", "s", 0.6), ("june", "d2", "t", 0.7)]


def test_nan_comes_back_and_an_infinity_as_the_greatest_number(models: LoggedModels) -> None:
    made = models.create(0)
    models.log_metrics(made.id, [point(math.nan, key="n"), point(-math.inf, key="i")], run_id="r")
    kept = models.get(made.id)
    assert math.isnan(values(kept, "n")[0])
    assert values(kept, "i") == [-1.7976931348623157e308]


def test_a_bad_point_stores_none_of_those_that_came_with_it(models: LoggedModels) -> None:
    made = models.create(0)
    with pytest.raises(Invalid):
        models.log_metrics(made.id, [point(0.5), point(0.5, key="")], run_id="r")
    assert models.get(made.id).metrics == ()


# ---------------------------------------------------------------- searching


def test_the_model_made_last_comes_first(models: LoggedModels) -> None:
    for name in ("a", "b", "c"):
        models.create(0, name=name)
    assert found(models) == ["c", "b", "a"]


def test_models_are_searched_within_experiments(models: LoggedModels, tracking: Tracking) -> None:
    other = tracking.create_experiment("other").id
    models.create(0, name="here")
    models.create(other, name="there")
    assert found(models) == ["here"]
    assert [each.name for each in models.search([other, 0]).models] == ["there", "here"]
    assert models.search([]).models == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name = 'one'", ["one"]),
        ("status = 'READY'", ["one"]),
        ("model_type != 'sklearn'", ["two"]),
        ("params.depth = '3' AND tags.team = 'red'", ["one"]),
        ("metrics.auc > 0.92", ["two"]),
        ("metrics.auc < 0.5", []),
        ("metrics.auc != 7", ["four", "one", "two"]),
        ("source_run_id = 'r'", ["four", "one"]),
    ],
)
def test_a_filter_asks_for_what_models_have(models: LoggedModels, text: str, names: list[str]) -> None:
    fill(models)
    assert found(models, f"{text} AND name != 'bare'", order_by=["name ASC"]) == names


def test_datasets_narrow_which_points_count(models: LoggedModels) -> None:
    fill(models)
    on_june = [DatasetFilter(name="june")]
    assert found(models, "metrics.auc > 0.5", datasets=on_june, order_by=["name"]) == ["two"]
    assert found(models, datasets=on_june, order_by=["name"]) == ["one", "two"]
    assert found(models, datasets=[DatasetFilter(name="june", digest="other")]) == []


def test_an_order_by_a_metric_may_name_its_dataset(models: LoggedModels) -> None:
    fill(models)
    by_june = sort_field("metrics.auc", LOGGED_MODELS, ascending=True, dataset_name="june", dataset_digest="d1")
    assert found(models, order_by=[by_june, "name"]) == ["one", "two", "bare", "four"]
    assert found(models, order_by=["metrics.auc DESC", "name"]) == ["two", "one", "four", "bare"]


def test_pages_hold_every_model_once_while_models_are_added(models: LoggedModels) -> None:
    for number in range(5):
        models.create(0, name=f"n{number}")
    seen, token = [], ""
    while True:
        page = models.search([0], max_results=2, page_token=token)
        seen += [each.name for each in page.models]
        token = page.next_page_token
        if not token:
            break
        models.create(0, name="late")
    assert seen == ["n4", "n3", "n2", "n1", "n0"]


def test_a_page_may_end_with_an_infinite_metric(models: LoggedModels) -> None:
    for number in range(3):
        made = models.create(0, name=f"n{number}")
        models.log_metrics(made.id, [point(math.inf)], run_id="r")
    first = models.search([0], order_by=["metrics.auc DESC", "name"], max_results=1)
    rest = models.search([0], order_by=["metrics.auc DESC", "name"], page_token=first.next_page_token)
    assert [each.name for each in (*first.models, *rest.models)] == ["n0", "n1", "n2"]


def fill(models: LoggedModels) -> None:
    """one: auc 0.9, on june 0.3. two: only on june, 0.95. four: NaN. bare: nothing."""
    one = models.create(
        0, name="one", model_type="sklearn", source_run_id="r", params=[("depth", "3")], tags=[("team", "red")]
    )
    two = models.create(0, name="two", model_type="lightgbm", params=[("depth", "3")])
    four = models.create(0, name="four", model_type="sklearn", source_run_id="r")
    models.create(0, name="bare", model_type="sklearn")
    models.finalize(one.id, "READY")
    models.log_metrics(one.id, [point(0.9, at=9)], run_id="r")
    models.log_metrics(four.id, [point(math.nan, at=9)], run_id="r")
    models.log_metrics(one.id, [point(0.3, at=1)], run_id="r", dataset=("june", "d1"))
    models.log_metrics(two.id, [point(0.95, at=1)], run_id="r", dataset=("june", "d1"))
