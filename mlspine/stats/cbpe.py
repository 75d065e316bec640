"""Quality of a classifier without labels: confidence-based performance estimation from calibrated scores.

If a share c(s) of the rows with score s turns out positive, then any set of scores says how many of each cell
of the confusion table to expect, and so every figure that is a function of it. The assumption is that c still
holds: pure change of what comes in. Where it does not, `anchor` and `backtest` are what keeps it honest.
Source: Bialek, Kuberski, Perrakis & Bifet 2024, arXiv 2401.08348.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.stats.isotonic import platt, pool_adjacent
from mlspine.stats.tally import Bins, Tally

Floats = np.ndarray[Any, np.dtype[Any]]
Figures = dict[str, Floats]

ISOTONIC_ROWS = 1000  # below, or with fewer rows of a class than the next, the curve has two parameters
ISOTONIC_CLASS_ROWS = 100
ECE_BINS = 10
ECE_LIMIT = 0.02
_FAR = 36.0  # where a logit of a score of 0 or 1 is cut off


class Calibration(NamedTuple):
    """Expected outcomes per row of a cell, shape as `Tally.outcomes`, and the kind of curve behind them."""

    per_row: Floats
    method: str


# ---------------------------------------------------------------- figures


def binary_figures(bins: Bins, rows: Floats, positives: Floats) -> Figures:
    """auc, accuracy, precision, recall, f1, brier from cells; NaN where one does not exist.

    rows, positives: shape (..., 2, bins): rows by answer and score, and how many of them are (or are expected
    to be) of the second class. Leading axes are done at once. Without scores neither auc nor brier.

    >>> bins = Bins(task="binary", classes=(0, 1), edges=(0.5,), centres=(0.2, 0.9))
    >>> figures = binary_figures(bins, np.array([[10.0, 0], [0, 10]]), np.array([[2.0, 0], [0, 9]]))
    >>> round(float(figures["accuracy"]), 3), round(float(figures["auc"]), 3)
    (0.85, 0.854)
    """
    negatives = rows - positives
    hits, wrong = positives[..., 1, :].sum(-1), negatives[..., 1, :].sum(-1)
    missed, right = positives[..., 0, :].sum(-1), negatives[..., 0, :].sum(-1)
    figures = {
        "accuracy": _share(hits + right, rows.sum((-1, -2))),
        "precision": _share(hits, hits + wrong),
        "recall": _share(hits, hits + missed),
        "f1": _share(2 * hits, 2 * hits + wrong + missed),
    }
    if not bins.scored:
        return figures
    score = np.array(bins.centres)
    by_score, positive = rows.sum(-2), positives.sum(-2)
    lost = (by_score * score**2 - 2 * positive * score + positive).sum(-1)
    return {"auc": auc(positive, by_score - positive), **figures, "brier": _share(lost, by_score.sum(-1))}


def auc(positives: Floats, negatives: Floats) -> Floats:
    """Area under the ROC curve from counts by ascending score, shape (..., bins); ties count half.

    >>> float(auc(np.array([0.0, 1, 1]), np.array([1.0, 1, 0])))
    0.875
    """
    below = np.cumsum(negatives, axis=-1) - negatives
    pairs = (positives * (below + negatives / 2)).sum(-1)
    return _share(pairs, positives.sum(-1) * negatives.sum(-1))


def multiclass_figures(rows: Floats, truths: Floats) -> Figures:
    """accuracy and macro_f1 from cells.

    rows: shape (..., k, bins) by answer and score; truths: (..., k, k, bins) by true class, answer and score.
    macro_f1 is the mean over the classes that are answered or true.
    """
    confusion = truths.sum(-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    sides = confusion.sum(-1) + confusion.sum(-2)
    of_class = _share(2 * hits, sides, otherwise=0.0)
    return {
        "accuracy": _share(hits.sum(-1), rows.sum((-1, -2))),
        "macro_f1": _share(of_class.sum(-1), (sides > 0).sum(-1).astype(np.float64)),
    }


def macro_auc(probabilities: Floats, calibrated: Floats) -> float:
    """Expected one-vs-rest AUC, the mean over classes, from raw and calibrated probabilities, shape (n, k).

    Each column of `calibrated` is that class's own curve of its raw probability. A class nobody expects is
    left out.

    >>> raw = np.array([[0.8, 0.2], [0.3, 0.7]])
    >>> round(macro_auc(raw, raw), 3)
    0.753
    """
    areas = []
    for raw, expected in zip(probabilities.T, calibrated.T, strict=True):
        _, place = np.unique(raw, return_inverse=True)
        positives, negatives = np.bincount(place, expected), np.bincount(place, 1 - expected)
        areas.append(auc(positives, negatives))
    return float(np.nanmean(np.array(areas)))


# ---------------------------------------------------------------- sampling variance


def binary_variances(bins: Bins, rows: Floats, positives: Floats) -> Figures:
    """Variance of each of `binary_figures` on that many rows, shape (n,); rows, positives: (n, 2, bins).

    auc: DeLong's, from counts; shares: binomial; f1: as a function of TP / (TP + FP + FN); brier: of the mean.
    """
    negatives = rows - positives
    hits, wrong = positives[..., 1, :].sum(-1), negatives[..., 1, :].sum(-1)
    missed, right = positives[..., 0, :].sum(-1), negatives[..., 0, :].sum(-1)
    theta = _share(hits, hits + wrong + missed)
    found = {
        "accuracy": _binomial(hits + right, rows.sum((-1, -2))),
        "precision": _binomial(hits, hits + wrong),
        "recall": _binomial(hits, hits + missed),
        "f1": _binomial(hits, hits + wrong + missed) * (2 / (1 + theta) ** 2) ** 2,
    }
    if not bins.scored:
        return found
    positive, by_score = positives.sum(-2), rows.sum(-2)
    score, n = np.array(bins.centres), by_score.sum(-1)
    mean = _share((by_score * score**2 + positive * (1 - 2 * score)).sum(-1), n)
    square = _share(((by_score - positive) * score**4 + positive * (1 - score) ** 4).sum(-1), n)
    return found | {"auc": auc_variance(positive, by_score - positive), "brier": _share(square - mean**2, n)}


def auc_variance(positives: Floats, negatives: Floats) -> Floats:
    """DeLong's variance of `auc` from counts by ascending score, shape (..., bins). DeLong et al. 1988.

    >>> from mlspine.stats.interval import delong_auc
    >>> interval = delong_auc(np.array([0, 0, 1, 0, 1], bool), np.arange(5.0))
    >>> float(auc_variance(np.array([0.0, 0, 1, 0, 1]), np.array([1.0, 1, 0, 1, 0]))).__round__(4)
    0.0556
    """
    m, n = positives.sum(-1, keepdims=True), negatives.sum(-1, keepdims=True)
    above = _share(np.cumsum(negatives, axis=-1) - negatives / 2, n)
    below = 1 - _share(np.cumsum(positives, axis=-1) - positives / 2, m)
    area = auc(positives, negatives)[..., None]
    first = _share((positives * (above - area) ** 2).sum(-1), np.maximum(m[..., 0] - 1, 0))
    second = _share((negatives * (below - area) ** 2).sum(-1), np.maximum(n[..., 0] - 1, 0))
    return _share(first, m[..., 0]) + _share(second, n[..., 0])


def multiclass_variances(rows: Floats, truths: Floats) -> Figures:
    """Variance of each of `multiclass_figures` on that many rows, shape (n,); of macro_f1 to first order.

    The F1 of different classes share rows; their covariance, which is small beside the variances, is left out.
    """
    confusion = truths.sum(-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    either = confusion.sum(-1) + confusion.sum(-2) - hits
    of_class = _binomial(hits, either) * (2 / (1 + _share(hits, either)) ** 2) ** 2
    seen = np.maximum((either > 0).sum(-1), 1)
    return {
        "accuracy": _binomial(hits.sum(-1), rows.sum((-1, -2))),
        "macro_f1": np.nansum(of_class, axis=-1) / seen**2,
    }


def _binomial(part: Floats, whole: Floats) -> Floats:
    # Half a row either side: no row of a kind among few does not mean that there is none.
    share = _share(part + 0.5, whole + 1.0)
    return _share(share * (1 - share), whole)


# ---------------------------------------------------------------- calibration


def calibrate(bins: Bins, labelled: Floats, outcomes: Floats) -> Calibration:
    """What the labelled rows (any weights) say of the outcome of a row in each cell.

    labelled: shape (answers, bins); outcomes: as in `Tally`. Binary: isotonic in the score, or Platt's two
    parameters below 1,000 rows or 100 of a class. Multiclass: the share of right answers of each class,
    isotonic in the score, and wrong answers spread as they were.
    """
    if bins.task == "binary":
        share, method = _curve(bins, labelled.sum(0), outcomes[0].sum(0))
        if not bins.scored:  # the answer is all there is to go by
            share = _share(outcomes[0] + 0.5, labelled + 1.0)
            return Calibration(share[None], "share per answer")
        return Calibration(np.broadcast_to(share, outcomes.shape).copy(), method)
    classes = bins.answers
    right = np.stack([outcomes[each, each] for each in range(classes)])
    pooled, method = _curve(bins, labelled.sum(0), right.sum(0))
    per_row = np.empty(outcomes.shape)
    wrong = outcomes.sum(-1) * (1 - np.eye(classes))
    spread = _share(wrong + 1e-9 * (1 - np.eye(classes)), wrong.sum(0) + 1e-9 * (classes - 1))
    for answer in range(classes):
        own = _enough(labelled[answer], right[answer])
        share = _curve(bins, labelled[answer], right[answer])[0] if own else pooled
        per_row[:, answer] = spread[:, answer, None] * (1 - share)
        per_row[answer, answer] = share
    return Calibration(per_row, method)


def calibration_error(bins: Bins, fitted: Tally, held: Tally) -> tuple[float, float]:
    """Expected calibration error on `held` rows of a curve from `fitted` rows, and what noise alone would give.

    Binary: of P(second class); multiclass: of the share right. Ten bins of equal weight. Source: Naeini,
    Cooper & Hauskrecht 2015; the noise level is the mean absolute deviation of a binomial share.
    """
    curve = calibrate(bins, fitted.labelled, fitted.outcomes).per_row
    if bins.task == "binary":
        rows, hits, expected = held.labelled.sum(0), held.outcomes[0].sum(0), (held.labelled * curve[0]).sum(0)
    else:
        own = range(bins.answers)
        rows = held.labelled.sum(0)
        hits = np.sum([held.outcomes[each, each] for each in own], axis=0)
        expected = np.sum([held.labelled[each] * curve[each, each] for each in own], axis=0)
    total = rows.sum()
    if not total:
        return float("nan"), float("nan")
    group = np.minimum((np.cumsum(rows) - rows / 2) * ECE_BINS / total, ECE_BINS - 1).astype(np.int64)
    n, h, e = (np.bincount(group, each, ECE_BINS) for each in (rows, hits, expected))
    share = np.clip(_share(e, n), 0, 1)
    noise = np.sqrt(2 / np.pi * n * np.nan_to_num(share * (1 - share)))
    return float(np.abs(h - e).sum() / total), float(noise.sum() / total)


def _curve(bins: Bins, rows: Floats, hits: Floats) -> tuple[Floats, str]:
    if _enough(rows, hits):
        return pool_adjacent(_share(hits, rows, otherwise=0.0), rows), "isotonic"
    if not rows.sum():
        return np.full(len(rows), np.nan), "none"
    centres = np.array(bins.centres)
    inside = centres.min() >= 0.0 and centres.max() <= 1.0
    x = np.clip(special.logit(centres), -_FAR, _FAR) if inside else centres
    used = rows > 0
    slope, offset = platt(x[used], hits[used] / rows[used], rows[used])
    return special.expit(max(0.0, slope) * x + offset), "Platt"


def _enough(rows: Floats, hits: Floats) -> bool:
    return bool(rows.sum() >= ISOTONIC_ROWS and min(hits.sum(), (rows - hits).sum()) >= ISOTONIC_CLASS_ROWS)


def _share(part: Floats, whole: Floats, otherwise: float = np.nan) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    result: Floats = np.full(part.shape, otherwise)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
