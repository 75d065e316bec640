"""The declared rule: one answer for every row, for when no release answers. Pure."""

from __future__ import annotations

import numpy as np

from mlspine.core.plan import Guards
from mlspine.core.types import Signature
from mlspine.registry.flavors import Array, Outputs


class RuleAnswer:
    """What the declared rule answers for n rows, in the shape that the release's own answers have.

    guards: with an `answer`. A score is that of the release's task: the probability of the second class, or of the
    answered class among several. Without one, nothing but the answer is given.

    >>> from mlspine.core.types import Schema
    >>> signature = Signature(inputs=Schema(fields=()), task="binary", classes=("no", "yes"))
    >>> RuleAnswer(Guards(answer="no", score=0.25), signature).outputs(2)
    Outputs(prediction=array(['no', 'no'], dtype=object), probabilities=array([[0.75, 0.25],
           [0.75, 0.25]]))
    """

    def __init__(self, guards: Guards, signature: Signature) -> None:
        self._prediction = _one(guards.answer, signature)
        self._shares = _shares(guards, signature)

    def outputs(self, rows: int) -> Outputs:
        """The same answer `rows` times."""
        shares = self._shares
        return Outputs(
            prediction=np.repeat(self._prediction, rows),
            probabilities=None if shares is None else np.tile(shares, (rows, 1)),
        )


def _one(answer: object, signature: Signature) -> Array:
    """The answer as an array of one, typed as the release's predictions are."""
    if signature.task == "regression":
        return np.array([answer], dtype=np.float64)
    kinds: set[type] = {type(each) for each in signature.classes} or {type(answer)}
    if kinds == {bool}:
        return np.array([answer], dtype=np.bool_)
    if kinds == {int}:
        return np.array([answer], dtype=np.int64)
    if kinds <= {int, float}:
        return np.array([answer], dtype=np.float64)
    made = np.empty(1, dtype=object)
    made[0] = answer
    return made


def _shares(guards: Guards, signature: Signature) -> Array | None:
    classes = signature.classes
    if guards.score is None or signature.task not in ("binary", "multiclass") or len(classes) < 2:
        return None
    if signature.task == "binary":
        return np.array([1.0 - guards.score, guards.score])
    shares = np.full(len(classes), (1.0 - guards.score) / (len(classes) - 1))
    shares[classes.index(guards.answer)] = guards.score  # it is one of them, see deployment/guarding.py
    return shares
