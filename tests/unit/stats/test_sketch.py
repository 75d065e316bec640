"""Bins of more rows than memory holds."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.stats.sketch import LevelSketch, NumberSketch


def shown(values, pieces=7):
    sketch = NumberSketch(seed=1)
    for piece in np.array_split(values, pieces):
        sketch.add(piece)
    return sketch


@pytest.mark.parametrize("order", ["random", "sorted", "falling"])
def test_edges_are_the_quantiles_within_the_stated_rank_error(order):
    n = 2_000_000
    values = np.random.default_rng(0).permutation(n).astype(float)
    values = {"random": values, "sorted": np.sort(values), "falling": np.sort(values)[::-1]}[order]
    edges = shown(values).part("x", "").edges
    off = (edges - np.arange(1, 64) / 64 * n) / n
    assert edges.size == 63
    assert np.sqrt(np.square(off).mean()) < 5e-5  # the stated standard deviation
    assert np.abs(off).max() < 2e-4


def test_merged_sketches_are_as_good_as_one():
    n = 1_000_000
    values = np.random.default_rng(1).permutation(n).astype(float)
    merged = shown(values[: n // 3])
    merged.merge(shown(values[n // 3 :]))
    off = merged.part("x", "").edges - np.arange(1, 64) / 64 * n
    assert np.abs(off).max() / n < 3e-4


def test_few_values_get_a_bin_each_whatever_the_number_of_rows():
    values = np.repeat(np.arange(40.0), 5_000)
    part = shown(np.random.default_rng(2).permutation(values)).part("x", "")
    assert part.lattice
    assert set(part.edges) >= set(np.arange(40.0))


def test_missing_and_infinite_numbers_are_passed_over():
    values = np.append(np.arange(100_000.0), [np.nan] * 50_000 + [np.inf] * 10)
    edges = shown(values).part("x", "").edges
    assert edges[31] == pytest.approx(50_000, abs=50)
    assert shown(np.full(100, np.nan)).part("x", "").edges.size == 0


def test_levels_are_exact_until_they_are_too_many():
    sketch = LevelSketch()
    sketch.add(np.array(["a", "b", "a", None], dtype=object))
    assert sketch.counts == {"a": 2, "b": 1}
    sketch.add(np.array([f"id {i}" for i in range(70_000)] + ["a"] * 10, dtype=object))
    assert sketch.pooled
    assert sketch.counts["a"] == 12
    part = sketch.part("c")
    assert part.pooled
    assert part.levels[0] == "a"
