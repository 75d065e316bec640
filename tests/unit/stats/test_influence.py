"""Influence is what giving a column its old shares back undoes, and the planted cause is ranked first."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.core.types import Columns
from mlspine.stats.influence import Credit, credited, influences
from mlspine.stats.profile import Floats, build_reference, profile
from mlspine.stats.surrogate import fit_surrogate

KINDS = {"a": "numeric", "b": "numeric", "c": "numeric", "d": "categorical"}


def draw(rows: int, rng: np.random.Generator) -> Columns:
    """Three numbers, two of them correlated at 0.7, and a level that goes with the third."""
    a = rng.normal(size=rows)
    c = rng.normal(size=rows)
    level = np.array(["x", "y", "z"], dtype=object)[np.searchsorted([-0.5, 0.7], c + 0.5 * rng.normal(size=rows))]
    return {"a": a, "b": 0.7 * a + np.sqrt(0.51) * rng.normal(size=rows), "c": c, "d": level}


def linear(columns: Columns) -> Floats:
    """2 a + 3 b - c + 0.2 for level y."""
    value = 2 * columns["a"] + 3 * columns["b"] - columns["c"] + 0.2 * (columns["d"] == "y")
    return np.asarray(value)[:, None]


def ranked(served: Columns, ask: object = linear) -> list[Credit]:
    reference = build_reference(draw(20_000, np.random.default_rng(7)), KINDS)  # type: ignore[arg-type]
    window = profile(reference, served)
    sample = {name: values[:500] for name, values in served.items()}
    found = influences(ask, sample, reference, window, list(KINDS))  # type: ignore[arg-type]
    return credited(found, served, reference, window)


def test_the_influence_of_a_shift_is_the_shift_times_what_the_model_makes_of_it() -> None:
    rng = np.random.default_rng(0)
    reference = build_reference(draw(20_000, rng), KINDS)  # type: ignore[arg-type]
    served = draw(4_000, rng)
    served["b"] = served["b"] + 0.8
    found = {each.name: each for each in influences(linear, served, reference, profile(reference, served), list(KINDS))}
    assert found["b"].moved == pytest.approx(3 * 0.8, rel=0.06)
    assert found["b"].shift == pytest.approx(3 * 0.8, rel=0.06)
    assert max(found[name].beyond for name in "acd") < 0.1 * found["b"].beyond


def test_a_change_that_cancels_in_the_mean_is_seen() -> None:
    rng = np.random.default_rng(1)
    served = draw(4_000, rng)
    served["c"] = 2 * served["c"]
    reference = build_reference(draw(20_000, rng), KINDS)  # type: ignore[arg-type]
    only, *_ = influences(linear, served, reference, profile(reference, served), ["c"])
    assert abs(only.shift) < 0.1
    assert only.beyond > 0.5


def test_the_column_that_drags_others_along_is_ranked_before_those_the_model_weighs_more() -> None:
    first = []
    for seed in range(10):
        rng = np.random.default_rng([seed, 2])
        served = draw(2_000, rng)
        # Rows of high a become frequent: b, which the model weighs more, moves along by 0.7 of it.
        keep = rng.random(2_000) < 1 / (1 + np.exp(-3 * served["a"]))
        first.append(ranked({name: values[keep] for name, values in served.items()})[0])
    assert [each.name for each in first].count("a") >= 9
    assert all("b" in each.explains for each in first if each.name == "a")


def test_shares_sum_to_one_and_what_is_explained_is_not_counted_twice() -> None:
    rng = np.random.default_rng(3)
    served = draw(3_000, rng)
    served["a"], served["c"] = served["a"] + 0.5, served["c"] - 1.0
    shares = [each.share for each in ranked(served)]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= 0


def test_a_stand_in_fitted_on_answers_ranks_as_the_model_does() -> None:
    rng = np.random.default_rng(4)
    served = draw(4_000, rng)
    served["d"] = np.where(rng.random(4_000) < 0.3, "new", served["d"]).astype(object)
    served["c"] = served["c"] + 0.6
    reference = build_reference(draw(20_000, rng), KINDS)  # type: ignore[arg-type]
    stand_in = fit_surrogate(reference, served, linear(served)[:, 0])
    assert stand_in.share_explained > 0.9
    assert ranked(served, stand_in.ask)[0].name == ranked(served)[0].name == "c"


def test_columns_beyond_the_budget_are_left_out_and_never_invented() -> None:
    rng = np.random.default_rng(5)
    served = draw(600, rng)
    reference = build_reference(draw(2_000, rng), KINDS)  # type: ignore[arg-type]
    ticks = iter(range(100))
    found = influences(
        linear, served, reference, profile(reference, served), list(KINDS), budget_s=1.5, timer=lambda: next(ticks)
    )
    assert [each.name for each in found] == ["a", "b"]


def test_the_stand_in_agrees_with_an_independent_ridge() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(6)
    rows = {"a": rng.integers(0, 5, 400).astype(float)}
    target = np.sin(rows["a"]) + rng.normal(size=400)
    stand_in = fit_surrogate(build_reference(rows, {"a": "numeric"}), rows, target)
    design = np.hstack([np.ones((400, 1)), (rows["a"][:, None] == np.arange(5)).astype(float)])
    independent = Ridge(alpha=1.0, fit_intercept=False).fit(design, target)
    np.testing.assert_allclose(stand_in.ask(rows)[:, 0], independent.predict(design), rtol=1e-8)
