"""The judge: identical, within the band, different; and how often it errs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlspine.core.errors import Invalid
from mlspine.core.types import CodeState
from mlspine.tracking.capture import Captured
from mlspine.tracking.reproduction import changes, first_difference, judge, judged

Histories = dict[str, list[tuple[int, float]]]


def noisy(dice: np.random.Generator, *, shift: float = 0.0) -> Histories:
    """Two metrics of ten steps whose whole curve is a little higher or lower each time."""
    level = dice.normal(0, 0.05, size=2)
    return {
        key: [(step, 1 / (step + 1) + level[at] + shift + dice.normal(0, 0.01)) for step in range(10)]
        for at, key in enumerate(("loss", "score"))
    }


def test_the_same_values_are_identical_by_one_repetition() -> None:
    run: Histories = {"loss": [(0, 1.0), (1, math.nan), (2, math.inf)], "acc": [(0, 0.1)]}
    told = judge(run, [{key: list(points) for key, points in run.items()}])
    assert (told.verdict, told.metrics, told.points, told.difference) == ("IDENTICAL", 2, 4, None)


def test_the_last_bit_counts() -> None:
    with pytest.raises(Invalid, match="does not tell chance from change"):
        judge({"loss": [(0, 0.1 + 0.2)]}, [{"loss": [(0, 0.3)]}])


def test_repetitions_that_do_not_vary_leave_nothing_to_chance() -> None:
    again: Histories = {"loss": [(0, 1.0), (1, 0.500001)]}
    told = judge({"loss": [(0, 1.0), (1, 0.5)]}, [again, again])
    assert told.verdict == "DIFFERENT"
    assert told.difference is not None
    assert (told.difference.step, told.difference.was, told.difference.is_now) == (1, 0.5, 0.500001)


def test_the_earliest_step_is_named_and_then_the_first_metric() -> None:
    there: Histories = {"a": [(0, 1.0), (5, 2.0)], "b": [(0, 1.0), (3, 2.0)], "c": [(3, 7.0)]}
    here: Histories = {"a": [(0, 1.0), (5, 9.0)], "b": [(0, 1.0), (3, 9.0)], "c": [(3, 9.0)]}
    difference = first_difference(there, here)
    assert difference is not None
    assert (difference.metric, difference.step) == ("b", 3)


def test_points_that_are_missing_or_new_are_differences() -> None:
    gone = first_difference({"a": [(0, 1.0), (1, 2.0)]}, {"a": [(0, 1.0)]})
    new = first_difference({"a": [(0, 1.0)]}, {"a": [(0, 1.0), (1, 2.0)]})
    other = first_difference({"a": [(0, 1.0)]}, {"b": [(0, 1.0)]})
    assert gone is not None
    assert (gone.step, gone.was, gone.is_now) == (1, 2.0, None)
    assert new is not None
    assert (new.step, new.was, new.is_now) == (1, None, 2.0)
    assert other is not None
    assert (other.metric, other.is_now) == ("a", None)


def test_a_metric_that_only_the_run_has_makes_it_different() -> None:
    dice = np.random.default_rng(0)
    told = judge(noisy(dice) | {"extra": [(0, 1.0)]}, [noisy(dice), noisy(dice)])
    assert (told.verdict, told.difference and told.difference.metric) == ("DIFFERENT", "extra")


def test_metrics_of_the_machine_take_no_part() -> None:
    assert list(judged({"system/cpu": [(0, 1.0)], "loss": [(0, 1.0)], "empty": []})) == ["loss"]
    with pytest.raises(Invalid, match="no metric"):
        judge({"system/cpu": [(0, 1.0)]}, [{}])


@pytest.mark.parametrize("repetitions", [2, 3, 6])
def test_at_most_one_honest_run_in_twenty_is_called_different(repetitions: int) -> None:
    dice = np.random.default_rng(repetitions)
    trials = 600
    called = sum(
        judge(noisy(dice), [noisy(dice) for _ in range(repetitions)]).verdict == "DIFFERENT" for _ in range(trials)
    )
    assert called / trials <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / trials)  # a chance of 0.5% to fail at exactly 5%


def test_a_real_change_leaves_the_band_at_the_first_step_it_reaches() -> None:
    dice = np.random.default_rng(1)
    run = noisy(dice)
    run["loss"] = run["loss"][:4] + [(step, value + 2.0) for step, value in run["loss"][4:]]
    told = judge(run, [noisy(dice) for _ in range(5)])
    assert told.verdict == "DIFFERENT"
    assert told.difference is not None
    assert (told.difference.metric, told.difference.step) == ("loss", 4)
    assert [band.metric for band in told.bands if not band.holds] == ["loss", "loss"]


def test_a_figure_that_is_not_a_number_must_be_so_each_time() -> None:
    dice = np.random.default_rng(2)
    broken: Histories = {"loss": [(0, math.nan)]}
    assert judge(noisy(dice) | broken, [noisy(dice) | broken for _ in range(2)]).verdict == "WITHIN_BAND"
    fine: Histories = {"loss": [(0, 1.0)]}
    assert judge(noisy(dice) | broken, [noisy(dice) | fine for _ in range(2)]).verdict == "DIFFERENT"


def test_what_changed_is_named_data_first() -> None:
    before = Captured(code=CodeState(commit="a" * 40), libraries={"numpy": "2.1.0", "scipy": "1.0"})
    after = Captured(code=CodeState(commit="b" * 40), libraries={"numpy": "2.2.0"})
    assert changes(before, after, data_before={"train": "11"}, data_after={"train": "22"}) == (
        "data 'train': digest 11, now 22",
        "commit aaaaaaaaaa, now bbbbbbbbbb",
        "numpy 2.1.0, now 2.2.0",
        "scipy 1.0, now absent",
    )
    assert changes(before, before, data_before={}, data_after={}) == ()
