"""Whether two sets of outputs agree, row by row: exactly, or as closely as another runtime can be asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlspine.registry.flavors import Outputs

Array = np.ndarray[Any, np.dtype[Any]]
RELATIVE_TOLERANCE = 1e-9
CONVERTED_TOLERANCE = 1e-5  # of probabilities; of numbers, in units of the spread of the recorded ones
SHOWN_MISMATCHES = 5


class Reproduced(NamedTuple):
    """How many of the recorded predictions a predictor gives again, and where it does not."""

    rows: int
    of: int
    mismatches: tuple[str, ...]

    @property
    def all(self) -> bool:
        return self.rows == self.of


Compare = Callable[[Outputs, Outputs], Reproduced]


def compare(given: Outputs, expected: Outputs) -> Reproduced:
    """Labels equal, floats within 1e-9 relative."""
    return _compare(given, expected, _equal)


class Nearly:
    """The comparison for a converted model: the same label, probabilities within 1e-5, numbers within 1e-5 of the
    spread of the recorded ones."""

    def __init__(self, recorded: Outputs) -> None:
        values = recorded.prediction
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else np.zeros(0)
        self._spread = float(finite.std()) if finite.size else 0.0

    def __call__(self, given: Outputs, expected: Outputs) -> Reproduced:
        """How many rows agree that closely."""
        return _compare(given, expected, self._near)

    def _near(self, given: Array, expected: Array) -> Array:
        if expected.dtype.kind != "f" or given.dtype.kind != "f":
            return _equal(given, expected)
        slack = CONVERTED_TOLERANCE * (1.0 if expected.ndim == 2 else max(self._spread, 1e-300))
        # Numbers far from zero for their spread cannot be nearer than their own precision.
        relative = 0.0 if expected.ndim == 2 else 1e-7
        close: Array = np.isclose(given, expected, rtol=relative, atol=slack, equal_nan=True)
        return close


def first(outputs: Outputs) -> Outputs:
    """The outputs of the first row alone."""
    probabilities = None if outputs.probabilities is None else outputs.probabilities[:1]
    return Outputs(prediction=outputs.prediction[:1], probabilities=probabilities)


def _compare(given: Outputs, expected: Outputs, equals: Callable[[Array, Array], Array]) -> Reproduced:
    count = len(expected.prediction)
    if len(given.prediction) != count:
        return Reproduced(0, count, (f"{len(given.prediction)} predictions for {count} rows",))
    equal = equals(given.prediction, expected.prediction)
    if expected.probabilities is not None:
        if given.probabilities is None or given.probabilities.shape != expected.probabilities.shape:
            return Reproduced(0, count, ("no probabilities, or of another shape",))
        equal &= equals(given.probabilities, expected.probabilities).reshape(count, -1).all(axis=1)
    wrong = np.flatnonzero(~equal)
    said = tuple(f"row {i}: {_tell(given, i)} instead of {_tell(expected, i)}" for i in wrong[:SHOWN_MISMATCHES])
    return Reproduced(count - len(wrong), count, said)


def _equal(given: Array, expected: Array) -> Array:
    if given.dtype.kind in "fiub" and expected.dtype.kind in "fiub":
        close: Array = np.isclose(
            given.astype(np.float64),
            expected.astype(np.float64),
            rtol=RELATIVE_TOLERANCE,
            atol=1e-15,
            equal_nan=True,
        )
        return close
    same = [a == b for a, b in zip(given.tolist(), expected.tolist(), strict=True)]
    return np.array(same, dtype=np.bool_)


def _tell(outputs: Outputs, row: int) -> str:
    told = repr(outputs.prediction[row : row + 1].tolist()[0])
    if outputs.probabilities is not None:
        told += f" with probabilities {outputs.probabilities[row].tolist()}"
    return told
