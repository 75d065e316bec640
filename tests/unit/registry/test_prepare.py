"""From a fitted model and its rows to a release on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlspine.core.columns import to_columns
from mlspine.core.errors import Invalid
from mlspine.registry.baseline import read_baseline
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.release import load_predictor, read_recorded, read_release
from tests.unit.registry.conftest import World, people, pipeline, shipped

X, Y = people()
NUMERIC = X[["charge", "visits"]].astype("float64")
MODEL = pipeline().fit(X, Y)
SMALL = LogisticRegression().fit(NUMERIC, Y)
TIMES = np.datetime64("2024-01-01") + np.arange(400).astype("timedelta64[D]")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    """One ship of everything, looked at by several tests: the folder of releases and what was prepared."""
    releases = tmp_path_factory.mktemp("releases")
    return releases, prepare(MODEL, X, Y, name="churn", releases_dir=releases)


def _answers(releases_dir: Path, prepared: Prepared, rows: Any) -> list[Any]:
    path = releases_dir / prepared.release_hash
    release = read_release(path)
    columns, _ = to_columns(rows)
    answers: list[Any] = load_predictor(path, release)(columns).prediction.tolist()
    return answers


def test_a_pipeline_on_a_real_frame_becomes_a_release_that_answers_like_it(
    first: tuple[Path, Prepared],
) -> None:
    releases, prepared = first
    assert _answers(releases, prepared, X) == MODEL.predict(X).tolist()
    release = read_release(releases / prepared.release_hash)
    assert release.signature.classes == ("left", "stayed")
    assert release.signature.target == "outcome"
    assert prepared.metric.rows_from == "out-of-fold"
    assert {"scikit-learn", "numpy", "pandas", "python"} <= set(release.environment)
    assert "lightgbm" not in release.environment
    assert msgspec.json.decode(msgspec.json.encode(prepared), type=Prepared) == prepared


def test_recorded_rows_are_reproduced_exactly(first: tuple[Path, Prepared]) -> None:
    path = first[0] / first[1].release_hash
    release = read_release(path)
    rows, outputs = read_recorded(path, release)
    again = load_predictor(path, release)(rows)
    assert len(outputs.prediction) == 100
    np.testing.assert_array_equal(again.prediction, outputs.prediction)
    np.testing.assert_array_equal(again.probabilities, outputs.probabilities)  # type: ignore[arg-type]


def test_the_same_ship_has_the_same_hash_and_other_content_another(world: World) -> None:
    def release(model: Any = SMALL, rows: int = 400, **more: Any) -> str:
        return shipped(world, model, NUMERIC[:rows], Y[:rows], **more).release_hash

    first = release()
    assert release(owner="else@example.org", message="again", labels="truth.csv", tier="high") == first
    others = [
        release(time=TIMES),
        release(rows=399),
        release(transform=lambda rows: rows * 1.0),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize("container", ["polars", "arrow", "numpy", "frame of integers", "records"])
def test_the_caller_s_container_is_what_the_model_gets(world: World, container: str) -> None:
    seen: list[str] = []

    class Watch:
        def predict(self, rows: Any) -> Any:
            seen.append(type(rows).__module__.partition(".")[0])
            return [1.5] * len(rows)

    rows: Any = {
        "polars": pl.from_pandas(NUMERIC),
        "arrow": pa.Table.from_pandas(NUMERIC, preserve_index=False),
        "numpy": NUMERIC.to_numpy(),
        "frame of integers": NUMERIC.set_axis([0, 1], axis=1),
        "records": NUMERIC.to_dict("records"),
    }[container]
    prepared = shipped(world, Watch(), rows)
    kinds = {"frame of integers": "pandas", "arrow": "pyarrow", "records": "builtins"}
    assert set(seen) == {kinds.get(container, container)}
    assert prepared.flavor == "python"


def test_texts_alone_are_a_table_too(world: World) -> None:
    texts = ["good and kind", "bad and mean"] * 30
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 30)
    prepared = shipped(world, model, texts, [1, 0] * 30)
    assert prepared.metric.name == "auc"


def test_raw_rows_go_through_the_transform(world: World) -> None:
    scaler = StandardScaler().fit(NUMERIC)
    model = LogisticRegression().fit(scaler.transform(NUMERIC), Y)
    prepared = shipped(world, model, NUMERIC, Y, transform=scaler.transform)
    assert _answers(world.releases_dir, prepared, NUMERIC) == model.predict(scaler.transform(NUMERIC)).tolist()
    assert prepared.captured["questions"] == []
    path = world.releases_dir / prepared.release_hash
    release = read_release(path)
    with pytest.raises(Invalid, match="takes raw rows"):
        load_predictor(path, release, form="matrix")


def test_a_scaler_left_in_the_notebook_is_asked_about(world: World) -> None:
    scaled = StandardScaler().fit_transform(NUMERIC)
    prepared = shipped(world, LogisticRegression().fit(scaled, Y), scaled, Y)
    assert "was a scaler applied" in prepared.captured["questions"][0]


# ---------------------------------------------------------------- refused


def test_an_answer_that_depends_on_the_batch_is_refused(world: World) -> None:
    model = LinearRegression().fit(NUMERIC, NUMERIC["charge"])
    with pytest.raises(Invalid, match="depends on the rows sent with it"):
        shipped(world, model, NUMERIC, NUMERIC["charge"], transform=lambda rows: rows - rows.mean())
    by_city = LogisticRegression().fit(pd.get_dummies(X["city"]).astype(float), Y)
    with pytest.raises(Invalid, match="but not one of its rows alone"):
        shipped(world, by_city, X[["city"]], Y, transform=lambda rows: pd.get_dummies(rows["city"]))


def test_a_random_answer_is_refused(world: World) -> None:
    class Dice:
        def predict(self, rows: Any) -> Any:
            return np.random.default_rng().random(len(rows))

    with pytest.raises(Invalid, match="or on chance"):
        shipped(world, Dice(), NUMERIC)


def test_a_transform_that_drops_rows_is_refused(world: World) -> None:
    model = LinearRegression().fit(NUMERIC, NUMERIC["charge"])
    with pytest.raises(Invalid, match="the transform makes 200 rows of 400"):
        shipped(world, model, NUMERIC, transform=lambda rows: rows[::2])
    with pytest.raises(Invalid, match="the transform fails on X: KeyError"):
        shipped(world, model, NUMERIC, transform=lambda rows: rows["absent"])


def test_what_cannot_be_pickled_is_refused(world: World) -> None:
    class Holds:
        def __init__(self) -> None:
            self.rows = (row for row in [1])

        def predict(self, rows: Any) -> Any:
            return [1.5] * len(rows)

    with pytest.raises(Invalid, match="the model cannot be stored: TypeError"):
        shipped(world, Holds(), NUMERIC)


def test_a_model_that_changes_when_pickled_is_refused(world: World) -> None:
    class Forgets:
        value = 1.5

        def predict(self, rows: Any) -> Any:
            return [self.value] * len(rows)

        def __getstate__(self) -> dict[str, Any]:
            return {"value": 9.5}

    with pytest.raises(Invalid, match="answers 100 of 100 rows differently"):
        shipped(world, Forgets(), NUMERIC)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"y": Y[:-1]}, "y has 399 labels for 400 rows"),
        ({"y": Y.where(Y.index > 1)}, "2 of 400 labels are null"),
        ({"y": "outcome"}, "y is the text 'outcome'"),
        ({"y": X[["charge", "visits"]]}, "y has 2 columns"),
        ({"time": "joind"}, "time='joind' is no column of X"),
        ({"time": np.arange(3)}, "time has 3 values for 400 rows"),
        ({"time": "charge"}, "time holds float64"),
        ({"time": X["joined"].where(X.index > 1)}, "time has 2 nulls"),
        ({"holdout": X}, "holdout is not a pair"),
        ({"holdout": (X, None)}, "the holdout has no labels"),
        ({"holdout": (X[:100], Y[:100])}, "100 of 100 holdout rows are among the rows"),
        ({"holdout": (X[["city"]], Y)}, "columns are missing"),
        ({"tier": "highest"}, "tier 'highest' is none of"),
        ({"name": "a b"}, "model name 'a b' cannot be used"),
        ({"name": "metrics"}, "reserved for a route"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_written(
    world: World, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(Invalid) as caught:
        shipped(world, MODEL, X, **{"y": Y, **more})
    assert said in str(caught.value)
    assert not world.releases_dir.exists()


def test_columns_of_the_log_and_names_sql_cannot_tell_apart_are_refused(world: World) -> None:
    frame = NUMERIC.assign(_Score=1.0, Charge=2.0)
    model = LinearRegression().fit(frame, NUMERIC["charge"])
    with pytest.raises(Invalid) as caught:
        shipped(world, model, frame)
    assert len(caught.value.details) == 2


def test_an_empty_table_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="X has no rows"):
        shipped(world, MODEL, X[:0], Y[:0])


# ---------------------------------------------------------------- honest figures


def test_an_overfit_forest_without_holdout_claims_nothing_and_compares_unseen_scores(world: World) -> None:
    rng = np.random.default_rng(3)
    noise = rng.choice(["a", "b"], 400)
    frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("xyz"))
    model = RandomForestClassifier(20, random_state=0).fit(frame, noise)
    prepared = shipped(world, model, frame, noise)
    assert prepared.metric.interval is not None
    assert prepared.metric.interval.lo < 0.5
    path = world.releases_dir / prepared.release_hash
    baseline = read_baseline(path, read_release(path))
    assert baseline.outputs_from == "out-of-fold"
    assert baseline.outputs is not None
    fitted_scores = model.predict_proba(frame)[:, 1]
    assert np.abs(fitted_scores - 0.5).mean() > 0.25  # what in-sample scores would have made of it
    (at,) = baseline.outputs.parts_of("score")
    tally = baseline.outputs.profile.parts[at]
    assert abs(tally.mean - 0.5) < 0.05
    assert np.sqrt(tally.m2 / 400) < 0.7 * fitted_scores.std()


def test_a_holdout_is_what_figure_and_scores_stand_on(world: World) -> None:
    unseen, labels = people(300, seed=9)
    prepared = shipped(world, SMALL, NUMERIC, Y, holdout=(unseen, labels))
    assert (prepared.metric.rows_from, prepared.metric.rows) == ("holdout", 300)
    assert prepared.captured["baseline"]["outputs_from"] == "holdout"


def test_without_labels_nothing_is_claimed(world: World) -> None:
    prepared = shipped(world, SMALL, NUMERIC)
    assert (prepared.metric.status, prepared.metric.reason) == ("NOT_ESTIMABLE", "no labels were given")
    path = world.releases_dir / prepared.release_hash
    assert read_baseline(path, read_release(path)).outputs_from == "LEARNING"
    assert any(gap.startswith("quality: auc is not estimable") for gap in prepared.missing)


def test_a_booster_without_holdout_is_not_estimable_and_with_one_it_is(world: World) -> None:
    labels = (Y == "left").astype(int)
    booster = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(NUMERIC, labels), 5)
    assert "cannot be cloned" in shipped(world, booster, NUMERIC, labels).metric.reason
    unseen, outcome = people(300, seed=9)
    held = (unseen[["charge", "visits"]].astype("float64"), (outcome == "left").astype(int))
    assert shipped(world, booster, NUMERIC, labels, holdout=held).metric.status == "ESTIMATED"


# ---------------------------------------------------------------- time and key


def test_a_time_column_the_model_does_not_use_is_logged_and_not_asked_for(world: World) -> None:
    frame = NUMERIC.assign(when=X["joined"], who=np.arange(400))
    prepared = shipped(world, SMALL, frame, Y, time="when", key="who")
    release = read_release(world.releases_dir / prepared.release_hash)
    assert release.signature.inputs.names == ("charge", "visits")
    assert (release.settings["time"], release.settings["key"]) == ("when", "who")
    assert prepared.captured["columns"] == ["charge", "visits", "when", "who"]
    assert prepared.metric.rows < 400  # the first block of time has no past


def test_a_time_column_the_model_uses_stays_an_input(world: World) -> None:
    release = read_release(world.releases_dir / shipped(world, MODEL, X, Y, time="joined").release_hash)
    assert "joined" in release.signature.inputs.names


def test_an_object_that_names_no_features_is_tried_without_the_column(world: World) -> None:
    class ByName:
        def predict(self, rows: Any) -> Any:
            return rows["charge"].to_numpy()

    frame = NUMERIC.assign(when=X["joined"])
    release = read_release(world.releases_dir / shipped(world, ByName(), frame, time="when").release_hash)
    assert release.signature.inputs.names == ("charge", "visits")
    release = read_release(world.releases_dir / shipped(world, ByName(), frame, key="charge").release_hash)
    assert release.signature.inputs.names == ("charge", "visits", "when")


def test_parallel_arrays_date_and_identify_rows(world: World) -> None:
    spellings = [
        TIMES,
        TIMES.astype("datetime64[ms]").astype(np.int64),
        [f"{each}T00:00:00Z" for each in TIMES],
    ]
    prepared = [shipped(world, SMALL, NUMERIC, Y, time=each, key=list(range(400))) for each in spellings]
    assert (prepared[0].captured["time"], prepared[0].captured["key"]) == ("an array", "an array")
    assert len({each.release_hash for each in prepared}) == 1


# ---------------------------------------------------------------- what was found, what is missing


def test_what_is_missing_is_listed_with_the_words_that_give_it(world: World, first: tuple[Path, Prepared]) -> None:
    _, bare = first
    for word in ("owner:", "seed:", "labels:", "source:", "time:"):
        assert any(gap.startswith(word) for gap in bare.missing), word
    full = shipped(world, SMALL, NUMERIC, Y, owner="a@example.org", labels="truth.csv", source="caller")
    assert not [gap for gap in full.missing if gap.startswith(("owner", "labels", "source"))]
    assert any(gap.startswith("code: not in a git repository") for gap in full.missing)
    assert (full.owner, full.owner_assumed) == ("a@example.org", False)


def test_an_example_and_the_schema_are_kept(first: tuple[Path, Prepared]) -> None:
    captured = first[1].captured
    assert set(captured["example"]) == set(X)
    assert None not in captured["example"].values()
    assert [each["name"] for each in captured["schema"]] == list(X)
    assert captured["importance"]["charge"] > 0.5
    assert captured["libraries"]["numpy"] == np.__version__
    assert "pytest" in captured["freeze"]


NOTEBOOK = """
import sys
from pathlib import Path
import numpy as np
from helper_of_mine import shift
from mlspine.registry.prepare import prepare

class Mean:
    def __init__(self, by):
        self.by = by
    def predict(self, rows):
        return shift(np.asarray(rows).sum(axis=1), self.by)

X = np.random.default_rng(0).normal(2, 3, size=(50, 2))
prepared = prepare(Mean(1.0), X, name="mean", releases_dir=Path(sys.argv[1]))
gaps = [gap for gap in prepared.missing if "module" in gap]
print(prepared.release_hash, prepared.captured["script"], gaps)
"""
ELSEWHERE = """
import sys
from pathlib import Path
from mlspine.registry.release import load_predictor, read_recorded, read_release
path = Path(sys.argv[1])
release = read_release(path)
rows, outputs = read_recorded(path, release)
assert (load_predictor(path, release)(rows).prediction == outputs.prediction).all()
assert "helper_of_mine" not in sys.modules
print(len(outputs.prediction))
"""


def test_classes_of_a_notebook_and_the_file_beside_it_travel_by_value(tmp_path: Path) -> None:
    desk, other = tmp_path / "desk", tmp_path / "other"
    desk.mkdir()
    other.mkdir()
    (desk / "helper_of_mine.py").write_text("def shift(values, by):\n    return values + by\n")
    (desk / "fit.py").write_text(NOTEBOOK)
    made = _run(["fit.py", str(tmp_path / "releases")], desk)
    release_hash, script, gaps = made.split(" ", 2)
    assert (script, gaps.strip()) == ("fit.py", "[]")
    assert _run(["-c", ELSEWHERE, str(tmp_path / "releases" / release_hash)], other).strip() == "50"


def _run(words: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
