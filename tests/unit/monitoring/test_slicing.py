from __future__ import annotations

import numpy as np
import pytest

from mlspine.core.types import Columns
from mlspine.monitoring.slicing import REST, slices
from mlspine.stats.interval import wilson


def answers(right: np.ndarray, seed: int = 0) -> Columns:
    """Answers of a model without scores, right where `right` says so."""
    label = np.random.default_rng(seed).integers(0, 2, len(right))
    return {"prediction": np.where(right, label, 1 - label), "score": np.full(len(right), np.nan), "label": label}


def test_the_bad_level_is_named_first_with_its_own_interval() -> None:
    rng = np.random.default_rng(1)
    country = np.array(["IT", "NO", "PE"], dtype=object)[rng.integers(0, 3, 6_000)]
    right = rng.random(6_000) < np.where(country == "PE", 0.80, 0.92)
    found = slices(answers(right), country, task="binary")
    assert (found[0].level, found[0].worse) == ("PE", True)
    assert not any(each.worse for each in found[1:])
    bad = country == "PE"
    interval = found[0].metric.interval
    assert interval is not None
    expected = wilson(int(right[bad].sum()), int(bad.sum()))
    assert (interval.value, interval.lo, interval.hi) == (expected.value, expected.lo, expected.hi)
    assert "worse than 0.9" in found[0].why


def test_slices_by_lot_are_called_worse_in_at_most_one_of_a_hundred_tables() -> None:
    """100 tables of 10 slices, nothing in them; 99% for all slices together and the tolerance on top."""
    rng = np.random.default_rng(2)
    called = 0
    for seed in range(100):
        right, lot = rng.random(4_000) < 0.9, rng.integers(0, 10, 4_000)
        called += any(each.worse for each in slices(answers(right, seed), lot.astype(str), task="binary"))
    assert called <= 4  # P(more than 4 of 100 at 1%) is below 1%


def test_few_rows_are_shown_and_not_judged() -> None:
    value = np.array(["many"] * 900 + ["few"] * 40, dtype=object)
    found = slices(answers(np.arange(940) < 900), value, task="binary")
    few = next(each for each in found if each.level == "few")
    assert (few.rows, few.worse, few.difference, few.why) == (40, False, None, "too few rows to compare")


def test_numbers_are_cut_at_their_quintiles_and_the_missing_stand_apart() -> None:
    amount = np.append(np.linspace(0, 100, 2_000), np.full(300, np.nan))
    found = slices(answers(amount < 80.0), amount, task="binary")
    assert {each.level for each in found} == {"<= 20", "20 to 40", "40 to 60", "60 to 80", "> 80", "(missing)"}
    assert {each.level for each in found if each.worse} == {"> 80", "(missing)"}


def test_beyond_fifty_levels_the_rare_ones_are_one() -> None:
    levels = np.repeat([f"l{n:02}" for n in range(60)], np.arange(60, 0, -1))
    found = slices(answers(np.ones(len(levels), bool)), levels, task="binary")
    rest = next(each for each in found if each.level == REST)
    assert (len(found), rest.rows) == (51, sum(range(1, 11)))


@pytest.mark.parametrize("kind", ["int", "bool", "object"])
def test_levels_of_any_kind_are_text(kind: str) -> None:
    values = np.array([0, 1] * 200).astype(kind)
    found = slices(answers(np.ones(400, bool)), values, task="binary")
    assert {each.level for each in found} == ({"False", "True"} if kind == "bool" else {"0", "1"})
