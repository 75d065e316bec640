"""Whether a run came out again: identical, within the run-to-run band, or different. Pure.

Identical: every metric has the same steps with the same values, bit for bit. One repetition is enough to say so.

Otherwise the repetitions, at least two, say how much such a run varies by itself. Two figures of each metric are
judged, its last value and its mean over all steps. If the run differs from its repetitions by chance alone and
chance is about normal, then for each figure

    (run - mean of the n repetitions) / (s sqrt(1 + 1/n))  has Student's t distribution with n - 1 degrees,

s being the standard deviation of the repetitions: the prediction interval for one more observation (Hahn and
Meeker 1991, Statistical Intervals, section 4.8). A run with a figure outside its interval is different. The
5% of false calls are shared evenly by all figures (Bonferroni), so at most 5% of runs that only chance sets apart
are called different. With few repetitions the interval is wide: what is within it is not proven to be the same,
and `Band` says how wide it was. Where the repetitions do not vary at all, every difference counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.late import special
from mlspine.core.types import Struct
from mlspine.tracking.capture import Captured

Verdict = Literal["IDENTICAL", "WITHIN_BAND", "DIFFERENT"]
Figure = Literal["last", "mean"]
FALSE_CALLS = 0.05
LEAST_REPETITIONS = 2
UNJUDGED = "system/"  # metrics of the machine, not of the run

# A metric's points as (step, value), in the order in which they were logged.
History = Sequence[tuple[int, float]]
Histories = Mapping[str, History]


class Difference(Struct, frozen=True, kw_only=True):
    """The first point that came out otherwise; None stands for a point that is not there."""

    metric: str
    step: int
    was: float | None
    is_now: float | None


class Band(Struct, frozen=True, kw_only=True):
    """One judged figure: what the run has, the interval for one more repetition, and whether it lies within."""

    metric: str
    figure: Figure
    value: float
    low: float
    high: float
    holds: bool


class Reproduction(Struct, frozen=True, kw_only=True):
    """The verdict with what it rests on. `bands` are empty where nothing had to be measured."""

    verdict: Verdict
    repetitions: int
    metrics: int
    points: int
    difference: Difference | None = None
    bands: tuple[Band, ...] = ()


def is_identical(run: Histories, repetition: Histories) -> bool:
    """Whether one repetition settles it."""
    return first_difference(judged(run), judged(repetition)) is None


def judge(run: Histories, repetitions: Sequence[Histories]) -> Reproduction:
    """Compare a run with its repetitions; see above for the rule.

    Raises Invalid for a run without metrics, and for a single repetition that is not identical.

    >>> judge({"loss": [(0, 1.0)]}, [{"loss": [(0, 1.0)]}]).verdict
    'IDENTICAL'
    >>> judge({"loss": [(0, 1.0)]}, [{"loss": [(0, 1.1)]}, {"loss": [(0, 0.95)]}]).verdict
    'WITHIN_BAND'
    >>> judge({"loss": [(0, 1.0)]}, [{"loss": [(0, 2.0)]}, {"loss": [(0, 2.0)]}]).difference.is_now
    2.0
    """
    run, repetitions = judged(run), [judged(each) for each in repetitions]
    if not run:
        raise Invalid("the run has no metric to compare", hint="log one: run.metric('loss', value)")
    difference = first_difference(run, repetitions[0])
    if difference is None:
        return _told("IDENTICAL", run, repetitions)
    if len(repetitions) < LEAST_REPETITIONS:
        raise Invalid(
            "one repetition that differs does not tell chance from change",
            hint=f"run it at least {LEAST_REPETITIONS} times",
        )
    if any(each.keys() != run.keys() for each in repetitions) or _never_vary(repetitions):
        return _told("DIFFERENT", run, repetitions, difference)
    bands = tuple(_bands(run, repetitions))
    outside = [band.metric for band in bands if not band.holds]
    if not outside:
        return _told("WITHIN_BAND", run, repetitions, difference, bands)
    points = [_first_outside(metric, run[metric], [each[metric] for each in repetitions]) for metric in outside]
    return _told("DIFFERENT", run, repetitions, min(points, key=_place), bands)


def judged(histories: Histories) -> dict[str, list[tuple[int, float]]]:
    """What takes part: metrics of the run itself, their points by step."""
    return {
        key: sorted(history, key=lambda point: point[0])
        for key, history in sorted(histories.items())
        if history and not key.startswith(UNJUDGED)
    }


def first_difference(run: Histories, other: Histories) -> Difference | None:
    """The point of the earliest step at which two runs differ; among several metrics, the first by name."""
    found = [
        difference
        for metric in sorted({*run, *other})
        if (difference := _differs(metric, run.get(metric, ()), other.get(metric, ()))) is not None
    ]
    return min(found, key=_place) if found else None


def changes(
    before: Captured, after: Captured, *, data_before: Mapping[str, str], data_after: Mapping[str, str]
) -> tuple[str, ...]:
    """What is otherwise than it was, in words, the likeliest cause first. data: digests by name.

    >>> changes(Captured(), Captured(), data_before={"train": "a1"}, data_after={"train": "b2"})
    ("data 'train': digest a1, now b2",)
    """
    compared: list[tuple[Mapping[str, str], Mapping[str, str]]] = [
        (_data(data_before), _data(data_after)),
        (_code(before), _code(after)) if after.code.commit else ({}, {}),  # rebuilt outside git it is what it was
        (before.libraries, after.libraries),
        (before.platform, after.platform),
        (_hardware(before), _hardware(after)),
    ]
    return tuple(
        f"{name} {old.get(name, 'absent')}, now {new.get(name, 'absent')}"
        for old, new in compared
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


# ---------------------------------------------------------------- inside


def _told(
    verdict: Verdict,
    run: Histories,
    repetitions: Sequence[Histories],
    difference: Difference | None = None,
    bands: tuple[Band, ...] = (),
) -> Reproduction:
    return Reproduction(
        verdict=verdict,
        repetitions=len(repetitions),
        metrics=len(run),
        points=sum(map(len, run.values())),
        difference=difference,
        bands=bands,
    )


def _differs(metric: str, run: History, other: History) -> Difference | None:
    for (step, was), (its_step, is_now) in zip(run, other, strict=False):
        if step != its_step:
            first = min(step, its_step)
            return Difference(
                metric=metric,
                step=first,
                was=was if step == first else None,
                is_now=is_now if its_step == first else None,
            )
        if not _same(was, is_now):
            return Difference(metric=metric, step=step, was=was, is_now=is_now)
    if len(run) == len(other):
        return None
    longer, shared = max(run, other, key=len), min(len(run), len(other))
    step, value = longer[shared]
    gone = len(run) > len(other)
    return Difference(metric=metric, step=step, was=value if gone else None, is_now=None if gone else value)


def _place(difference: Difference) -> tuple[int, str]:
    return difference.step, difference.metric


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _never_vary(repetitions: Sequence[Histories]) -> bool:
    return all(first_difference(repetitions[0], each) is None for each in repetitions[1:])


def _bands(run: Histories, repetitions: Sequence[Histories]) -> list[Band]:
    quantile = _quantile(len(repetitions), figures=2 * len(run))
    bands = []
    for metric, history in run.items():
        others = [each[metric] for each in repetitions]
        bands.append(_band(metric, "last", history[-1][1], [each[-1][1] for each in others], quantile))
        bands.append(_band(metric, "mean", _mean(history), [_mean(each) for each in others], quantile))
    return bands


def _band(metric: str, figure: Figure, value: float, others: list[float], quantile: float) -> Band:
    if all(map(math.isfinite, (value, *others))):
        middle, reach = _interval(others, quantile)
        low, high = middle - reach, middle + reach
        holds = low <= value <= high
    else:  # NaN and infinities have no spread: all agree, or the figure is outside
        low, high = others[0], others[0]
        holds = all(_same(value, each) for each in others)
    return Band(metric=metric, figure=figure, value=value, low=low, high=high, holds=holds)


def _interval(others: Sequence[float], quantile: float) -> tuple[float, float]:
    """Middle and half width of the interval for one more observation."""
    return float(np.mean(others)), quantile * float(np.std(others, ddof=1)) * math.sqrt(1 + 1 / len(others))


def _quantile(repetitions: int, *, figures: int) -> float:
    return float(special.stdtrit(repetitions - 1, 1 - FALSE_CALLS / figures / 2))


def _mean(history: History) -> float:
    return float(np.mean([value for _, value in history]))


def _first_outside(metric: str, run: History, repetitions: list[History]) -> Difference:
    """The first point of a different metric that leaves the interval of its own step, else the one furthest out."""
    quantile = _quantile(len(repetitions), figures=1)
    furthest, out = Difference(metric=metric, step=run[0][0], was=run[0][1], is_now=repetitions[0][0][1]), -1.0
    for at, (step, value) in enumerate(run):
        others = [each[at][1] for each in repetitions if at < len(each) and each[at][0] == step]
        if len(others) < LEAST_REPETITIONS:
            return Difference(metric=metric, step=step, was=value, is_now=others[0] if others else None)
        middle, reach = _interval(others, quantile)
        here = Difference(metric=metric, step=step, was=value, is_now=middle)
        if not abs(value - middle) <= reach:
            return here
        if reach and abs(value - middle) / reach > out:
            furthest, out = here, abs(value - middle) / reach
    return furthest


def _data(digests: Mapping[str, str]) -> dict[str, str]:
    return {f"data {name!r}: digest": digest for name, digest in digests.items()}


def _code(captured: Captured) -> dict[str, str]:
    told = {"commit": captured.code.commit[:10], "uncommitted difference": captured.code.dirty_digest[:10]}
    return {name: value or "none" for name, value in told.items()}


def _hardware(captured: Captured) -> dict[str, str]:
    return {"CPUs": str(captured.hardware.cpus), "GPUs": ", ".join(captured.hardware.gpus) or "none"}
