"""The quality of a window without labels, of any task, with an interval and a verdict on itself.

Rolling: the calibration is that of the newest matured windows, weighted by age. Anchored: how much the estimate
counts beside the last measured values is learned (`anchor`). Back-tested: what earlier estimates missed, once
their labels came, widens or narrows the interval, and says when estimates no longer hold (`backtest`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Task
from mlspine.stats import anchor, cbpe, dle
from mlspine.stats.anchor import Forecast
from mlspine.stats.cbpe import ECE_LIMIT, ISOTONIC_CLASS_ROWS
from mlspine.stats.tally import Bins, Tally

Floats = np.ndarray[Any, np.dtype[np.float64]]
Figures = dict[str, Floats]

HALF_LIFE = 2.0  # windows, or as many more as give HALF_LIFE_ROWS
HALF_LIFE_ROWS = 5_000.0
MOST_WINDOWS = 60  # older ones weigh nothing
RESAMPLES = 20
LEAST_OVERLAP = 0.2  # effective share of the labelled rows that look like the window's
MOST_DOMAIN_AUC = 0.9
SHIFTED_OVERLAP = 0.8  # below it labelled rows are weighted towards the window's: M-CBPE
OVERLAP_GROUPS = 20
METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "accuracy", "f1", "precision", "recall", "brier"),
    "multiclass": ("accuracy", "macro_f1"),
    "regression": ("mae", "rmse"),
    "other": (),
}


class Matured(NamedTuple):
    """A window whose labels are in, cut into parts of its time. at: the middle of each, in parts."""

    at: tuple[float, ...]
    parts: tuple[Tally, ...]
    age: float  # windows between it and the one to be estimated, 1 for the one before


class Blind(NamedTuple):
    """What is expected of each metric, and how it was found. why: says why there is nothing.

    note: what is doubtful about the calibration, "" when nothing is.
    """

    forecasts: dict[str, Forecast]
    method: str
    overlap: float
    why: str = ""
    note: str = ""


def estimate(bins: Bins, matured: Sequence[Matured], parts: Sequence[Tally], *, at: float, seed: int = 0) -> Blind:
    """Each metric of a window from its rows alone, and the labelled rows of matured windows, oldest first.

    parts: the window's rows, cut as matured windows are; at: the middle of the window, in parts. No forecasts,
    with the reason, where the labelled rows are too few or the window's rows have no like among them.
    """
    matured = matured[-MOST_WINDOWS:]
    current = _sum(parts)
    held = _weighted(matured)
    if held is None or (lacking := _lacking(bins, matured)):
        return Blind({}, "", 0.0, lacking if held is not None else "there are no labelled rows to calibrate on")
    overlap, domain_auc, ratio = _overlap(held.labelled.sum(0), current.rows.sum(0))
    if overlap < LEAST_OVERLAP or domain_auc > MOST_DOMAIN_AUC:
        return Blind({}, "", overlap, _no_overlap(overlap, domain_auc))
    shifted = overlap < SHIFTED_OVERLAP
    if shifted:
        held = Tally(held.rows, held.labelled * ratio, held.outcomes * ratio)
    per_row, kind = _per_row(bins, held)
    drawn = _redrawn(bins, held, seed)
    past = [part for window in matured for part in window.parts]
    times = np.array([when for window in matured for when in window.at])
    labelled = np.stack([each.labelled for each in past])
    truth = figures(bins, labelled, np.stack([each.outcomes for each in past]))
    spread = variances(bins, labelled, np.stack([each.outcomes for each in past]))
    guessed = figures(bins, labelled, labelled[:, None] * per_row)
    now = figures(bins, current.rows, current.rows * per_row)
    now_parts = _mean_of_parts(bins, parts, per_row)
    now_spread = variances(bins, current.rows[None], (current.rows * per_row)[None])
    unsure = _calibration_variance(bins, drawn, current, held)
    forecasts = {}
    for metric in METRICS[bins.task]:
        if metric not in now or not np.isfinite(now[metric]):
            continue
        usable = np.isfinite(truth[metric]) & np.isfinite(guessed[metric]) & np.isfinite(spread[metric])
        shift = float(now[metric]) - now_parts.get(metric, float(now[metric]))
        found = anchor.forecast(
            truth[metric][usable],
            guessed[metric][usable],
            spread[metric][usable],
            times[usable],
            next_estimate=float(now[metric]) - shift,
            next_variance=float(now_spread[metric][0]) + unsure[metric],
            next_at=at,
            next_parts=len(parts),
            unit=anchor.unit_of(metric, _level(truth[metric][usable], float(now[metric]))),
        )
        forecasts[metric] = Forecast(found.shares, found.means + shift, found.sds)
    name = "DLE" if bins.task == "regression" else "M-CBPE" if shifted else "CBPE"
    return Blind(forecasts, f"{name}, {kind}", overlap, note=_uncalibrated(bins, _sum(past), seed))


def figures(bins: Bins, rows: Floats, outcomes: Floats) -> Figures:
    """Every metric of the task from rows (..., answers, bins) and outcomes (..., kinds, answers, bins)."""
    if bins.task == "binary":
        return cbpe.binary_figures(bins, rows, outcomes[..., 0, :, :])
    if bins.task == "multiclass":
        return cbpe.multiclass_figures(rows, outcomes)
    return dle.regression_figures(rows, outcomes)


def variances(bins: Bins, rows: Floats, outcomes: Floats) -> Figures:
    """Sampling variance of every metric, from rows (n, answers, bins) and outcomes (n, kinds, answers, bins)."""
    if bins.task == "binary":
        return cbpe.binary_variances(bins, rows, outcomes[:, 0])
    if bins.task == "multiclass":
        return cbpe.multiclass_variances(rows, outcomes)
    return dle.variances(rows, outcomes)


# ---------------------------------------------------------------- inside


def _sum(parts: Sequence[Tally]) -> Tally:
    total = parts[0]
    for each in parts[1:]:
        total = total + each
    return total


def _weighted(matured: Sequence[Matured]) -> Tally | None:
    """The labelled rows of all matured windows, each worth half as much per half-life of age."""
    if not matured:
        return None
    rows = sum(float(part.labelled.sum()) for window in matured for part in window.parts) / len(matured)
    half_life = max(HALF_LIFE, HALF_LIFE_ROWS / max(rows, 1.0))
    weighted = []
    for window in matured:
        total, weight = _sum(window.parts), 0.5 ** ((window.age - 1) / half_life)
        weighted.append(Tally(total.rows * weight, total.labelled * weight, total.outcomes * weight))
    return _sum(weighted)


def _lacking(bins: Bins, matured: Sequence[Matured]) -> str:
    labelled = sum(float(part.labelled.sum()) for window in matured for part in window.parts)
    if bins.task != "binary":
        return "" if labelled >= ISOTONIC_CLASS_ROWS else f"{labelled:,.0f} labelled rows, {ISOTONIC_CLASS_ROWS} needed"
    positive = sum(float(part.outcomes.sum()) for window in matured for part in window.parts)
    fewest, needed = min(positive, labelled - positive), ISOTONIC_CLASS_ROWS // 2
    if fewest >= needed:
        return ""
    return f"the labelled rows hold {fewest:,.0f} of the rarer class, {needed} are needed"


def _overlap(labelled: Floats, rows: Floats) -> tuple[float, float, Floats]:
    """How far the labelled rows are like the window's, by score: effective share, separation, and weights.

    Twenty groups of neighbouring scores; the weights, window over labelled, are what a domain classifier of the
    score would give. Effective share: Kish's (sum w)^2 / (n sum w^2). Separation: the area under the ROC curve
    of that classifier.
    """
    both = labelled / max(labelled.sum(), 1.0) + rows / max(rows.sum(), 1.0)
    group = np.minimum((np.cumsum(both) - both / 2) * OVERLAP_GROUPS / both.sum(), OVERLAP_GROUPS - 1).astype(np.int64)
    p = np.bincount(group, labelled, OVERLAP_GROUPS) / max(labelled.sum(), 1.0)
    q = np.bincount(group, rows, OVERLAP_GROUPS) / max(rows.sum(), 1.0)
    ratio = np.divide(q, p, out=np.zeros(OVERLAP_GROUPS), where=p > 0)
    squares = float((ratio**2 * p).sum())
    effective = float((ratio * p).sum()) ** 2 / squares if squares else 0.0
    order = np.argsort(ratio)
    separation = float(cbpe.auc(q[order], p[order]))
    return effective, max(separation, 0.5), ratio[group]


def _no_overlap(overlap: float, domain_auc: float) -> str:
    return (
        f"the window's scores are unlike those of the labelled rows (effective overlap {overlap:.0%}, they can be"
        f" told apart with an AUC of {domain_auc:.2f}): cannot be estimated"
    )


def _per_row(bins: Bins, held: Tally) -> tuple[Floats, str]:
    if bins.task == "regression":
        return dle.loss_per_row(bins, held.labelled, held.outcomes), "binned"
    found = cbpe.calibrate(bins, held.labelled, held.outcomes)
    return found.per_row, found.method


def _uncalibrated(bins: Bins, held: Tally, seed: int) -> str:
    """Says so when a curve from one half of the labelled rows, drawn by lot, misses the other half, "" otherwise."""
    if bins.task == "regression":
        return ""
    rng = np.random.default_rng(seed)
    rest = np.maximum(held.labelled - held.outcomes.sum(0), 0.0)
    outcomes = rng.binomial(np.rint(held.outcomes).astype(np.int64), 0.5).astype(np.float64)
    labelled = outcomes.sum(0) + rng.binomial(np.rint(rest).astype(np.int64), 0.5)
    half = Tally(labelled, labelled, outcomes)
    other = Tally(held.labelled - labelled, held.labelled - labelled, held.outcomes - outcomes)
    error, noise = cbpe.calibration_error(bins, half, other)
    if not error - noise > ECE_LIMIT:
        return ""
    return f"not calibrated: a rising curve of the score misses held-out rows by {error:.3f} (ECE; chance {noise:.3f})"


def _redrawn(bins: Bins, held: Tally, seed: int) -> list[Floats]:
    """The calibration of resampled labelled rows: counts drawn anew, losses scaled by their counts."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        if bins.task == "regression":
            scale = rng.poisson(held.labelled) / np.maximum(held.labelled, 1e-9)
            again = Tally(held.rows, held.labelled * scale, held.outcomes * scale)
        else:
            rest = np.maximum(held.labelled - held.outcomes.sum(0), 0.0)
            outcomes = rng.poisson(held.outcomes).astype(np.float64)
            again = Tally(held.rows, outcomes.sum(0) + rng.poisson(rest), outcomes)
        drawn.append(_per_row(bins, again)[0])
    return drawn


def _calibration_variance(bins: Bins, drawn: Sequence[Floats], current: Tally, held: Tally) -> dict[str, float]:
    """How unsure the calibration makes the window's estimate beside that of the rows it was fitted on."""
    per_row = np.stack(drawn)
    now = figures(bins, np.broadcast_to(current.rows, per_row.shape[:1] + current.rows.shape), current.rows * per_row)
    then = figures(
        bins, np.broadcast_to(held.labelled, per_row.shape[:1] + held.labelled.shape), held.labelled * per_row
    )
    apart = {metric: now[metric] - then[metric] for metric in now}
    return {
        metric: float(np.var(each[np.isfinite(each)])) if np.isfinite(each).any() else 0.0
        for metric, each in apart.items()
    }


def _mean_of_parts(bins: Bins, parts: Sequence[Tally], per_row: Floats) -> dict[str, float]:
    if len(parts) == 1:
        return {}
    rows = np.stack([each.rows for each in parts])
    found = figures(bins, rows, rows[:, None] * per_row)
    return {
        metric: float(np.nanmean(values)) if np.isfinite(values).any() else math.nan for metric, values in found.items()
    }


def _level(realised: Floats, estimated: float) -> float:
    return float(np.median(realised)) if len(realised) else estimated
