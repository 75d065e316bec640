"""What reference rows say of the answers: what kind they are, their baseline columns, and how good they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mlspine.core.columns import row_count, to_columns
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Metric, Scalar, Task
from mlspine.predictions.spool import decode_column
from mlspine.registry.evaluate import not_estimable
from mlspine.stats.score import measure
from mlspine.watching.answers import Given, take_answers
from mlspine.watching.names import Names
from mlspine.watching.spec import Spec

MOST_CLASSES = 50

Array = np.ndarray[Any, np.dtype[Any]]


def task_of(
    said: Task | Literal[""], columns: Columns, names: Names, shown: Columns, unseen: Names
) -> tuple[Task, tuple[Scalar, ...]]:
    """What kind of answer it is, from labels and predictions; the classes in order, the second is the positive one.

    columns, names: the reference; shown, unseen: the rows with outputs, which may be others. said: "" to find out.
    """
    values = [shown[each] for each in (unseen.label, unseen.prediction) if each]
    values += [columns[names.label]] if names.label and shown is not columns else []
    present = [_present(each) for each in values]
    distinct = sorted(
        {each for part in present for each in _distinct(part)}, key=lambda value: (str(type(value)), value)
    )
    task: Task = said or _guess(present, len(distinct), bool(unseen.score))
    classes = _one_kind(distinct) if task in ("binary", "multiclass") and len(distinct) <= MOST_CLASSES else ()
    if task == "binary" and len(distinct) > 2:
        raise Invalid(
            f"a binary model with {len(distinct)} classes: {', '.join(map(str, distinct[:6]))}",
            hint="say what it is: --task multiclass or --task regression",
        )
    return task, tuple(classes) if task == "multiclass" or len(classes) == 2 else ()


def outputs_of(
    columns: Columns, names: Names, task: Task, classes: Sequence[Scalar], threshold: float
) -> Columns | None:
    """The columns "prediction" and "score" as the log will hold them; None when the rows hold no output."""
    if not (names.prediction or names.score):
        return None
    rows = row_count(columns)
    one = to_columns({"x": np.zeros(rows)})
    spec = Spec(
        endpoint="reference", version=0, revision=0, release_hash="", inputs=one[1], task=task, classes=tuple(classes),
        threshold=threshold,
    )  # fmt: skip
    given = Given(
        size=rows,
        features=one[0],
        request_ids=[""] * rows,
        row_numbers=range(rows),
        prediction=columns[names.prediction] if names.prediction else None,
        score=columns[names.score] if names.score else None,
    )
    taken = take_answers(spec, given, now_ms=0)
    if taken.refused:
        row, why = next(iter(taken.refused.items()))
        raise Invalid(
            f"{len(taken.refused):,} of {rows:,} reference rows have no output that can be read: row {row + 1}: {why}",
            hint="leave those rows out, or name the columns: --prediction COL --score COL",
        )
    (batch, _), *_ = taken.batches
    found: Columns = {"prediction": decode_column(batch.prediction)}
    score = np.frombuffer(batch.score, dtype="<f8") if batch.score else None
    return found if score is None else {"score": score} | found


def metric_of(
    outputs: Columns | None,
    columns: Columns,
    names: Names,
    task: Task,
    classes: Sequence[Scalar],
    rows_from: str,
) -> Metric:
    """The primary figure of these rows, or why there is none. rows_from: what they are called beside it."""
    if outputs is None:
        reason, opens = "the reference holds no predictions", "mlspine watch ... --holdout FILE"
    elif not names.label:
        reason, opens = "the reference holds no labels", "mlspine watch ... --label COL"
    else:
        labels = columns[names.label]
        found = measure(task, labels, outputs["prediction"], outputs.get("score"), tuple(classes), rows_from=rows_from)
        if found:
            return found[0]
        reason, opens = "what kind of answer it gives is not known", "mlspine watch ... --task KIND"
    return not_estimable(task, reason, opens).metrics[0]


def _guess(values: Sequence[Array], distinct: int, has_score: bool) -> Task:
    if not values:
        return "binary" if has_score else "other"
    fractions = any(each.dtype.kind == "f" and (each != np.floor(each)).any() for each in values)
    if fractions or (distinct > MOST_CLASSES and all(each.dtype.kind in "fiu" for each in values)):
        return "regression"
    return "binary" if distinct <= 2 else "multiclass"


def _present(values: Array) -> Array:
    if values.dtype.kind == "f":
        return values[np.isfinite(values)]
    if values.dtype.kind == "O":
        present = np.array([each is not None for each in values.tolist()], dtype=bool)
        values = values[present]
    return values


def _distinct(values: Array) -> list[Scalar]:
    if values.dtype.kind == "f" and len(values) and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    found: list[Scalar] = np.unique(values.astype(str) if values.dtype.kind == "O" else values)[:10_000].tolist()
    return found


def _one_kind(values: Sequence[Scalar]) -> list[Scalar]:
    """Classes as one kind of value: labels of true and false beside predictions of 1 and 0 are numbers."""
    kinds = {type(each) for each in values}
    if kinds <= {bool, int} and len(kinds) > 1:
        return sorted({int(each) for each in values})
    return list(values) if len(kinds) == 1 else sorted({str(each) for each in values})
