"""Rows a model may refuse: infinities, numbers beyond float32, text it never saw.

A converted graph refuses nothing. Where the model's own library does, a converted one must as well, or a row that
should be told of would get some answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from mlspine.core.columns import take
from mlspine.core.types import Columns
from mlspine.registry.flavors import MatrixPredictor, Outputs, Predictor

Array = np.ndarray[Any, np.dtype[Any]]
Refused = Literal["nothing", "infinite", "beyond float32"]
MOST_COLUMNS = 100  # of which each is tried on its own
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
UNHEARD_OF = "\u2047"


def refused_numbers(predict: Predictor, rows: Columns) -> Refused:
    """Which numbers the model's own library refuses, in whichever column."""
    row = take(rows, slice(0, 1))
    floats = [name for name, values in row.items() if values.dtype.kind == "f"][:MOST_COLUMNS]
    for value, refused in ((1e39, "beyond float32"), (np.inf, "infinite"), (-np.inf, "infinite")):
        for name in floats:
            if not _answers(predict, row | {name: np.full_like(row[name], value)}):
                return refused  # type: ignore[return-value]
    return "nothing"


def refuses_unheard_of_text(predict: Predictor, rows: Columns) -> bool:
    """Whether the model's own library refuses a text it was not fitted on."""
    row = take(rows, slice(0, 1))
    unheard_of = np.array([UNHEARD_OF], dtype=object)
    texts = [name for name, values in row.items() if values.dtype == object]
    return any(not _answers(predict, row | {name: unheard_of}) for name in texts)


def odd_rows(rows: Columns, refused: Refused) -> Columns:
    """Unusual rows that the model answers: the first recorded one with a null, a huge number, an infinity or an unheard
    of text in each of its columns by turns; nulls only where a recorded row has one."""
    row = take(rows, slice(0, 1))
    found: list[Columns] = []
    for name, values in list(row.items())[:MOST_COLUMNS]:
        if values.dtype == object:
            found.append(row | {name: np.array([UNHEARD_OF], dtype=object)})
        if values.dtype.kind == "f":
            beyond = [] if refused == "beyond float32" else [1e39]
            infinite = [np.inf, -np.inf] if refused == "nothing" else []
            null = [np.nan] if np.isnan(rows[name]).any() else []
            found += [row | {name: np.full_like(values, value)} for value in (*null, *beyond, *infinite)]
    if not found:
        return take(rows, slice(0, 0))
    return {name: np.concatenate([each[name] for each in found]) for name in row}


def refusing(predict: Predictor, refused: Refused) -> Predictor:
    """The same predictor, refusing those numbers with a ValueError that names the first column they are in."""
    if refused == "nothing":
        return predict
    limit = LARGEST_FLOAT32 if refused == "beyond float32" else np.inf

    def check_columns(columns: Columns) -> None:
        for name, values in columns.items():
            if values.dtype.kind == "f" and bool((np.abs(values) >= limit).any()):
                what = "infinity" if limit == np.inf else "infinity or a value too large for float32"
                raise ValueError(f"column {name!r} contains {what}")

    if not isinstance(predict, MatrixPredictor):

        def checked(columns: Columns) -> Outputs:
            check_columns(columns)
            return predict(columns)

        return checked
    return MatrixPredictor(predict.matrix, _checked_matrix(predict.from_matrix, check_columns))


def _checked_matrix(
    predict: Callable[[Array], Outputs], check: Callable[[Columns], None]
) -> Callable[[Array], Outputs]:
    def checked(rows: Array) -> Outputs:
        flat = rows.reshape(-1)
        # Half a microsecond for the ordinary case: huge, infinite and null values all make this sum odd.
        if not flat.dot(flat) < 1e76:
            check({f"number {at + 1}": column for at, column in enumerate(rows.T)})
        return predict(rows)

    return checked


def _answers(predict: Predictor, row: Columns) -> bool:
    try:
        predict(row)
    except Exception:  # noqa: BLE001 (a model may refuse by any error)
        return False
    return True
