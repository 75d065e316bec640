"""The labelled rows of a release, counted by score and outcome: where estimates without labels begin."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.registry.evaluate import Evaluation
from mlspine.registry.flavors import Flavor, score_of
from mlspine.stats.tally import bins_of, encode, parts_of_days, tally

Array = np.ndarray[Any, np.dtype[Any]]


def tallied(flavor: Flavor, evaluation: Evaluation, labels: Array | None, at_ms: Array | None) -> bytes:
    """Rows the model was not fitted on, by day where they are dated; b"" where there are none with a label.

    labels, at_ms: of all rows `evaluation.rows` points into.
    """
    outputs, rows = evaluation.outputs, evaluation.rows
    if outputs is None or rows is None or labels is None or not len(rows):
        return b""
    score = score_of(outputs, flavor.task)
    score = np.full(len(rows), np.nan) if score is None else score
    bins = bins_of(flavor.task, flavor.classes, score)
    if bins is None:
        return b""
    columns = {"prediction": outputs.prediction, "score": score, "label": labels[rows]}
    parts = parts_of_days(None if at_ms is None else at_ms[rows], len(rows))
    counted = [
        (start, end, tally(bins, {name: values[where] for name, values in columns.items()}))
        for start, end, where in parts
    ]
    return encode(bins, counted, rows_from=evaluation.outputs_from)
