"""Outputs of some rows, and of consecutive slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlspine.registry.flavors import Array, Outputs


def select(outputs: Outputs, rows: Array) -> Outputs:
    """The outputs of some rows, by their numbers."""
    probabilities = None if outputs.probabilities is None else outputs.probabilities[rows]
    return Outputs(prediction=outputs.prediction[rows], probabilities=probabilities)


def join(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of consecutive slices as one."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Outputs(
        prediction=np.concatenate([part.prediction for part in parts]),
        probabilities=np.concatenate(probabilities) if len(probabilities) == len(parts) else None,
    )
