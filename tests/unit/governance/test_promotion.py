"""The promotion gate: what it lets through, what it holds back, and what it says of either."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mlspine.core.types import Interval
from mlspine.governance.promotion import Comparison, Mode, Slice, Verdict, judge
from mlspine.stats.paired import Gain, paired_gain


def gain(value: float, lo: float, **changes: Any) -> Gain:
    told = {
        "metric": "f1",
        "relative": False,
        "rows": 1_000,
        "production": 0.7,
        "candidate": 0.7 + value,
        "differing": 100,
        "interval": Interval(value=value, lo=lo, hi=2 * value - lo, level=0.9),
        "error": (value - lo) / 1.645,
    }
    return Gain(**{**told, **changes})


def verdict(measured: Gain, mode: Mode = "new recipe", **changes: Any) -> Verdict:
    return judge(Comparison(model="churn", candidate=2, production=1, gain=measured, **changes), mode)


def planted(rows: int, better: float) -> Gain:
    """Production right in 80% of rows at F1 0.8; the candidate mends so many of its misses that F1 gains `better`."""
    truth = np.tile([0, 1], rows // 2)
    production = truth.copy()
    production[np.arange(rows) % 10 < 2] ^= 1
    candidate = production.copy()
    misses = np.flatnonzero(production != truth)
    hits = np.flatnonzero(production == truth)
    mended = round(rows * better) + rows // 20  # as many as it breaks elsewhere, and the gain on top
    candidate[misses[:mended]] ^= 1
    candidate[hits[: rows // 20]] ^= 1
    return paired_gain("binary", truth, production, candidate, (0, 1))


def test_three_points_of_f1_within_noise_on_200_rows_are_refused() -> None:
    measured = planted(200, 0.03)
    assert measured.interval is not None
    assert measured.interval.value == pytest.approx(0.03, abs=0.002)
    refused = verdict(measured)
    assert refused.status == "REFUSED"
    assert "within noise on 200 rows" in refused.paragraph
    assert 200 < refused.needed < 20_000
    assert f"About {refused.needed:,} rows would decide" in refused.paragraph


def test_the_same_gain_on_20_000_rows_is_promoted() -> None:
    measured = planted(20_000, 0.03)
    assert measured.interval is not None
    assert measured.interval.value == pytest.approx(0.03, abs=0.002)
    assert verdict(measured).passed


def test_the_verdict_shows_its_margin_metric_rows_and_interval() -> None:
    told = verdict(planted(20_000, 0.03))
    assert "on 20,000 rows its f1 is 0.83 against 0.8" in told.paragraph.lower()
    assert "0.02" in told.bar
    assert "absolute" in told.bar
    assert "F1" in told.bar
    assert told.comparison.gain.interval is not None
    assert f"{told.comparison.gain.interval.lo:.4f}" in told.paragraph


def test_a_real_gain_below_the_margin_is_no_reason_for_a_new_recipe() -> None:
    small = verdict(gain(0.015, 0.012))
    assert small.status == "REFUSED"
    assert "more than 0.02" in small.paragraph
    assert small.needed == 0


def test_an_equal_refresh_passes_and_the_same_numbers_fail_as_a_new_recipe() -> None:
    assert verdict(gain(0.0, -0.01), "refresh").passed
    assert not verdict(gain(0.0, -0.01), "new recipe").passed


def test_a_refresh_that_may_be_worse_by_the_margin_is_refused_with_the_rows_it_takes() -> None:
    unsure = verdict(gain(0.0, -0.04), "refresh")
    assert unsure.status == "REFUSED"
    assert unsure.needed == 4_000  # half the spread takes four times the rows
    worse = verdict(gain(-0.03, -0.04), "refresh")
    assert worse.needed == 0
    assert "0.0300 lower" in worse.paragraph


def test_a_refresh_that_does_not_reproduce_its_recorded_rows_is_refused() -> None:
    broken = verdict(gain(0.01, 0.0), "refresh", recorded=100, reproduced=98)
    assert broken.status == "REFUSED"
    assert "98 of 100" in broken.paragraph


def test_production_itself_is_named_as_itself() -> None:
    same = verdict(gain(0.0, 0.0, differing=0), same_release=True)
    assert same.status == "PRODUCTION_ITSELF"
    assert same.paragraph.startswith("churn:2 is Production itself.")
    alike = verdict(gain(0.0, 0.0, differing=0))
    assert alike.status == "PRODUCTION_ITSELF"
    assert "the same answer as Production to each of 1,000 rows" in alike.paragraph


def test_too_few_rows_are_not_estimable_and_say_how_many_it_takes() -> None:
    few = Gain(metric="f1", relative=False, rows=30, needed=50, reason="30 labelled rows are too few")
    told = verdict(few)
    assert (told.status, told.needed) == ("NOT_ESTIMABLE", 50)
    assert "About 50 labelled rows are needed." in told.paragraph


def test_a_better_average_does_not_hide_a_slice_that_is_clearly_worse() -> None:
    bad = Slice(name="city = Oslo", gain=gain(-0.2, -0.3, rows=300))
    fine = Slice(name="city = Bern", gain=gain(0.1, 0.05, rows=700))
    held = verdict(gain(0.05, 0.03), slices=(fine, bad))
    assert held.status == "REFUSED"
    assert [each.name for each in held.worse] == ["city = Oslo"]
    assert "city = Oslo (0.2 worse on 300 rows)" in held.paragraph


@pytest.mark.parametrize(
    "part",
    [
        Slice(name="few rows", gain=gain(-0.4, -0.5, rows=49)),
        Slice(name="a small loss", gain=gain(-0.04, -0.05, rows=500)),
        Slice(name="noise", gain=gain(-0.2, -0.6, rows=60)),
    ],
    ids=lambda part: part.name,
)
def test_what_is_no_clear_loss_of_a_slice_stops_nothing(part: Slice) -> None:
    assert verdict(gain(0.05, 0.03), slices=(part,)).passed


def test_many_slices_share_the_confidence() -> None:
    """One slice at p = 0.01 is a finding among two and none among a hundred."""
    doubtful = Slice(name="doubtful", gain=gain(-0.1, -0.1 - 1.645 * 0.043))
    others = tuple(Slice(name=str(at), gain=gain(0.0, -0.05)) for at in range(99))
    assert verdict(gain(0.05, 0.03), slices=(doubtful, others[0])).worse
    assert not verdict(gain(0.05, 0.03), slices=(doubtful, *others)).worse


def test_errors_of_numbers_are_judged_as_a_share() -> None:
    measured = gain(0.05, 0.03, metric="mae", relative=True, production=2.0, candidate=1.9)
    told = verdict(measured)
    assert told.passed
    assert "relative" in told.bar
    assert "5.0% lower (of Production's error" in told.paragraph


def test_what_cannot_be_proved_is_said() -> None:
    told = verdict(gain(0.05, 0.03), rows_from="new.csv", excluded=12, unproven="churn:1 is old")
    assert "The rows: new.csv, less 12 that one of the two was fitted on." in told.paragraph
    assert "not proved: churn:1 is old." in told.paragraph


def test_a_verdict_travels_as_json() -> None:
    told = verdict(planted(200, 0.03), slices=(Slice(name="a", gain=gain(0.0, -0.1)),))
    assert msgspec.json.decode(msgspec.json.encode(told), type=Verdict) == told
