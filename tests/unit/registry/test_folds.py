"""Which rows are fitted on and which are asked about."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.registry import folds


def _parts(found: Iterable[folds.Fold]) -> list[folds.Fold]:
    kept = list(found)
    for fit_on, asked in kept:
        assert not set(fit_on.tolist()) & set(asked.tolist())
    return kept


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.integers(2, 5))
def test_time_is_predicted_from_strictly_earlier_rows(times: list[int], count: int) -> None:
    at_ms = np.array(times)
    for fit_on, asked in _parts(folds.forward(at_ms, folds=count)):
        assert at_ms[fit_on].max() < at_ms[asked].min()


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60), st.integers(2, 5))
def test_rows_of_one_key_stay_together(keys: list[str], count: int) -> None:
    array = np.array(keys, dtype=object)
    for fit_on, asked in _parts(folds.grouped(array, folds=count)):
        assert not set(array[fit_on]) & set(array[asked])


@pytest.mark.parametrize("rows", [7, 100, 101])
def test_random_folds_ask_every_row_once(rows: int) -> None:
    asked = np.concatenate([asked for _, asked in _parts(folds.shuffled(rows, folds=5))])
    assert sorted(asked.tolist()) == list(range(rows))


def test_each_fold_has_about_the_same_share_of_a_rare_class() -> None:
    labels = np.array(["rare"] * 10 + ["common"] * 190, dtype=object)
    parts = _parts(folds.stratified(labels, folds=5))
    assert [(labels[asked] == "rare").sum() for _, asked in parts] == [2] * 5
    assert [len(asked) for _, asked in parts] == [40] * 5


def test_folds_are_the_same_every_time() -> None:
    first, again = (list(folds.shuffled(50, folds=3)) for _ in range(2))
    for (_, a), (_, b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
