"""Slices: what was planted is named, and where nothing was planted nothing is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlspine.replaying.parts import LEVEL, Coded, Coder, more_than_rest, sliced

SIMULATIONS = 200


def coded(rng: np.random.Generator, rows: int) -> dict[str, Coded]:
    """Ten columns of two to twelve levels, one of them following another."""
    columns = {}
    for i in range(9):
        levels = 2 + i + i // 4
        columns[f"c{i}"] = Coded([f"v{j}" for j in range(levels)], rng.integers(0, levels, rows).astype(np.int16))
    columns["c9"] = Coded(["low", "high"], (columns["c7"].codes > 6).astype(np.int16))
    return columns


@pytest.mark.parametrize(
    ("hits", "rows", "of_hits", "of_rows"),
    [(3, 10, 6, 40), (1, 200, 3, 5000), (60, 500, 90, 20_000), (0, 10, 5, 40), (100, 100, 100, 1000), (40, 50, 80, 90)],
)
def test_the_chance_is_that_of_the_exact_test(hits: int, rows: int, of_hits: int, of_rows: int) -> None:
    table = [[hits, rows - hits], [of_hits - hits, of_rows - rows - of_hits + hits]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert math.exp(more_than_rest(hits, rows, of_hits, of_rows)) == pytest.approx(expected, rel=1e-6)


def test_disagreement_planted_in_one_slice_is_named_first_and_alone() -> None:
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        columns = coded(rng, 10_000)
        planted = columns["c5"].codes == 3
        differing = rng.random(10_000) < np.where(planted, 0.08, 0.02)
        named = [each for each in sliced(columns, differing).slices if each.named]
        found += [(each.column, each.level) for each in named] == [("c5", "v3")]
        if named:
            assert named[0].difference.lo > 0
    assert found >= 18


def test_where_none_is_planted_a_slice_is_named_no_more_often_than_promised() -> None:
    false = 0
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng(1000 + seed)
        differing = rng.random(4_000) < rng.choice([0.005, 0.03, 0.3])
        false += any(each.named for each in sliced(coded(rng, 4_000), differing).slices)
    assert false <= LEVEL * SIMULATIONS


def test_a_slice_that_stands_out_through_a_clearer_one_is_told_as_such() -> None:
    rng = np.random.default_rng(3)
    city = rng.integers(0, 8, 20_000).astype(np.int16)
    coast = np.where(city < 3, 1, 0).astype(np.int16)
    differing = rng.random(20_000) < np.where(city == 1, 0.3, 0.02)
    columns = {"city": Coded([f"city {i}" for i in range(8)], city), "coast": Coded(["no", "yes"], coast)}
    found = sliced(columns, differing).slices
    assert [(each.column, each.level) for each in found if each.named] == [("city", "city 1")]
    assert [(each.column, each.level, each.within) for each in found if each.within] == [
        ("coast", "yes", "city = city 1")
    ]


def test_two_planted_slices_are_both_named() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 5, 20_000).astype(np.int16), rng.integers(0, 5, 20_000).astype(np.int16)
    differing = rng.random(20_000) < 0.01 + 0.1 * (a == 2) + 0.06 * (b == 4)
    found = sliced({"a": Coded(list("01234"), a), "b": Coded(list("01234"), b)}, differing).slices
    assert [(each.column, each.level) for each in found if each.named] == [("a", "2"), ("b", "4")]


def test_few_rows_and_small_differences_are_not_named() -> None:
    code = np.repeat([0, 1], [60, 99_940]).astype(np.int16)
    differing = np.zeros(100_000, dtype=np.bool_)
    differing[:60] = True
    few = sliced({"c": Coded(["a", "b"], code)}, differing)
    assert (few.slices, few.looked_at) == ((), 0)
    rng = np.random.default_rng(5)
    code = rng.integers(0, 2, 400_000).astype(np.int16)
    differing = rng.random(400_000) < np.where(code == 1, 0.22, 0.20)  # certain, and nothing anybody would act on
    assert not any(each.named for each in sliced({"c": Coded(["a", "b"], code)}, differing).slices)


def test_numbers_are_cut_into_fifths_and_what_a_first_part_lacked_belongs_to_none() -> None:
    coder = Coder(np.arange(100.0))
    assert coder.names == ["(missing)", "<= 19.8", "19.8 to 39.6", "39.6 to 59.4", "59.4 to 79.2", "> 79.2"]
    assert coder.codes(np.array([-5.0, 19.8, 50.0, 1e9, np.nan])).tolist() == [1, 1, 3, 5, 0]
    few = Coder(np.array([1, 2, 2]))
    assert few.codes(np.array([2, 1, 7])).tolist() == [2, 1, -1]
    flags = Coder(np.array([True, False]))
    assert sorted(flags.names) == ["(missing)", "0", "1"]
    days = Coder(np.arange("2026-01-01", "2026-02-01", dtype="datetime64[D]"))
    assert days.names[1] == "<= 2026-01-07 00:00"
