"""The recipe a release carries, and fitting again by it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from mlspine.core.errors import Corrupt, Invalid, NotFound
from mlspine.registry.fitted_rows import input_digests, seen_rows
from mlspine.registry.recipe import Recipe, recipe_of, write_recipe
from mlspine.registry.refit import fit_again
from mlspine.registry.release import read_fitted_rows, read_release
from tests.unit.registry.conftest import World, people, pipeline, shipped

X, Y = people()
NUMERIC = X[["charge", "visits"]].astype("float64")
MORE, MORE_Y = people(500, seed=1)
LABELS = MORE_Y.to_numpy(dtype=object)

SCRIPT = """
    import os
    import duckdb, joblib
    from sklearn.tree import DecisionTreeClassifier

    rows = duckdb.read_parquet(os.environ["MLSPINE_DATA"]).df()
    target = os.environ["MLSPINE_TARGET"]
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows.drop(columns=target), rows[target])
    joblib.dump(model, os.environ["MLSPINE_MODEL"])
"""


def fit_forest(rows: Any, labels: Any) -> Any:
    return RandomForestClassifier(n_estimators=5).fit(rows, labels)


def renewed(world: World, model: Any, rows: Any, labels: Any, *, seed: int = 0, **more: Any) -> Any:
    """Ship, then fit again on other rows by the recipe of the release."""
    prepared = shipped(world, model, rows, Y[: len(rows)], **more)
    path = world.releases_dir / prepared.release_hash
    return fit_again(path, read_release(path), labels[0], labels[1], root=world.releases_dir.parent, seed=seed)


def recorded(world: World, model: Any = None, **more: Any) -> Recipe:
    prepared = shipped(world, model or pipeline().fit(X, Y), X, Y, **more)
    path = world.releases_dir / prepared.release_hash
    return recipe_of(path, read_release(path))


def test_by_default_the_estimator_is_cloned_and_fitted_again(world: World) -> None:
    model = renewed(world, pipeline().fit(X, Y), X, (MORE, LABELS))
    assert (model.predict(MORE) == pipeline().fit(MORE, MORE_Y).predict(MORE)).all()


def test_a_native_booster_is_boosted_again_with_its_parameters_and_rounds(world: World) -> None:
    labels = (Y == "left").astype(int)
    told = {"objective": "binary", "num_leaves": 4, "learning_rate": 0.3, "verbose": -1}
    booster = lgb.train(told, lgb.Dataset(NUMERIC, labels), num_boost_round=7)
    rows = MORE[["charge", "visits"]].astype("float64")
    numbers = (MORE_Y == "left").to_numpy().astype(np.int64)
    prepared = shipped(world, booster, NUMERIC, labels)
    path = world.releases_dir / prepared.release_hash
    again = fit_again(path, read_release(path), rows, numbers, root=path)
    expected = lgb.train(told, lgb.Dataset(rows, numbers), num_boost_round=7)
    assert again.num_trees() == 7
    np.testing.assert_allclose(again.predict(rows), expected.predict(rows))


def test_a_function_fits_again_while_its_author_is_away(world: World) -> None:
    rows = MORE[["charge", "visits"]].astype("float64")
    model = renewed(world, LogisticRegression().fit(NUMERIC, Y), NUMERIC, (rows, LABELS), recipe=fit_forest)
    assert isinstance(model, RandomForestClassifier)
    assert model.n_estimators == 5


def test_what_is_left_to_chance_follows_the_seed(world: World) -> None:
    rows = MORE[["charge", "visits"]].astype("float64")

    def shares(seed: int) -> Any:
        model = LogisticRegression().fit(NUMERIC, Y)
        return renewed(world, model, NUMERIC, (rows, LABELS), recipe=fit_forest, seed=seed).predict_proba(rows)

    np.testing.assert_array_equal(shares(1), shares(1))
    assert (shares(1) != shares(2)).any()


def test_the_seed_leaves_the_caller_s_generators_alone(world: World) -> None:
    before = np.random.get_state(legacy=True)[1].tolist()
    renewed(world, Ridge().fit(NUMERIC, np.arange(400.0)), NUMERIC, (NUMERIC, np.arange(400.0)))
    assert np.random.get_state(legacy=True)[1].tolist() == before


def test_a_script_gets_the_rows_and_leaves_a_model(world: World, tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(SCRIPT))
    rows = MORE[["charge", "visits"]].astype("float64")
    prepared = shipped(world, LogisticRegression().fit(NUMERIC, Y), NUMERIC, Y, recipe=script)
    script.unlink()  # its text travels with the release
    path = world.releases_dir / prepared.release_hash
    model = fit_again(path, read_release(path), rows, LABELS, root=tmp_path)
    assert type(model).__name__ == "DecisionTreeClassifier"
    assert list(model.feature_names_in_) == ["charge", "visits"]


@pytest.mark.parametrize(
    ("body", "told"),
    [("raise SystemExit(3)", "exit code 3"), ("print('hello')", "wrote no model")],
)
def test_a_script_that_fails_says_what_it_printed(world: World, tmp_path: Path, body: str, told: str) -> None:
    script = tmp_path / "fit.py"
    script.write_text(f"print('reading'); {body}")
    prepared = shipped(world, LogisticRegression().fit(NUMERIC, Y), NUMERIC, Y, recipe=str(script))
    path = world.releases_dir / prepared.release_hash
    with pytest.raises(Invalid, match=told) as failure:
        fit_again(path, read_release(path), NUMERIC, Y.to_numpy(dtype=object), root=tmp_path)
    assert "reading" in failure.value.details


def test_with_a_transform_the_model_is_fitted_on_what_it_gives(world: World) -> None:
    scaler = StandardScaler().fit(NUMERIC)

    def ready(rows: Any) -> Any:
        return pd.DataFrame(scaler.transform(rows), columns=["a", "b"])

    rows = MORE[["charge", "visits"]].astype("float64")
    model = renewed(world, LogisticRegression().fit(ready(NUMERIC), Y), NUMERIC, (rows, LABELS), transform=ready)
    assert list(model.feature_names_in_) == ["a", "b"]


def test_the_same_recipe_is_known_again_and_another_is_not(world: World) -> None:
    first = recorded(world)
    other_rows = shipped(world, pipeline().fit(MORE, MORE_Y), MORE, MORE_Y)
    path = world.releases_dir / other_rows.release_hash
    assert recipe_of(path, read_release(path)) == first
    assert recorded(world, pipeline().set_params(logisticregression__C=0.5).fit(X, Y)).identity != first.identity
    assert recorded(world, transform=lambda rows: rows).identity != first.identity
    assert recorded(world, recipe=fit_forest).identity != first.identity


def test_a_release_from_before_recipes_has_that_of_its_model(world: World) -> None:
    prepared = shipped(world, pipeline().fit(X, Y), X, Y)
    path = world.releases_dir / prepared.release_hash
    release = read_release(path)
    older = {name: value for name, value in release.settings.items() if name != "recipe"}
    assert recipe_of(path, msgspec.structs.replace(release, settings=older)) == recipe_of(path, release)


def test_a_model_that_cannot_be_cloned_asks_for_a_recipe(world: World) -> None:
    class Rule:
        def predict(self, rows: Any) -> Any:
            return [1.5] * len(rows)

    prepared = shipped(world, Rule(), NUMERIC, np.arange(400.0))
    assert any(gap.startswith("recipe: a Rule cannot be fitted again") for gap in prepared.missing)
    path = world.releases_dir / prepared.release_hash
    assert recipe_of(path, read_release(path)).identity == ""
    with pytest.raises(Invalid, match="nobody said how this model is fitted") as refused:
        fit_again(path, read_release(path), NUMERIC, np.arange(400.0), root=path)
    assert "recipe=fit" in refused.value.hint


SOURCE = """
HALF = 0.5
def helper(rows): return rows * {scale}
def fit(rows, labels):
    '''Fits.'''
    return helper(rows), HALF, {{"a", "b", "c"}} & set(labels), [each for each in rows]
"""


def written(scale: int = 2, lines: str = "") -> Recipe:
    """The recipe of a function typed in at another place, by another session."""
    home: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(lines + SOURCE.format(scale=scale), f"cell {len(lines)}", "exec"), home)
    return write_recipe(home["fit"], None, transform="").recipe


def test_a_function_is_the_same_wherever_it_was_typed_and_another_when_what_it_calls_is() -> None:
    assert written().identity == written(lines="\n\n\n").identity
    assert written(scale=3).identity != written().identity


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [(3, "recipe is a int"), (lambda rows: rows, "cannot be called with")],
)
def test_what_is_no_recipe_is_refused_at_ship(recipe: Any, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        write_recipe(recipe, Ridge(), transform="")


def test_a_script_that_is_missing_or_no_python_is_refused_at_ship(tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text("def (:")
    (tmp_path / "fit.sh").write_text("echo")
    with pytest.raises(NotFound):
        write_recipe(str(tmp_path / "fits.py"), Ridge(), transform="")
    with pytest.raises(Invalid, match="no Python script: invalid syntax"):
        write_recipe(tmp_path / "fit.py", Ridge(), transform="")
    with pytest.raises(Invalid, match="no Python script"):
        write_recipe(tmp_path / "fit.sh", Ridge(), transform="")


def test_a_changed_recipe_is_damage(world: World) -> None:
    prepared = shipped(world, LogisticRegression().fit(NUMERIC, Y), NUMERIC, Y, recipe=fit_forest)
    path = world.releases_dir / prepared.release_hash
    (path / "recipe.pkl").write_bytes(b"other")
    with pytest.raises(Corrupt, match=r"damaged: recipe\.pkl"):
        read_release(path)


# ---------------------------------------------------------------- rows it was fitted on


def test_rows_fitted_on_are_known_again_from_a_file(world: World, tmp_path: Path) -> None:
    """Narrow floats come back from a CSV with other last digits than they had; they are the same rows."""
    prepared = shipped(world, pipeline().fit(X, Y), X, Y)
    path = world.releases_dir / prepared.release_hash
    release, fitted_on = read_release(path), read_fitted_rows(path)
    assert fitted_on is not None
    MORE.to_csv(tmp_path / "more.csv", index=False)
    X.to_csv(tmp_path / "same.csv", index=False)
    for name, seen in (("same", 400), ("more", 0)):
        frame = pd.read_csv(tmp_path / f"{name}.csv", parse_dates=["joined"])
        columns = {field.name: frame[field.name].to_numpy() for field in release.signature.inputs.fields}
        columns["joined"] = columns["joined"].astype("datetime64[us]")
        for text in ("city", "plan"):
            values = columns[text].astype(object)
            columns[text] = np.array([None if v != v else v for v in values], dtype=object)
        rows = input_digests(columns, release.signature.inputs)
        assert int(seen_rows(rows, fitted_on).sum()) == seen


def test_tables_of_few_distinct_rows_repeat_themselves_and_are_not_taken_for_seen() -> None:
    rng = np.random.default_rng(0)
    few = rng.integers(0, 20, 1_000).astype(np.uint64)
    assert not seen_rows(few[:200], few[200:]).any()
    distinct = np.arange(1_000, dtype=np.uint64)
    assert int(seen_rows(np.append(distinct[:3], 5_000).astype(np.uint64), distinct).sum()) == 3


def test_a_release_without_digests_says_nothing(world: World) -> None:
    prepared = shipped(world, Ridge().fit(NUMERIC, np.arange(400.0)), NUMERIC, np.arange(400.0))
    path = world.releases_dir / prepared.release_hash
    files = path / "mlspine" / "files.json"
    listed = msgspec.json.decode(files.read_bytes())
    del listed["mlspine/fitted_rows.bin"]
    files.write_bytes(msgspec.json.encode(listed))
    assert read_fitted_rows(path) is None
