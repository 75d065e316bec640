"""Intervals by blocks: against DeLong where every row is a block, and by simulation where customers repeat."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.stats.blocks import clustered, measure
from mlspine.stats.interval import delong_auc, mean


def test_with_a_block_per_row_the_intervals_are_the_ordinary_ones() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(3_000).round(3)
    label = (rng.random(3_000) < score).astype(int)
    found = measure("binary", label, (score > 0.5).astype(int), score, (0, 1), np.arange(3_000))
    assert found is not None
    assert found.interval is not None
    plain = delong_auc(label == 1, score)
    assert found.interval.value == pytest.approx(plain.value)
    assert found.interval.hi - found.interval.lo == pytest.approx(plain.hi - plain.lo, rel=0.01)
    x = rng.normal(size=2_000)
    assert clustered(float(x.mean()), x - x.mean(), np.arange(2_000)).hi == pytest.approx(mean(x).hi, abs=1e-4)


def test_where_customers_repeat_the_interval_by_customer_covers_and_the_ordinary_one_does_not() -> None:
    """400 windows of 60 customers with 20 rows each, right for a customer or not: nominal 95%."""
    rng = np.random.default_rng(1)
    covered = {"blocks": 0, "rows": 0}
    for _ in range(400):
        right = rng.random(1_200) < np.repeat(rng.beta(4, 1, 60), 20)
        found = measure("multiclass", np.ones(1_200), right * 1.0, None, (0, 1), np.repeat(np.arange(60), 20))
        assert found is not None
        assert found.interval is not None
        covered["blocks"] += found.interval.lo <= 0.8 <= found.interval.hi
        plain = mean(right * 1.0)
        covered["rows"] += plain.lo <= 0.8 <= plain.hi
    assert 0.91 <= covered["blocks"] / 400 <= 0.98
    assert covered["rows"] / 400 < 0.80


def test_few_blocks_and_one_class_are_said() -> None:
    found = measure("regression", np.arange(50.0), np.arange(50.0) + 1, None, (), np.arange(50) // 10)
    assert found is not None
    assert (found.status, found.reason) == ("NOT_ESTIMABLE", "5 blocks say too little, 10 are needed")
    alone = measure("binary", np.ones(50), np.ones(50), np.linspace(0, 1, 50), (0, 1), np.arange(50))
    assert alone is not None
    assert alone.name == "accuracy"
    assert measure("other", np.ones(5), np.ones(5), None, (), np.arange(5)) is None
