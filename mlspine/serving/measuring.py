"""How fast a predictor is on rows that rotate, and how many rows a call of it should take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mlspine.core.columns import take
from mlspine.core.types import Columns
from mlspine.registry.flavors import Predictor

TIMED_CALLS = 100
TIMED_FOR_S = 0.3  # a slow model is not timed longer than this, once it has been tried LEAST_TIMED_CALLS times
LEAST_TIMED_CALLS = 20
CAPACITY_ROWS = 64
TIMED_BATCHES, LEAST_TIMED_BATCHES = 40, 5
SIZES = (1, 4, 16, 64, 256, 1024)  # rows per call that are tried
LOOP_CALL_S = 0.002  # a longer call would hold up everybody else in the event loop
APART_CALL_S = 0.050  # of one that holds up nobody but those who wait for this model
CALL_OVERHEAD_S = 20e-6  # of gathering, recording and answering, whatever the model
SINGLE_COUNTS = 0.05
HELPS = 0.95  # a larger call must take less than this share of the time per row

Timer = Callable[[], float]


class Speed(NamedTuple):
    """Seconds per single-row model call, and rows per second in batches of CAPACITY_ROWS."""

    p50_s: float
    p95_s: float
    p99_s: float
    capacity_rows_per_s: float

    @property
    def cost_s(self) -> float:
        """What runtimes are chosen by: seconds per row in full batches, where time is short, and a twentieth of what a
        single row takes, where a few microseconds more are lost in those of HTTP."""
        return 1.0 / max(self.capacity_rows_per_s, 1e-9) + SINGLE_COUNTS * self.p50_s


def measure(predictor: Predictor, rows: Columns, *, timer: Timer = time.perf_counter) -> Speed:
    """Time single rows, each time another one, and batches of others; zeros when there are no rows to try.

    Rows that repeat would flatter tree models, whose branches the processor then predicts: up to five times.
    """
    count = len(next(iter(rows.values()), ()))
    if count == 0:
        return Speed(0.0, 0.0, 0.0, 0.0)
    singles = [take(rows, slice(i, i + 1)) for i in range(count)]
    dice = np.random.default_rng(0)
    batches = [take(rows, dice.integers(count, size=CAPACITY_ROWS)) for _ in range(TIMED_BATCHES)]
    predictor(singles[0]), predictor(batches[0])
    times: list[float] = []
    while len(times) < TIMED_CALLS and (len(times) < LEAST_TIMED_CALLS or sum(times) < TIMED_FOR_S):
        times.append(_timed(predictor, singles[len(times) % count], timer))
    p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99]).tolist()
    batch_s: list[float] = []
    while len(batch_s) < TIMED_BATCHES and (len(batch_s) < LEAST_TIMED_BATCHES or sum(batch_s) < TIMED_FOR_S):
        batch_s.append(_timed(predictor, batches[len(batch_s)], timer))
    return Speed(p50, p95, p99, CAPACITY_ROWS / max(float(np.median(batch_s)), 1e-9))


def call_times(
    predictor: Predictor, rows: Columns, *, within_s: float, timer: Timer = time.perf_counter
) -> dict[int, float]:
    """Seconds of a call by its number of rows, the best of three; sizes beyond the first too long one are not tried."""
    count = len(next(iter(rows.values()), ()))
    times: dict[int, float] = {}
    for size in SIZES if count else ():
        batch = take(rows, np.arange(size) % count)
        times[size] = min(_timed(predictor, batch, timer) for _ in range(3))
        if times[size] > within_s:
            break
    return times


def largest_call(times: Mapping[int, float], *, within_s: float) -> int:
    """The most rows to give the model at once: as many as help, in calls no longer than `within_s`; 0 if unmeasured.

    >>> largest_call({1: 50e-6, 4: 60e-6, 16: 100e-6, 64: 250e-6, 256: 900e-6, 1024: 3e-3}, within_s=0.002)
    256
    >>> largest_call({1: 0.004, 4: 0.016}, within_s=0.002)
    1
    """
    if not times:
        return 0
    chosen, per_row = 1, times[1] + CALL_OVERHEAD_S
    for size, seconds in sorted(times.items()):
        each = (seconds + CALL_OVERHEAD_S) / size
        if seconds <= within_s and each < HELPS * per_row:
            chosen, per_row = size, each
    return chosen


def _timed(predictor: Predictor, rows: Columns, timer: Timer) -> float:
    began = timer()
    predictor(rows)
    return timer() - began
