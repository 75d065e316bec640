"""Quality of a regression without labels: direct loss estimation.

The loss of labelled rows is learned as a function of what is known of a row before its label, and the estimate of
a window is the mean of that function over its rows. What is known of every row here is the answer itself, so the
function is a mean per group of neighbouring answers, which is also what boosted trees on one column come to.
Source: NannyML's DLE; Bialek et al. 2024.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.stats.tally import Bins

Floats = np.ndarray[Any, np.dtype[np.float64]]
Figures = dict[str, Floats]

GROUPS = 20
LEAST_ROWS = 50


def regression_figures(rows: Floats, losses: Floats) -> Figures:
    """mae and rmse from cells: rows (..., 1, bins), sums of losses (..., 3, 1, bins) as in `Tally`.

    >>> figures = regression_figures(np.array([[4.0]]), np.array([[[8.0]], [[20.0]], [[100.0]]]))
    >>> float(figures["mae"]), round(float(figures["rmse"]), 3)
    (2.0, 2.236)
    """
    n = rows.sum((-1, -2))
    total = losses.sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"mae": total[..., 0] / n, "rmse": np.sqrt(total[..., 1] / n)}


def variances(rows: Floats, losses: Floats) -> Figures:
    """Sampling variance of each figure on that many rows, from the losses' own moments; shapes as above.

    >>> float(variances(np.array([[4.0]]), np.array([[[8.0]], [[20.0]], [[148.0]]]))["mae"])
    0.25
    """
    n = rows.sum((-1, -2))
    total = losses.sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second, fourth = (total[..., moment] / n for moment in range(3))
        return {
            "mae": np.maximum(0.0, second - first**2) / n,
            "rmse": np.where(second > 0, np.maximum(0.0, fourth - second**2) / (4 * second * n), 0.0),
        }


def loss_per_row(bins: Bins, labelled: Floats, losses: Floats) -> Floats:
    """Expected losses of a row in each cell, shape (3, 1, bins): means over groups of neighbouring answers.

    Each of at most 20 groups has 50 rows or more; between their centres the mean changes linearly.
    """
    rows = labelled.sum(0)
    total = rows.sum()
    if not total:
        return np.full(losses.shape, np.nan)
    groups = int(min(GROUPS, max(1, total // LEAST_ROWS)))
    group = np.minimum((np.cumsum(rows) - rows / 2) * groups / total, groups - 1).astype(np.int64)
    centres = np.array(bins.centres)
    n = np.bincount(group, rows, groups)
    used = n > 0
    middle = np.bincount(group, rows * centres, groups)[used] / n[used]
    order = np.argsort(middle, kind="stable")
    per_row = [
        np.interp(centres, middle[order], (np.bincount(group, each.sum(0), groups)[used] / n[used])[order])
        for each in losses
    ]
    return np.stack(per_row)[:, None, :]
