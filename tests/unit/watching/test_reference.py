"""References: what their columns are taken for, the baseline and the figure that come of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from mlspine.core.errors import Invalid, MlspineError
from mlspine.registry.prepare import Prepared
from mlspine.watching import reference
from mlspine.watching.names import Names, settle
from mlspine.watching.reference import Told, prepare_watched, read_importance
from tests.unit.watching.desk import answered


def prepared(folder: Path, rows: pd.DataFrame, **told: Any) -> Prepared:
    rows.to_parquet(folder / "train.parquet")
    return prepare_watched("train.parquet", Told(**told), name="m", root=folder, releases_dir=folder / "releases")


def test_the_figure_is_that_of_the_rows_themselves(tmp_path: Path) -> None:
    rows = answered(1200)
    made = prepared(tmp_path, rows)
    assert made.metric.interval is not None
    assert made.metric.rows_from == "reference"
    assert abs(made.metric.interval.value - roc_auc_score(rows["label"], rows["score"])) < 1e-12
    assert made.captured["names"] == {"prediction": "prediction", "score": "score", "time": "ts", "label": "label"}
    assert (made.captured["task"], made.captured["classes"]) == ("binary", [0, 1])


def test_a_holdout_is_what_the_figure_and_the_outputs_stand_on(tmp_path: Path) -> None:
    unseen = answered(900, seed=3)
    unseen.to_csv(tmp_path / "unseen.csv", index=False)
    rows = answered(1200).drop(columns=["score", "prediction"])
    made = prepared(tmp_path, rows, holdout="unseen.csv")
    assert (made.metric.rows_from, made.metric.rows) == ("holdout", 900)
    assert made.metric.interval is not None
    assert abs(made.metric.interval.value - roc_auc_score(unseen["label"], unseen["score"])) < 1e-9


@pytest.mark.parametrize(
    ("change", "task", "classes"),
    [
        ({"prediction": lambda d: d["amount"] * 1.5, "label": lambda d: d["amount"]}, "regression", []),
        ({"prediction": lambda d: d["age"] % 4, "label": lambda d: d["age"] % 4}, "multiclass", [0, 1, 2, 3]),
        (
            {"prediction": lambda d: d["label"].map({0: "no", 1: "yes"}), "label": lambda d: "no"},
            "binary",
            ["no", "yes"],
        ),
    ],
)
def test_what_kind_of_answer_it_is_shows_in_labels_and_predictions(
    tmp_path: Path, change: dict[str, Any], task: str, classes: list[Any]
) -> None:
    rows = answered(600).assign(**change).drop(columns="score")
    made = prepared(tmp_path, rows)
    assert (made.captured["task"], made.captured["classes"]) == (task, classes)
    if task == "regression":
        assert made.metric.interval is not None
        assert abs(made.metric.interval.value - mean_absolute_error(rows["label"], rows["prediction"])) < 1e-9


def test_of_very_many_rows_an_even_sample_is_taken_and_all_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "MOST_ROWS", 500)
    monkeypatch.setattr(reference, "CHUNK_ROWS", 300)
    made = prepared(tmp_path, answered(1200))
    assert (made.dataset.rows, made.captured["baseline"]["rows"]) == (1200, 500)
    assert made.captured["baseline"]["sampled"] is True


@pytest.mark.parametrize(
    ("rows", "told", "says"),
    [
        (answered(9), {"names": Names(score="scor")}, "did you mean score"),
        (answered(9).assign(timestamp=1), {}, "could both be the time"),
        (answered(9), {"names": Names(score="prediction", prediction="prediction")}, "prediction cannot be prediction"),
        (answered(9), {"ignore": ("contry",)}, "no such column"),
        (answered(9)[["ts", "score"]], {}, "no column that is a feature"),
        (answered(9)[:0], {}, "has no rows"),
        (answered(9), {"importance": {"income": 1.0}}, "no feature"),
        (answered(90).assign(label=lambda d: d["age"]), {"task": "binary"}, "binary model with"),
        (answered(9).assign(score="high"), {}, "no output that can be read"),
        (answered(9).assign(ts="soon"), {}, "have no time"),
        (answered(9).assign(_score=1), {}, "column of the log"),
        (answered(9), {"holdout": "nowhere.csv"}, "no file"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    tmp_path: Path, rows: pd.DataFrame, told: dict[str, Any], says: str
) -> None:
    with pytest.raises(MlspineError) as refused:
        prepared(tmp_path, rows, **told)
    assert says in " ".join([refused.value.message, refused.value.hint or "", *refused.value.details])
    assert not list((tmp_path / "releases").glob("*"))


def test_names_are_guessed_only_where_one_column_can_be_meant() -> None:
    columns = ("age", "proba", "inferenceTime", "request_id", "outcome")
    told = settle(columns, Names(), what="log")
    assert told.given == {"score": "proba", "time": "inferenceTime", "id": "request_id", "label": "outcome"}
    assert settle(columns, Names(time="-"), features=("proba",), what="log").given == {
        "id": "request_id",
        "label": "outcome",
    }
    with pytest.raises(Invalid, match="not clear"):
        settle((*columns, "score"), Names(), what="log")


def test_weights_are_read_from_json(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text('{"age": 0.4}')
    assert read_importance(tmp_path / "w.json") == {"age": 0.4}
    (tmp_path / "w.json").write_text('{"age": "much"}')
    with pytest.raises(Invalid, match="no table of weights"):
        read_importance(tmp_path / "w.json")
