"""Component tests against scipy and against simulation, and their combination."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlspine.core.errors import Conflict
from mlspine.stats import compare as c
from mlspine.stats.profile import build_reference, profile

RNG_SEED = 11


def numeric(values):
    return build_reference({"x": np.asarray(values, dtype=float)}, {"x": "numeric"})


def categorical(values):
    return build_reference({"x": np.asarray(values, dtype=object)}, {"x": "categorical"})


def compared(reference, values):
    (found,) = c.compare(reference, profile(reference, {"x": np.asarray(values)}))
    return found


def sized(reference, rows, draws=20_000, seed=RNG_SEED, true=None):
    """Components and effects of many windows drawn from the reference's own shares, the reference redrawn."""
    rng = np.random.default_rng(seed)
    counts = reference.profile.parts[0].counts
    shares = counts / counts.sum() if true is None else true
    zeros = np.zeros(draws)
    before, after = (
        [c.Side(rng.multinomial(n, shares, size=draws), zeros, zeros, zeros, zeros)] for n in (counts.sum(), rows)
    )
    components = c.column_components(reference, "x", before, after)
    return components, c.column_p(components), (before, after)


# ---------------------------------------------------------------- formulas


def test_chi_squared_is_scipys_two_sample_statistic():
    h, g = np.array([300, 500, 200]), np.array([80, 60, 60])
    p, rare = c.chi_squared(h, h, g)
    expected = stats.chi2_contingency(np.stack([h, g]), correction=False).pvalue
    assert p == pytest.approx(expected, rel=1e-9)
    assert np.isnan(rare)


def test_rare_bins_leave_chi_squared_for_an_exact_test():
    h, g = np.array([6000, 3998, 2]), np.array([300, 190, 10])
    p, rare = c.chi_squared(h, h, g)
    expected = stats.chi2_contingency(np.stack([h[:2], g[:2]]), correction=False).pvalue
    assert p == pytest.approx(expected, rel=1e-9)
    upper = stats.binom.sf(10 - 1, 12, 500 / 10_500)
    assert rare == pytest.approx(2 * upper, rel=1e-9)


def test_rare_bins_frequent_enough_together_form_one_cell():
    h, g = np.array([9_600, *[40] * 10]), np.array([440, *[6] * 10])
    p, rare = c.chi_squared(h, h, g)
    expected = stats.chi2_contingency([[9_600, 400], [440, 60]], correction=False).pvalue
    assert p == pytest.approx(expected, rel=1e-9)
    assert np.isnan(rare)


def test_location_is_the_wilcoxon_rank_test():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 30, 40_000), rng.integers(0, 30, 900) ** 0.98 // 1
    found = compared(numeric(before), after)
    expected = stats.mannwhitneyu(after, before, use_continuity=False)
    assert found.components["location"] == pytest.approx(expected.pvalue, rel=0.06)
    assert found.location_z < 0


def test_two_bins_make_every_shape_test_the_same_chi_squared():
    h, g = np.array([700, 300]), np.array([310, 190])
    z = c.smooth_z(h, h, g)
    assert z.shape == (1,)
    # Against the reference's variance; chi-squared uses the pooled one.
    assert z[0] ** 2 == pytest.approx(stats.chi2_contingency([h, g], correction=False).statistic, rel=0.06)


def test_the_smooth_basis_is_orthonormal_under_the_reference():
    base = np.array([5, 40, 0, 25, 30, 60])
    p, b = base / base.sum(), c.smooth_basis(base)
    np.testing.assert_allclose((b.T * p) @ b, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(p @ b, 0, atol=1e-12)


def test_a_degree_that_rests_on_a_few_rows_is_left_out():
    h = np.array([9_990, 10])
    assert c.smooth_z(h, h, np.array([499, 1])).shape == (0,)
    assert c.smooth_z(h * 100, h * 100, np.array([49_900, 100])).shape == (1,)


def test_the_share_test_is_exact_where_counts_are_small():
    b, n, a, m = 7, 2_000, 12, 20_000
    two_sided = 2 * stats.binom.sf(b - 1, a + b, n / (n + m))
    assert c.share_test(b, n, a, m) == pytest.approx(two_sided, rel=1e-9)
    low = 2 * stats.binom.cdf(0, 90, n / (n + m))
    assert c.share_test(0, n, 90, m) == pytest.approx(low, rel=1e-9)


def test_the_share_test_agrees_with_fisher_where_counts_are_large():
    expected = stats.fisher_exact([[180, 820], [1500, 8500]]).pvalue
    assert c.share_test(180, 1000, 1500, 10_000) == pytest.approx(expected, rel=0.12)


def test_hits_and_misses_are_treated_alike():
    assert c.share_test(7, 2_000, 12, 20_000) == c.share_test(1_993, 2_000, 19_988, 20_000)


def test_a_share_without_hits_or_without_rows_does_not_apply():
    assert np.isnan(c.share_test(0, 500, 0, 5_000))
    assert np.isnan(c.share_test(500, 500, 5_000, 5_000))
    assert np.isnan(c.share_test(0, 0, 10, 5_000))


def test_unseen_levels_without_singletons_follow_the_rule_of_three():
    p = c.unseen_test(3, 500, 0, 5_000)
    assert p == pytest.approx(stats.poisson.sf(2, -np.log(0.05) * 500 / 5_000), rel=1e-9)
    assert np.isnan(c.unseen_test(0, 500, 0, 5_000))


def test_many_singletons_make_unseen_levels_expected():
    assert c.unseen_test(50, 2_000, 50, 2_000) > 0.3
    assert c.unseen_test(50, 2_000, 0, 2_000) < 1e-12


def test_cauchy_matches_its_definition_and_keeps_its_digits_for_tiny_p():
    p = np.array([0.01, 0.2, 0.5])
    t = np.tan(np.pi * (0.5 - p)).mean()
    assert c.cauchy(p) == pytest.approx(0.5 - np.arctan(t) / np.pi, rel=1e-12)
    assert c.cauchy(p) == pytest.approx(stats.cauchy.sf(t), rel=1e-12)
    assert c.cauchy(np.array([1e-250, 0.5])) == pytest.approx(2e-250, rel=1e-9)
    assert c.cauchy(np.array([np.nextafter(1e-12, 0)])) == pytest.approx(1e-12, rel=1e-6)
    assert 0 <= c.cauchy(np.array([0.0])) < 1e-299


def test_a_p_of_one_does_not_silence_a_small_one():
    assert c.cauchy(np.array([1e-6, 1.0, 1.0, 1.0])) == pytest.approx(4e-6, rel=0.01)


def test_nothing_that_applies_gives_p_one():
    assert c.cauchy(np.array([np.nan, np.nan])) == 1.0


def test_benjamini_hochberg_agrees_with_scipy():
    p = np.random.default_rng(1).beta(0.4, 2, 40)
    adjusted = stats.false_discovery_control(p)
    cut = c.benjamini_hochberg(p, 0.05)
    np.testing.assert_array_equal(p <= cut, adjusted <= 0.05)


def test_the_window_is_significant_at_alpha_over_columns():
    assert c.decide([0.00049, *[0.5] * 19], alpha=0.01).significant
    assert not c.decide([0.00051, *[0.5] * 19], alpha=0.01).significant
    assert c.decide([], alpha=0.01).significant is False


def test_a_measured_level_replaces_the_nominal_one():
    assert c.decide([0.5], alpha=0.01, critical_p=1e-4).threshold == pytest.approx(1e-4)
    assert c.decide([0.5], alpha=0.001, critical_p=1e-4).threshold == pytest.approx(1e-5)
    assert c.decide([0.5, 0.5], alpha=0.01, critical_p=0.009).threshold == pytest.approx(0.009)


def test_the_smallest_p_is_always_named():
    assert c.decide([0.3, 1e-9, 0.9], alpha=0.01).named == (False, True, False)


# ---------------------------------------------------------------- size, by simulation


SHAPES = {
    "64 bins": lambda: numeric(np.random.default_rng(2).standard_normal(20_000)),
    "5 values": lambda: numeric(np.random.default_rng(3).choice(5, 20_000, p=[0.6, 0.2, 0.1, 0.07, 0.03])),
    "rare one": lambda: numeric(np.random.default_rng(4).random(20_000) < 0.002),
    "with nulls": lambda: numeric(
        np.where(np.random.default_rng(5).random(20_000) < 0.03, np.nan, np.arange(20_000.0))
    ),
    "3 levels": lambda: categorical(np.random.default_rng(6).choice(["a", "b", "c"], 20_000, p=[0.6, 0.3, 0.1])),
    "20 levels": lambda: categorical(np.random.default_rng(7).integers(0, 20, 20_000).astype(str)),
    "heavy tails": lambda: numeric(np.random.default_rng(20).standard_cauchy(20_000)),
    "long tail": lambda: categorical((1 / np.random.default_rng(8).random(5_000)).astype(int).astype(str)),
}


@pytest.mark.parametrize("rows", [500, 3_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_component_keeps_its_promised_rate(shape, rows):
    reference = SHAPES[shape]()
    components, combined, _ = sized(reference, rows)
    for name, p in components.items():
        if not np.isnan(p).all():
            assert np.nanmean(p <= 0.01) <= 0.0135, name
    assert (combined <= 0.01).mean() <= 0.0135
    assert (combined <= 0.001).mean() <= 0.0022


@pytest.mark.parametrize("rows", [30, 120])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_component_is_too_small_in_tiny_windows(shape, rows):
    reference = SHAPES[shape]()
    components, combined, _ = sized(reference, rows)
    for name, p in components.items():
        if not np.isnan(p).all():
            assert np.nanmean(p <= 0.01) <= 0.015, name
    assert (combined <= 0.01).mean() <= 0.015


@pytest.mark.parametrize("rows", [500, 3_000])
@pytest.mark.parametrize(
    ("shape", "tests"),
    [
        ("64 bins", ("location", "smooth", "omnibus")),
        ("5 values", ("location", "smooth", "omnibus")),
        ("heavy tails", ("location", "smooth", "omnibus")),
        ("20 levels", ("omnibus",)),
    ],
)
def test_p_is_uniform_where_nothing_changed(shape, tests, rows):
    # 20,000 windows each; ties make p discrete in the last digits, which Kolmogorov's test does not mind.
    components, _, _ = sized(SHAPES[shape](), rows)
    for name in tests:
        assert stats.kstest(components[name], "uniform").statistic < 0.02, name


def test_the_smooth_test_is_the_sum_of_squares_of_its_scores():
    reference = numeric(np.random.default_rng(21).standard_normal(20_000))
    window = profile(reference, {"x": np.random.default_rng(22).standard_normal(900) * 1.1})
    h, g = (tally.counts[:64] for tally in (reference.profile.parts[0], window.parts[0]))
    z = c.smooth_z(h, h, g)
    (found,) = c.compare(reference, window)
    assert found.components["smooth"] == pytest.approx(stats.chi2.sf(np.square(z).sum(), 3), rel=1e-9)
    assert found.components["location"] == pytest.approx(2 * stats.norm.sf(abs(z[0])), rel=1e-9)


@pytest.mark.parametrize(("share", "rows"), [(0.5, 40), (0.02, 200), (0.001, 2_000), (0.03, 3_000)])
def test_the_share_test_is_never_smaller_than_it_may_be(share, rows):
    rng = np.random.default_rng(23)
    a, b = rng.binomial(20_000, share, 40_000), rng.binomial(rows, share, 40_000)
    p = c.share_test(b, rows, a, 20_000)
    for level in (0.05, 0.01, 0.001):
        assert np.nanmean(p <= level) <= level + 4 * np.sqrt(level / 40_000) + 0.15 * level


def test_two_levels_are_one_question():
    reference = categorical(["a"] * 6_000 + ["b"] * 4_000)
    found = compared(reference, np.array(["a"] * 530 + ["b"] * 470, dtype=object))
    assert found.components["levels"] == pytest.approx(float(c.share_test(470, 1_000, 4_000, 10_000)), rel=1e-12)


def test_a_certain_change_of_one_level_decides_among_many():
    rng = np.random.default_rng(24)
    levels = np.array([f"l{i:03}" for i in range(100)], dtype=object)
    reference = categorical(rng.choice(levels, 50_000))
    unchanged = compared(reference, rng.choice(levels, 2_000))
    moved = rng.choice(levels, 2_000)
    moved[:160] = "l007"
    assert unchanged.effects["tv"].value > 0.03
    assert unchanged.effects["tv"].p > 0.01
    assert compared(reference, moved).effects["tv"].p < 1e-9


def test_many_windows_at_once_are_judged_as_one_by_one():
    rng = np.random.default_rng(25)
    columns = {"x": rng.standard_normal(9_000), "c": rng.choice(np.array(list("abc"), dtype=object), 9_000)}
    reference = build_reference(columns, {"x": "numeric", "c": "categorical"})
    windows = [profile(reference, {n: v[i : i + 600] for n, v in columns.items()}) for i in range(0, 9_000, 600)]
    for window, together in zip(windows, c.compare_windows(reference, windows), strict=True):
        for one, same in zip(c.compare(reference, window), together, strict=True):
            assert (one.name, one.rows) == (same.name, same.rows)
            assert one.p == pytest.approx(same.p, rel=1e-9)
            assert one.components == pytest.approx(same.components, rel=1e-9)
            for effect, sized_ in one.effects.items():
                assert sized_ == pytest.approx(same.effects[effect], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("rows", [500, 3_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_effect_is_over_its_own_noise_no_oftener_than_it_says(shape, rows):
    reference = SHAPES[shape]()
    _, _, (before, after) = sized(reference, rows)
    for name, effect in c.column_effects(reference, "x", before, after).items():
        if name not in (
            "psi",
            "ks",
            "w1_sd",
            "mean_sd",
        ):  # those shown only, and the one without moments here
            assert (effect.p <= 0.01).mean() <= 0.02, name


def test_the_mean_shift_keeps_its_rate_on_skewed_numbers():
    rng = np.random.default_rng(9)
    values = rng.lognormal(size=50_000)
    reference = numeric(values)
    found = [compared(reference, rng.choice(values, 800)).effects["mean_sd"].p for _ in range(800)]
    assert np.mean(np.array(found) <= 0.01) <= 0.03


# ---------------------------------------------------------------- behaviour


def test_unchanged_rows_have_no_effect_and_p_near_one():
    reference = numeric(np.random.default_rng(10).standard_normal(5_000))
    (found,) = c.compare(reference, reference.profile)
    assert found.p > 0.9
    assert all(effect.value == 0 for effect in found.effects.values())


def test_a_constant_column_that_stays_constant_is_p_one():
    found = compared(numeric([3.0] * 600), [3.0] * 700)
    assert found.p == 1.0
    assert found.effects["js"].value == 0.0
    assert "mean_sd" not in found.effects


@pytest.mark.parametrize("value", [2.0, 3.5])
def test_a_constant_column_that_changes_its_value_is_seen(value):
    found = compared(numeric([3.0] * 600), [value] * 700)
    assert found.p < 1e-12
    assert found.effects["js"].value == 1.0


def test_all_missing_is_seen_and_nothing_is_nan():
    found = compared(numeric(np.arange(600.0)), [np.nan] * 600)
    assert found.p < 1e-12
    assert found.effects["missing_pp"].value == 100.0
    assert all(np.isfinite(effect).all() for effect in found.effects.values())


def test_infinities_are_an_effect_of_their_own():
    values = np.arange(1000.0)
    window = np.where(np.arange(1000) % 10 == 0, np.inf, values)
    found = compared(numeric(values), window)
    assert found.components["infinite"] < 1e-12
    assert found.effects["missing_pp"].value == pytest.approx(10.0)


def test_unseen_levels_are_measured_in_percentage_points():
    found = compared(categorical(["a", "b"] * 500), np.array(["a"] * 480 + ["new"] * 20, dtype=object))
    assert found.effects["unseen_pp"].value == pytest.approx(4.0)
    assert found.components["unseen"] < 1e-9


def test_one_wild_value_is_not_a_shift_of_the_mean():
    values = np.random.default_rng(12).standard_normal(5_000)
    found = compared(numeric(values), np.append(values[:999], 1e9))
    assert found.effects["mean_sd"].value > 1e5
    assert found.effects["mean_sd"].p > 0.3


def test_scale_and_skew_are_seen_where_location_stands_still():
    rng = np.random.default_rng(13)
    found = compared(numeric(rng.standard_normal(20_000)), 1.4 * rng.standard_normal(1_500))
    assert found.components["location"] > 1e-3
    assert found.components["smooth"] < 1e-9


def test_the_largest_of_several_projections_speaks_for_a_vector():
    rng = np.random.default_rng(14)
    vectors = rng.standard_normal((5_000, 16))
    reference = build_reference({"v": vectors}, {"v": "vector"})
    (same,) = c.compare(reference, profile(reference, {"v": rng.standard_normal((1_000, 16))}))
    (moved,) = c.compare(reference, profile(reference, {"v": rng.standard_normal((1_000, 16)) + 0.5}))
    assert same.p > 1e-3
    assert moved.p < 1e-9
    assert moved.effects["mean_sd"].value > 0.3


def test_a_window_counted_elsewhere_is_refused():
    with pytest.raises(Conflict, match="counts on reference"):
        c.compare(numeric(np.arange(100.0)), numeric(np.arange(101.0)).profile)


def test_a_column_not_recorded_has_no_rows_and_p_one():
    reference = numeric(np.arange(100.0))
    (found,) = c.compare(reference, profile(reference, {}, absent=("x",)))
    assert (found.rows, found.p) == (0, 1.0)


# ---------------------------------------------------------------- drawing


def test_numbers_are_drawn_on_about_ten_bins_that_cover_every_row():
    values = np.random.default_rng(15).standard_normal(10_000)
    reference = numeric(values)
    drawn = c.draw(reference.parts[0], reference.profile.parts[0].counts, reference.profile.parts[0].counts)
    assert 8 <= len(drawn.labels) <= 11
    assert sum(drawn.before) == pytest.approx(1.0, abs=1e-4)
    assert max(drawn.before) < 0.13
    assert drawn.labels[0].startswith("<= ")
    assert drawn.labels[-1].startswith("> ")


def test_few_values_are_drawn_by_value():
    reference = numeric([0, 0, 1, 2])
    window = profile(reference, {"x": np.array([2.0, 2.0, 5.0, -1.0])})
    drawn = c.draw(reference.parts[0], reference.profile.parts[0].counts, window.parts[0].counts)
    assert drawn.labels[1:-1] == ("0", "1", "2")
    assert drawn.labels[-1] == "> 2"
    assert drawn.after == (0.25, 0.0, 0.0, 0.5, 0.25)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40])
def test_levels_are_drawn_ten_at_most_with_the_rest_and_the_unseen(count):
    values = np.repeat(np.array([f"l{i:02}" for i in range(count)], dtype=object), np.arange(count, 0, -1) * 10)
    reference = categorical(values)
    window = profile(reference, {"x": np.append(values, ["new"] * 5).astype(object)})
    drawn = c.draw(reference.parts[0], reference.profile.parts[0].counts, window.parts[0].counts)
    named = [f"l{i:02}" for i in range(min(count, 10))]
    assert drawn.labels == (*named, *(["other"] if count > 10 else []), "unseen")
    assert sum(drawn.after) == pytest.approx(1.0, abs=1e-4)
