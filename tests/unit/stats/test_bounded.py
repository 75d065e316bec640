from __future__ import annotations

import math

import numpy as np
import pytest

from mlspine.stats.bounded import boundary, lower


@pytest.mark.parametrize("v", [10.0, 1e3, 1e6])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_without_scale_the_boundary_is_the_published_one(v: float, alpha: float) -> None:
    # Howard et al. 2021, equation 2: 1.7 sqrt(v (log log 2v + 0.72 log(5.2 / alpha))), rounded as printed.
    published = 1.7 * math.sqrt(v * (math.log(math.log(2 * v)) + 0.72 * math.log(5.2 / alpha)))
    assert boundary(v, alpha=alpha, scale=0.0) == pytest.approx(published, rel=0.01)


def test_the_limit_is_below_the_mean_at_every_look_of_nearly_every_stream() -> None:
    rng = np.random.default_rng(3)
    values = rng.beta(0.3, 1.2, (2_000, 400))
    n, total, squares = np.arange(1, 401), np.cumsum(values, axis=1), np.cumsum(values**2, axis=1)
    above = [
        any(lower(n[at], total[run, at], squares[run, at], about=0.2, level=0.9) > 0.2 for at in range(9, 400, 10))
        for run in range(2_000)
    ]
    assert np.mean(above) <= 0.1


def test_it_comes_near_the_mean_wherever_squares_are_counted_from() -> None:
    values = np.random.default_rng(4).beta(6, 4, 20_000)
    for about in (0.1, 0.6):
        found = lower(len(values), values.sum(), (values**2).sum(), about=about, level=0.99)
        assert 0.56 < found < values.mean()


def test_no_rows_say_nothing() -> None:
    assert lower(0, 0.0, 0.0, about=0.1, level=0.99) == 0.0
    assert lower(3, 3.0, 3.0, about=0.1, level=0.99) == 0.0
