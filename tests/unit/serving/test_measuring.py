from __future__ import annotations

import numpy as np
import pytest

from mlspine.registry.flavors import Outputs
from mlspine.serving import measuring


def test_single_rows_are_timed_in_rotation() -> None:
    seen = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        seen.append(columns["a"].tolist())
        return Outputs(columns["a"], None)

    ticks = iter(range(10_000))
    speed = measuring.measure(predict, {"a": np.arange(3.0)}, timer=lambda: next(ticks) / 1000)
    assert (speed.p50_s, speed.p99_s) == pytest.approx((0.001, 0.001))
    assert len(seen) == 2 + measuring.TIMED_CALLS + measuring.TIMED_BATCHES
    assert {tuple(each) for each in seen if len(each) == 1} == {(0.0,), (1.0,), (2.0,)}


def test_a_slow_model_is_timed_by_few_calls() -> None:
    calls = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        calls.append(columns)
        return Outputs(columns["a"], None)

    ticks = iter(range(10_000))
    speed = measuring.measure(predict, {"a": np.arange(3.0)}, timer=lambda: next(ticks) * 0.4)
    assert speed.p50_s == pytest.approx(0.4)
    assert len(calls) < measuring.TIMED_CALLS / 2


def test_sizes_beyond_the_first_too_long_call_are_not_tried() -> None:
    sizes = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        sizes.append(len(columns["a"]))
        return Outputs(columns["a"], None)

    ticks = iter(range(10_000))
    times = measuring.call_times(predict, {"a": np.arange(3.0)}, within_s=0.5, timer=lambda: float(next(ticks)))
    assert set(sizes) == {1}
    assert list(times) == [1]


def test_a_call_takes_as_many_rows_as_help_and_no_more_than_the_bound_allows() -> None:
    flat = {1: 0.0005, 4: 0.002, 16: 0.008, 64: 0.032}
    assert measuring.largest_call(flat, within_s=0.1) == 1  # the model gains nothing by rows together
    shared = {1: 0.0005, 4: 0.0006, 16: 0.0009, 64: 0.0021}
    assert measuring.largest_call(shared, within_s=0.002) == 16
    assert measuring.largest_call(shared, within_s=0.1) == 64
    assert measuring.largest_call({}, within_s=0.1) == 0
