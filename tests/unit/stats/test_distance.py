"""Effect sizes against scipy, and their noise against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlspine.stats import distance

SHARES = [
    np.full(10, 0.1),
    np.array([0.5, 0.3, 0.2]),
    0.7 ** np.arange(12) / (0.7 ** np.arange(12)).sum(),
]


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k))) for k in (2, 5, 10, 64)]


def simulated(p, n=1_000, m=20_000, draws=20_000, seed=1):
    """Reference and window shares when nothing changed, and the variance factor."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(m, p, size=draws) / m, rng.multinomial(n, p, size=draws) / n, 1 / n + 1 / m


@pytest.mark.parametrize(("p", "q"), pairs())
def test_js_is_scipys_jensen_shannon_distance_to_base_2(p, q):
    assert distance.js(p, q) == pytest.approx(jensenshannon(p, q, 2), rel=1e-9)


@pytest.mark.parametrize(("p", "q"), pairs())
def test_w1_is_scipys_wasserstein_distance_between_bin_points(p, q):
    points = np.sort(np.random.default_rng(2).standard_normal(p.size))
    expected = stats.wasserstein_distance(points, points, p, q)
    assert distance.w1(p, q, points) == pytest.approx(expected, rel=1e-9)


def test_ks_is_scipys_statistic_on_lattice_values():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 20, 700), rng.integers(0, 18, 400)
    p, q = np.bincount(a, minlength=20) / a.size, np.bincount(b, minlength=20) / b.size
    assert distance.ks(p, q) == pytest.approx(stats.ks_2samp(a, b).statistic, rel=1e-12)


@pytest.mark.parametrize(("p", "q"), pairs())
def test_psi_is_the_symmetrised_relative_entropy(p, q):
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert distance.psi(p, q) == pytest.approx((q * np.log(q / p)).sum() + (p * np.log(p / q)).sum())


@pytest.mark.parametrize(("p", "q"), pairs())
def test_tv_is_the_largest_difference_of_any_set_of_bins(p, q):
    assert distance.tv(p, q) == pytest.approx((q - p)[q > p].sum())


def test_empty_bins_on_either_side_stay_finite():
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    assert distance.js(p, q) == 1.0
    assert distance.tv(p, q) == 1.0
    assert np.isfinite(distance.psi(p, q))
    assert distance.psi(p, p) == distance.js(p, p) == distance.tv(p, p) == 0.0


def test_leading_axes_are_windows():
    p, q = SHARES[0], np.random.default_rng(4).dirichlet(np.ones(10), size=(3, 2))
    for measure in (distance.psi, distance.js, distance.ks, distance.tv):
        many = measure(p, q)
        assert many.shape == (3, 2)
        assert many[2, 1] == pytest.approx(float(measure(p, q[2, 1])))


@pytest.mark.parametrize("p", SHARES)
def test_noise_levels_are_what_unchanged_data_show(p):
    before, after, v = simulated(p)
    points = np.arange(p.size) * 1.5
    assert distance.psi(before, after).mean() == pytest.approx(float(distance.psi_noise(p.size, v)), rel=0.06)
    root_mean_square = np.sqrt(np.square(distance.js(before, after)).mean())
    assert root_mean_square == pytest.approx(float(distance.js_noise(p.size, v)), rel=0.04)
    assert distance.tv(before, after).mean() == pytest.approx(float(distance.tv_noise(p, v)), rel=0.03)
    expected = float(distance.w1_noise(p, points, v))
    assert distance.w1(before, after, points).mean() == pytest.approx(expected, rel=0.03)


def test_ks_noise_is_what_continuous_data_show():
    rng = np.random.default_rng(5)
    v = 1 / 400 + 1 / 2000
    found = [stats.ks_2samp(rng.random(400), rng.random(2000)).statistic for _ in range(400)]
    assert np.mean(found) == pytest.approx(float(distance.ks_noise(v)), rel=0.06)


@pytest.mark.parametrize("p", SHARES)
def test_the_chance_of_a_js_distance_has_the_right_size(p):
    before, after, v = simulated(p, draws=40_000)
    found = distance.js_p(distance.js(before, after), p.size, v)
    assert (found <= 0.01).mean() == pytest.approx(0.01, rel=0.35)


@pytest.mark.parametrize("p", [*SHARES, np.array([0.5, 0.5]), np.array([0.96, 0.04])])
def test_the_chance_of_a_total_variation_is_not_understated(p):
    before, after, v = simulated(p, draws=40_000)
    found = distance.tv_p(distance.tv(before, after), p, v)
    assert 0.002 < (found <= 0.01).mean() < 0.0125
    assert (found <= 0.001).mean() < 0.0016


def test_the_js_floor_is_far_above_the_noise_of_500_rows():
    assert distance.js_noise(10, 1 / 500) < 0.06
    assert distance.js_p(0.1, 10, 1 / 500) < 0.002


def test_a_reference_of_one_level_makes_any_move_certain():
    assert distance.tv_p(0.05, np.array([1.0, 0.0]), 1 / 500) == 0.0
    assert distance.tv_p(0.0, np.array([1.0, 0.0]), 1 / 500) == 1.0


def test_difference_p_is_the_normal_tail_and_1_without_spread():
    assert distance.difference_p(2.5, 1.25) == pytest.approx(2 * stats.norm.sf(2.0))
    assert distance.difference_p(2.5, 0.0) == 1.0
    assert distance.difference_noise(2.0) == pytest.approx(2 * stats.halfnorm.mean())
