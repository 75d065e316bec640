"""How near AUC without labels comes, what its interval covers, and whether a changed concept is noticed.

Every window is estimated as the product does it (`monitoring/estimated.py`) from the labelled rows of March and of
the windows before it: labels come one window late, for every contestant alike. The truth is scikit-learn's AUC on
labels the estimators have not seen at that point.

    python benchmarks/monitoring/estimates.py [--rivals-python PYTHON]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy
import sklearn
from scipy.stats import beta
from scipy.stats import t as student
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

import mlspine
from mlspine.core.types import Interval
from mlspine.monitoring.cutting import Cut, cut
from mlspine.monitoring.estimated import Source, estimate_cuts
from mlspine.monitoring.window import Period
from mlspine.stats.blind import METRICS
from mlspine.stats.interval import delong_auc
from mlspine.stats.tally import bins_of, parts_of_days, tally

sys.path.insert(0, str(Path(__file__).parent))
from estimate_streams import Stream, flights, flipped, simulated, stops

Array = np.ndarray[Any, np.dtype[Any]]
LEVEL = 0.9
LEAST_ROWS = 300
RESAMPLES = 2000
EVER = 2**61
PERIODS: tuple[Period, ...] = ("month", "week")
FLIPS = (0.05, 0.1, 0.2)
FLIP_AT = 12  # windows before labels start to be turned round
MINE, LAST, FIXED, ROLLING, RIVAL = "mlspine", "last value", "CBPE, fixed", "CBPE, rolling", "NannyML CBPE"


class Window(NamedTuple):
    """One window of one stream: the truth, and (value, lo, hi) by contestant."""

    stream: str
    number: int  # matured windows before it
    truth: float
    by: dict[str, tuple[float, float, float]]
    status: str


# ---------------------------------------------------------------- one stream


def judged(stream: Stream, period: Period) -> list[Window]:
    """Every window of a stream that has both classes and enough rows, as the product and simple rules see it."""
    windows = estimated(stream, period)
    _, cuts = prepared(stream, period)
    held = stream.held_out
    last, differences = _auc(stream.label[held], stream.score[held]), list[float]()
    fixed = IsotonicRegression(out_of_bounds="clip").fit(stream.score[held], stream.label[held])
    sd_at_ship = _sd(delong_auc(stream.label[held] == 1, stream.score[held]))
    for number, (one, window) in enumerate(zip(cuts, windows, strict=True)):
        score = stream.score[_inside(stream, one)]
        window.by[LAST] = _around(last, differences, sd_at_ship)
        window.by[FIXED] = (_expected(fixed.predict(score), score), np.nan, np.nan)
        window.by[ROLLING] = (_rolling(stream, cuts[:number], number, score), np.nan, np.nan)
        differences.append(window.truth - last)
        last = window.truth
    return windows


def estimated(stream: Stream, period: Period) -> list[Window]:
    """The same windows with the product's estimates alone."""
    source, cuts = prepared(stream, period)
    truths = {one.span.from_at_ms: _truth(stream, one) for one in cuts}
    realised = {
        (start, "auc"): Interval(value=value, lo=value, hi=value, level=LEVEL, method="")
        for start, value in truths.items()
    }
    found = estimate_cuts(source, cuts, realised, {}, period, endpoint="study", release_hash="", as_of_ms=0)
    return [
        Window(
            stream.name,
            number,
            truths[each.from_at_ms],
            {MINE: (each.interval.value, each.interval.lo, each.interval.hi)} if each.interval else {},
            each.status,
        )
        for number, each in enumerate(each for each in found if each.metric == "auc")
    ]


def prepared(stream: Stream, period: Period) -> tuple[Source, list[Cut]]:
    """What a release carries, and the windows, as the product makes them."""
    held = stream.held_out
    bins = bins_of("binary", (0, 1), stream.score[held])
    assert bins is not None
    columns = _columns(stream, held)
    parts = [
        (start, end, tally(bins, {name: values[where] for name, values in columns.items()}))
        for start, end, where in parts_of_days(stream.at_ms[held], int(held.sum()))
    ]
    rest = _columns(stream, ~held)
    cuts = cut(bins, {k: v for k, v in rest.items() if k != "label"}, rest, period, now_ms=EVER, max_delay_ms=0)
    return Source(bins, parts), [one for one in cuts if _usable(stream, one)]


def _columns(stream: Stream, rows: Array) -> dict[str, Array]:
    return {
        "event_time": stream.at_ms[rows].astype("datetime64[ms]"),
        "prediction": (stream.score[rows] > 0.5).astype(np.int64),
        "score": stream.score[rows],
        "label": stream.label[rows],
    }


def _inside(stream: Stream, one: Cut) -> Array:
    return ~stream.held_out & (stream.at_ms >= one.span.from_at_ms) & (stream.at_ms < one.span.to_at_ms)


def _usable(stream: Stream, one: Cut) -> bool:
    label = stream.label[_inside(stream, one)]
    return label.size >= LEAST_ROWS and min(label.sum(), label.size - label.sum()) >= 10


def _truth(stream: Stream, one: Cut) -> float:
    rows = _inside(stream, one)
    return _auc(stream.label[rows], stream.score[rows])


def _auc(label: Array, score: Array) -> float:
    return float(roc_auc_score(label, score))


def _around(last: float, differences: Sequence[float], sd_at_ship: float) -> tuple[float, float, float]:
    """The last value with the interval its own steps so far suggest; before two of them, from sampling alone."""
    if len(differences) < 2:
        half = 1.645 * np.sqrt(2) * sd_at_ship
    else:
        half = float(student.ppf(0.5 + LEVEL / 2, len(differences)) * np.sqrt(np.mean(np.square(differences))))
    return last, last - half, last + half


def _rolling(stream: Stream, earlier: Sequence[Cut], number: int, score: Array) -> float:
    """CBPE recalibrated on the newest labels, half as much weight per window of age, as in the design."""
    weight = np.where(stream.held_out, 0.5**number, 0.0)
    for age, one in enumerate(reversed(earlier)):
        weight[_inside(stream, one)] = 0.5**age
    used = weight > 1e-2
    curve = IsotonicRegression(out_of_bounds="clip")
    curve.fit(stream.score[used], stream.label[used], sample_weight=weight[used])
    return _expected(curve.predict(score), score)


def _expected(chance: Array, score: Array) -> float:
    """AUC to expect: every row counts as `chance` of a positive and the rest of a negative."""
    return float(
        roc_auc_score(
            np.r_[np.ones(score.size), np.zeros(score.size)],
            np.r_[score, score],
            sample_weight=np.r_[chance, 1 - chance],
        )
    )


def _sd(interval: Interval) -> float:
    return (interval.hi - interval.lo) / (2 * 1.96)


def with_rival(streams: Sequence[Stream], period: Period, windows: list[list[Window]], python: str) -> None:
    """Adds to the windows of each stream what NannyML says of them, all in one process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for place, stream in enumerate(streams):
            _, cuts = prepared(stream, period)
            number = np.full(stream.at_ms.size, -1)
            for window, one in enumerate(cuts):
                number[_inside(stream, one)] = window
            kept = stream.held_out | (number >= 0)
            columns = {"window": number, "score": stream.score, "label": stream.label}
            frame = pd.DataFrame(columns | {"held_out": stream.held_out.astype(int)})
            frame[kept].to_csv(Path(folder, f"{place}.csv"), index=False)
        command = [python, str(Path(__file__).with_name("estimate_rival.py")), folder]
        quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=quiet)
        for place, own in enumerate(windows):
            said = pd.read_csv(Path(folder, f"{place}.out")).set_index("window")
            for each in own:
                each.by[RIVAL] = tuple(said.loc[each.number, ["value", "lo", "hi"]])


# ---------------------------------------------------------------- the figures


def accuracy_lines(windows: Sequence[Window]) -> list[str]:
    """Mean absolute error of every contestant, with an interval from resampling whole streams."""
    lines = []
    for name in (MINE, LAST, ROLLING, FIXED, RIVAL):
        pairs = [(each.stream, abs(each.by[name][0] - each.truth)) for each in windows if name in each.by]
        if pairs:
            mean, lo, hi = clustered(pairs)
            later = [abs(each.by[name][0] - each.truth) for each in windows if name in each.by and each.number >= 3]
            lines.append(
                f"    {name:<15} {mean:.4f} [{lo:.4f}, {hi:.4f}]   with 3 matured windows {np.mean(later):.4f}"
                f"   ({len(pairs)} windows)"
            )
    return lines


def interval_lines(windows: Sequence[Window]) -> list[str]:
    """Coverage, width and interval score (Gneiting and Raftery 2007) of 90% intervals once verified."""
    lines = []
    verified = [each for each in windows if each.number >= 3]
    for name in (MINE, LAST, RIVAL):
        known = [each for each in verified if name in each.by]
        if not known:
            continue
        truth = np.array([each.truth for each in known])
        lo, hi = np.array([each.by[name][1:] for each in known]).T
        inside = (truth >= lo) & (truth <= hi)
        miss = np.maximum(lo - truth, 0) + np.maximum(truth - hi, 0)
        score = np.mean(hi - lo + 2 / (1 - LEVEL) * miss)
        mean, low, high = clustered([(each.stream, float(hit)) for each, hit in zip(known, inside, strict=True)])
        lines.append(
            f"    {name:<15} covers {mean:.1%} [{low:.1%}, {high:.1%}], mean width {np.mean(hi - lo):.4f},"
            f" interval score {score:.4f}   ({len(known)} windows)"
        )
    return lines


def broken_lines(streams: Sequence[Stream], period: Period, what: str, pool: Executor) -> list[str]:
    """BROKEN where nothing was planted, and how many matured windows it takes where labels were flipped."""
    quiet = list(pool.map(estimated, streams, repeat(period)))
    pairs = [(each.stream, float(each.status == "BROKEN")) for own in quiet for each in own]
    mean, lo, hi = clustered(pairs)
    begun = [(own[0].stream, float(n)) for own in quiet for n in _begins(own)]
    lines = [
        f"  {what}, nothing planted: BROKEN in {mean:.2%} [{lo:.2%}, {hi:.2%}] of {len(pairs)} windows,"
        f" begun {sum(n for _, n in begun):.0f} times in {len(streams)} streams"
    ]
    for share in FLIPS:
        found = list(pool.map(planted, streams, repeat(period), repeat(share), range(len(streams))))
        waits, falls = (np.array(each) for each in zip(*found, strict=True))
        lines.append(
            f"    {share:.0%} of labels turned (AUC falls by {falls.mean():.3f}): BROKEN after 1 matured window in"
            f" {np.mean(waits <= 1):.0%}, 2 {np.mean(waits <= 2):.0%}, 3 {np.mean(waits <= 3):.0%},"
            f" 6 {np.mean(waits <= 6):.0%} of {len(waits)} streams"
        )
    return lines


def planted(stream: Stream, period: Period, share: float, seed: int) -> tuple[int, float]:
    """Matured windows until BROKEN once a share of the labels is turned round (99: never), and the fall of AUC."""
    _, cuts = prepared(stream, period)
    changed = estimated(flipped(stream, share, from_at_ms=cuts[FLIP_AT].span.from_at_ms, seed=seed), period)
    after = [each for each in changed if each.number >= FLIP_AT]
    wait = next((place + 1 for place, each in enumerate(after) if each.status == "BROKEN"), 99)
    fall = np.mean([_truth(stream, one) for one in cuts[FLIP_AT:]]) - np.mean([each.truth for each in after])
    return wait, float(fall)


def _begins(windows: Sequence[Window]) -> list[int]:
    states = [each.status == "BROKEN" for each in windows]
    return [sum(now and not before for before, now in zip([False, *states], states, strict=False))]


def clustered(pairs: Sequence[tuple[str, float]], seed: int = 0) -> tuple[float, float, float]:
    """Mean with a 95% interval from resampling whole streams.

    Where every stream says 0, the upper end is that of the share of streams that differ (Clopper and Pearson).
    """
    names = sorted({name for name, _ in pairs})
    sums = np.array([sum(value for name, value in pairs if name == each) for each in names])
    counts = np.array([sum(name == each for name, _ in pairs) for each in names])
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    lo, hi = np.quantile(sums[draws].sum(1) / counts[draws].sum(1), [0.025, 0.975])
    if not sums.any():
        hi = beta.ppf(0.975, 1, len(names))
    return float(sums.sum() / counts.sum()), float(lo), float(hi)


# ---------------------------------------------------------------- the study


def study(python: str, count: int, pool: Executor) -> list[str]:
    groups = {
        "flights, three airports together": list(flights(("all",))),
        "flights, JFK and LGA apart": list(flights(("JFK", "LGA"))),
        "police stops": list(stops()),
    }
    lines, every = list[str](), list[Window]()
    for period in PERIODS:
        for title, streams in groups.items():
            found = list(pool.map(judged, streams, repeat(period)))
            if python and period == "month":
                with_rival(streams, period, found, python)
            windows = [each for own in found for each in own]
            lines += ["", f"{title}: {len(streams)} models, {period}s"]
            lines += [*accuracy_lines(windows), *interval_lines(windows)]
            every += windows
            log(title, period)
    lines += ["", "all of the above together", *interval_lines(every)]
    made = list(simulated(count))
    lines += ["", f"simulated: {count} models, weeks; what comes in wanders, what scores mean does not"]
    quiet = [each for own in pool.map(judged, made, repeat(PERIODS[1])) for each in own]
    lines += [*accuracy_lines(quiet), *interval_lines(quiet)]
    log("simulated")
    lines += ["", "concept drift, weeks", *broken_lines(made, "week", "simulated", pool)]
    real = [stream for title in list(groups)[1:] for stream in groups[title]]
    log("planted")
    return [*lines, *broken_lines(real, "week", "JFK, LGA and stops (there the concept also moves by itself)", pool)]


def log(*what: str) -> None:
    print(time.strftime("%H:%M:%S"), *what, file=sys.stderr, flush=True)


def _only_auc() -> None:
    METRICS["binary"] = ("auc",)  # the other figures cost time and are not reported here


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rivals-python", default="", help="an interpreter with nannyml installed")
    parser.add_argument("--simulated", type=int, default=40)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    with ProcessPoolExecutor(given.processes, initializer=_only_auc) as pool:
        lines = study(given.rivals_python, given.simulated, pool)
    rival = " --rivals-python PYTHON (nannyml 0.13.1)" if given.rivals_python else ""
    print(f"python benchmarks/monitoring/estimates.py{rival} --simulated {given.simulated}")
    print(
        f"mlspine {mlspine.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__},"
        f" scipy {scipy.__version__}, CPython {platform.python_version()}"
    )
    print("AUC without labels; each window from the labelled rows of March and of the windows before it")
    print("\n".join([*lines, "", f"took {time.monotonic() - began:.0f} s"]))


if __name__ == "__main__":
    main()
