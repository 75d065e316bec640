from __future__ import annotations

import numpy as np

from mlspine.retraining.split import MOST_GATE_ROWS, split


def test_the_newest_rows_judge_whatever_their_order() -> None:
    at_ms = np.random.default_rng(0).permutation(1_000)
    parts = split(1_000, at_ms, seed=0)
    assert len(parts.gate) == 250
    assert at_ms[parts.fit].max() < at_ms[parts.gate].min()


def test_rows_of_one_moment_stay_together() -> None:
    at_ms = np.repeat([1, 2, 3, 4], 25) * 1_000
    at_ms[70:75] = 4_000
    parts = split(100, at_ms, seed=0)
    assert set(at_ms[parts.gate]) == {4_000}
    assert len(parts.gate) == 30


def test_without_times_a_seed_draws_the_same_rows_again() -> None:
    first, again, other = (split(1_000, None, seed=seed) for seed in (1, 1, 2))
    assert (first.gate == again.gate).all()
    assert (first.gate != other.gate).any()
    assert set(first.fit) | set(first.gate) == set(range(1_000))
    assert "nothing dates them" in first.said


def test_one_time_for_all_rows_tells_nothing_apart() -> None:
    parts = split(100, np.zeros(100, dtype=np.int64), seed=0)
    assert (len(parts.fit), len(parts.gate)) == (75, 25)
    assert "one time" in parts.said


def test_a_flood_of_rows_is_mostly_fitted_on() -> None:
    assert len(split(1_000_000, None, seed=0).gate) == MOST_GATE_ROWS
