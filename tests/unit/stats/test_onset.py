"""Onsets lie inside their interval as often as is said; without a change there is none."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.stats.onset import Step, step

CUTS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])


def hours(
    rng: np.random.Generator, *, began: int, size: float, cycle: float = 0.0, count: int = 120, rows: int = 150
) -> np.ndarray:
    """Counts of hours of normal rows whose mean steps up by `size` at hour `began`."""
    at = np.arange(count)
    mean = cycle * np.cos(2 * np.pi * at / 24) + size * (at >= began)
    held = rng.poisson(rows, count)
    return np.array(
        [np.bincount(np.searchsorted(CUTS, rng.normal(m, 1, n)), minlength=6) for m, n in zip(mean, held, strict=True)]
    )


def found(counts: np.ndarray, last: int = 4) -> Step | None:
    reference = np.round(100_000 * np.diff(np.array([0.0, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 1.0]))).astype(np.int64)
    return step(counts, np.arange(len(counts)), reference=reference, last=last)


@pytest.mark.parametrize("cycle", [0.0, 0.5])
def test_the_hour_lies_inside_the_interval_in_95_of_100_trials(cycle: float) -> None:
    inside, trials = 0, 80
    for seed in range(trials):
        rng = np.random.default_rng([seed, int(10 * cycle)])
        began = int(rng.integers(50, 116))
        said = found(hours(rng, began=began, size=0.4, cycle=cycle))
        assert said is not None
        inside += said.lo <= began <= said.hi
    assert inside >= 0.93 * trials


def test_a_daily_cycle_is_no_onset() -> None:
    said = [
        found(hours(np.random.default_rng(seed), began=999, size=0.0, cycle=0.6, count=24 * 7)) for seed in range(40)
    ]
    assert sum(each is not None for each in said) <= 1


def test_hours_without_rows_are_passed_over() -> None:
    rng = np.random.default_rng(5)
    counts = hours(rng, began=60, size=0.8)
    counts[20:40] = 0
    said = found(counts)
    assert said is not None
    assert said.lo <= 60 <= said.hi


def test_nothing_is_said_of_too_few_hours_or_of_a_constant_column() -> None:
    counts = hours(np.random.default_rng(6), began=2, size=1.0, count=3)
    assert found(counts) is None
    constant = np.tile(np.array([100, 0, 0, 0, 0, 0]), (50, 1))
    assert step(constant, np.arange(50), reference=np.array([100, 0, 0, 0, 0, 0]), last=3) is None
