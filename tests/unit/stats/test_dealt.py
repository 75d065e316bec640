from __future__ import annotations

from math import comb, exp, log

import numpy as np
import pytest

from mlspine.stats import dealt
from mlspine.stats.dealt import RATIOS, excess, exposure, log_evidence, log_factors, misdealt
from mlspine.stats.sequential import radius, share


def test_the_evidence_is_the_mean_of_binomial_likelihood_ratios() -> None:
    live, candidate, q = 7, 5, 0.2
    n = live + candidate

    def likelihood(p: float) -> float:
        return comb(n, candidate) * p**candidate * (1 - p) ** live

    at = [q * ratio / (q * ratio + 1 - q) for ratio in RATIOS]
    by_hand = log(sum(likelihood(p) / likelihood(q) for p in at) / len(at))
    assert float(log_evidence(log_factors(np.array(live), np.array(candidate), q))) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("q", [0.05, 0.5])
def test_under_no_worse_its_expectation_is_one_and_below_where_the_candidate_is_better(q: float) -> None:
    n = 12
    bad = np.arange(n + 1)
    odds = np.exp(log_evidence(log_factors(n - bad, bad, q)))
    for true, expected in ((q, 1.0), (q / 2, None)):
        weights = np.array([comb(n, k) * true**k * (1 - true) ** (n - k) for k in range(n + 1)])
        mean = float((weights * odds).sum())
        assert mean == pytest.approx(1.0) if expected else mean < 1.0


def test_strata_of_different_shares_keep_a_daily_cycle_from_looking_like_a_worse_candidate() -> None:
    # 1% fail at night at a share of 5%, 3% by day at a share of 50%: pooled, the candidate fails more.
    live, candidate = np.array([95.0, 150.0]), np.array([5.0, 150.0])
    requests = np.array([9_500.0, 5_000.0]), np.array([500.0, 5_000.0])
    exposed = exposure(*requests, np.array([0.05, 0.5]))
    assert float(log_evidence(log_factors(live, candidate, exposed).sum(axis=0))) < 0
    pooled = log_factors(live.sum(), candidate.sum(), float(requests[1].sum() / sum(map(np.sum, requests))))
    assert float(log_evidence(pooled)) > log(100)


def test_a_candidate_that_had_more_requests_than_it_was_dealt_is_held_to_what_it_had() -> None:
    assert exposure(np.array([50.0]), np.array([50.0]), 0.05).tolist() == [0.5]
    assert exposure(np.array([99.0]), np.array([1.0]), 0.05).tolist() == [0.05]
    assert exposure(np.array([0.0]), np.array([0.0]), 0.05).tolist() == [0.05]
    factors = [log_factors(np.array(4), np.array(4), q) for q in (0.05, 0.5)]
    assert float(log_evidence(factors[1])) < float(log_evidence(factors[0]))


def test_looked_at_after_every_failure_it_is_wrong_less_often_than_its_level() -> None:
    rng = np.random.default_rng(7)
    streams, failures = 4_000, 300
    mine = np.cumsum(rng.random((streams, failures)) < 0.25, axis=1)
    all_of = np.arange(1, failures + 1)
    ever = (log_evidence(log_factors(all_of - mine, mine, 0.25)) >= log(20)).any(axis=1)
    assert 0.005 < ever.mean() < 0.05


def test_the_difference_is_weighed_as_mantel_and_haenszel_do() -> None:
    live, candidate = np.array([900.0, 500.0]), np.array([100.0, 500.0])
    bad = np.array([9.0, 15.0]), np.array([8.0, 60.0])
    found = excess(live, bad[0], candidate, bad[1], scale=0.01, level=0.975)
    weight = [900 * 100 / 1000, 500 * 500 / 1000]
    assert found.value == pytest.approx((weight[0] * (0.08 - 0.01) + weight[1] * (0.12 - 0.03)) / sum(weight))
    spread = 0.0
    for w, n_a, k_a, n_b, k_b in zip(weight, live, bad[0], candidate, bad[1], strict=True):
        a, b = (k_a + 0.5) / (n_a + 1), (k_b + 0.5) / (n_b + 1)
        spread += (w / sum(weight)) ** 2 * (a * (1 - a) / n_a + b * (1 - b) / n_b)
    assert found.hi - found.value == pytest.approx(float(radius(spread, scale=0.01, level=0.975)))


def test_few_bad_answers_have_an_exact_upper_limit_and_customers_widen_every_limit() -> None:
    live, candidate, none = np.array([1000.0]), np.array([1000.0]), np.array([0.0])
    few = excess(live, none, candidate, np.array([3.0]), scale=0.01, level=0.95)
    assert few.hi == share(3, 1000, level=0.95).hi
    each = excess(live, none, candidate, np.array([400.0]), scale=0.01, level=0.95)
    units = excess(live, none, candidate, np.array([400.0]), scale=0.01, level=0.95, again=4.0)
    assert units.hi > each.hi
    assert units.lo < each.lo
    assert excess(none, none, candidate, none, scale=0.01, level=0.95).hi == 1.0


def test_a_share_that_was_not_dealt_is_called_and_a_heavy_customer_s_is_not() -> None:
    assert misdealt(500, 1_000, 0.05, within=2.0)
    assert not misdealt(80, 1_000, 0.05, within=2.0)
    assert misdealt(100, 10_000, 0.05, within=2.0)
    assert not misdealt(0, 0, 0.05, within=2.0)
    assert not misdealt(900, 1_000, 1.0, within=2.0)


def test_large_evidence_does_not_overflow() -> None:
    found = float(log_evidence(log_factors(np.array(0), np.array(10_000), 0.05)))
    assert exp(min(found, 700.0)) > 1e300
    assert np.isfinite(found)
    assert len(dealt.RATIOS) == 8
