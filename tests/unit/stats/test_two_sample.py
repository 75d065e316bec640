"""Rows are told apart by how columns go together; unchanged ones are not."""

from __future__ import annotations

import numpy as np

from mlspine.stats.two_sample import blocks_of, clearest_pair, natural_auc, told_apart


def draw(rng: np.random.Generator, r: float, rows: int = 1500) -> np.ndarray:
    """Six standard normal columns, the second and fifth correlated at r, some values missing."""
    values = rng.normal(size=(rows, 6))
    values[:, 4] = r * values[:, 1] + np.sqrt(1 - r * r) * values[:, 4]
    values[rng.random(values.shape) < 0.02] = np.nan
    return values


def test_a_new_correlation_is_told_and_its_pair_named() -> None:
    named, apart = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before, now = draw(rng, 0.0), draw(rng, 0.4)
        i, j, p = clearest_pair(before, now)
        named += (i, j) == (1, 4) and p < 0.01
        apart += told_apart(before, now).lo > 0.5
    assert named == 20
    assert apart >= 19


def test_unchanged_rows_are_rarely_told_apart_and_name_no_pair() -> None:
    apart, named = 0, 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 1])
        before, now = draw(rng, 0.3), draw(rng, 0.3)
        apart += told_apart(before, now).lo > 0.5
        named += clearest_pair(before, now)[2] < 0.01
    assert apart <= 4
    assert named <= 2


def test_a_column_that_moved_is_no_pair() -> None:
    rng = np.random.default_rng(2)
    now = draw(rng, 0.0)
    now[:, 2] += 1.0
    assert clearest_pair(draw(rng, 0.0), now)[2] > 0.01


def test_earlier_blocks_give_the_yardstick() -> None:
    rng = np.random.default_rng(3)
    before = np.vstack([draw(rng, r, 300) for r in np.linspace(-0.8, 0.8, 10)])
    blocks = blocks_of(np.arange(3000))
    assert np.bincount(blocks).tolist() == [300] * 10
    assert natural_auc(before, blocks) > natural_auc(draw(rng, 0.0, 3000), blocks) + 0.1
    assert np.isnan(natural_auc(before, np.zeros(3000, dtype=np.int64)))
