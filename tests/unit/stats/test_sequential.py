"""Intervals for every look: against the formula solved another way, and by streams looked at after every row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from mlspine.core.types import Interval
from mlspine.stats import sequential
from mlspine.stats.interval import difference as fixed
from mlspine.stats.sequential import log_e_value, radius, share, share_difference

ALPHA = 0.05


@pytest.mark.parametrize("variance", [1e-6, 1e-4, 0.01, 1.0])
def test_at_the_radius_the_mixture_of_likelihood_ratios_is_one_over_alpha(variance: float) -> None:
    scale, d = 0.03, float(radius(variance, scale=0.03, level=1 - ALPHA))

    def ratio(shift: float) -> float:
        return math.exp((shift * d - shift**2 / 2) / variance) * float(stats.norm.pdf(shift, scale=scale))

    middle = d * scale**2 / (variance + scale**2)
    width = 12 * math.sqrt(variance * scale**2 / (variance + scale**2))
    value, _ = integrate.quad(ratio, middle - width, middle + width)
    assert value == pytest.approx(1 / ALPHA, rel=1e-6)


def test_the_radius_is_robbins_in_the_letters_of_the_design() -> None:
    n, sd, rho = 500, 0.4, 0.08
    letters = sd * math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / ALPHA))
    assert float(radius(sd**2 / n, scale=rho * sd, level=1 - ALPHA)) == pytest.approx(letters)


def test_a_radius_grows_with_its_variance_and_ends_are_ends() -> None:
    widths = radius(np.geomspace(1e-8, 10, 50), scale=0.02, level=0.99)
    assert (np.diff(widths) > 0).all()
    assert radius(np.array([0.0, np.inf]), scale=0.02, level=0.99).tolist() == [0.0, np.inf]
    with pytest.raises(ValueError, match="scale"):
        radius(1.0, scale=0.0, level=0.95)


def test_a_difference_for_every_look_is_wider_than_for_one() -> None:
    a, b = Interval(value=0.8, lo=0.79, hi=0.809), Interval(value=0.9, lo=0.89, hi=0.908)
    once, always = fixed(a, b, level=0.99), sequential.difference(a, b, scale=0.04, level=0.99)
    assert once.value == always.value
    assert always.lo < once.lo < once.hi < always.hi < 0
    assert always.method == "time-uniform"


@pytest.mark.parametrize(("hits", "n"), [(0, 40), (40, 40), (3, 1_000), (520, 1_000)])
def test_the_exact_share_is_where_the_evidence_reaches_its_bound(hits: int, n: int) -> None:
    found = share(hits, n, level=0.95)
    assert found.lo <= hits / n <= found.hi
    for limit in (found.lo, found.hi):
        if 0 < limit < 1:
            assert float(log_e_value(hits, n, limit)) == pytest.approx(math.log(20), abs=1e-6)
    clopper = stats.binomtest(hits, n).proportion_ci(0.95)
    assert found.lo <= clopper.low + 1e-9
    assert found.hi >= clopper.high - 1e-9
    with pytest.raises(ValueError, match="successes"):
        share(5, 4)


def test_evidence_against_the_truth_has_mean_one_at_every_look() -> None:
    """All 2^12 streams of twelve outcomes, each with its probability."""
    hits = np.arange(13)
    for p in (0.01, 0.3):
        weights = stats.binom.pmf(hits, 12, p)
        # Given its hits every order is equally likely, and the value is a function of the hits alone.
        assert float((weights * np.exp(log_e_value(hits, 12, p))).sum()) == pytest.approx(1.0)


def test_null_streams_looked_at_after_every_row_sound_in_at_most_5_percent() -> None:
    """1,000 streams of 1,000 right or wrong answers at 90% against a baseline of 2,000, and 1,000 rare ones at 0.5%."""
    rng = np.random.default_rng(1)
    n = np.arange(1.0, 1_001)
    base = rng.binomial(2_000, 0.9, size=(1_000, 1)) / 2_000
    mean = np.cumsum(rng.random((1_000, 1_000)) < 0.9, axis=1) / n
    variance = mean * (1 - mean) / n + base * (1 - base) / 2_000
    use = n >= 100
    sounded = (np.abs(mean - base) > radius(variance, scale=0.04, level=0.95)) & use
    peeked = (np.abs(mean - base) > 1.96 * np.sqrt(variance)) & use
    assert sounded.any(axis=1).mean() <= 0.05
    assert peeked.any(axis=1).mean() > 0.10
    rare = np.cumsum(rng.random((1_000, 1_000)) < 0.005, axis=1)
    assert (log_e_value(rare, n, 0.005) >= math.log(20)).any(axis=1).mean() <= 0.05


def test_a_share_that_fell_is_seen_and_one_that_did_not_is_not() -> None:
    base = Interval(value=0.995, lo=0.991, hi=0.997)
    assert share_difference((960, 1_000), base, level=0.99).hi < 0
    assert share_difference((994, 1_000), base, level=0.99).hi > 0
