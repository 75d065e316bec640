"""Mix and rate sum to the change; a group is named when its change is its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlspine.stats.mix import comparable, named, share_p, split

rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(-10, 10)), min_size=1, max_size=40
)  # fmt: skip


@given(rows, rows)
def test_the_parts_sum_to_the_change_of_the_mean(before: list[tuple[str, float]], now: list[tuple[str, float]]) -> None:
    old, new = (
        (np.array([g for g, _ in each], dtype=object), np.array([v for _, v in each])) for each in (before, now)
    )
    parts = split(*old, *new)
    assert sum(part.mix + part.rate for part in parts) == pytest.approx(new[1].mean() - old[1].mean(), abs=1e-9)
    assert sum(part.share_now for part in parts) == pytest.approx(1.0)


def test_a_group_against_the_rest_is_welchs_test_of_the_two_changes() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(["a", "b"], 500).astype(object)
    before, now = rng.normal(size=1000), rng.normal(size=1000)
    now[:500] += 0.3
    part = next(each for each in split(group, before, group, now) if each.level == "a")
    variance = sum(x.var(ddof=1) / 500 for x in (before[:500], before[500:], now[:500], now[500:]))
    z = ((now[:500].mean() - before[:500].mean()) - (now[500:].mean() - before[500:].mean())) / np.sqrt(variance)
    assert part.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)


def test_only_the_group_that_changed_is_named_and_a_change_of_all_names_none() -> None:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 8, 6000).astype(object)
    before = rng.normal(size=6000)
    one = rng.normal(size=6000) + 1.0 * (group == 3)
    parts = split(group, before, group, one)
    assert [each.level for each in named(parts, looked_at=sum(map(comparable, parts)))] == [3]
    everyone = split(group, before, group, rng.normal(size=6000) + 1.0)
    assert named(everyone, looked_at=8) == []


def test_a_group_that_is_new_is_mix_and_its_share_is_tested() -> None:
    before = np.array(["a"] * 1000, dtype=object), np.zeros(1000)
    now = np.array(["a"] * 900 + ["new"] * 100, dtype=object), np.r_[np.zeros(900), np.ones(100)]
    new = next(each for each in split(*before, *now) if each.level == "new")
    assert (new.mix, new.rate) == (pytest.approx(0.1), 0.0)
    assert not comparable(new)
    assert share_p(new, 1000, 1000) < 1e-10
