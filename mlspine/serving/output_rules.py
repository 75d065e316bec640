"""Output rules at work: which rows of an answer are not as they may be, and what becomes of them. Pure, vectorised.

>>> from mlspine.core.types import Schema
>>> signature = Signature(inputs=Schema(fields=()), task="regression")
>>> rules = OutputRules((OutputRule(kind="range", action="clip", lo=0.0, hi=9.0),), signature)
>>> ruled = rules.apply(Outputs(np.array([3.0, -1.0, 12.0]), None), {}, [(0, 3)])
>>> ruled.outputs.prediction, ruled.broken
(array([3., 0., 9.]), (('range', 2),))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.plan import OutputRule
from mlspine.core.types import Columns, Signature, Task
from mlspine.registry.flavors import Array, Outputs, score_of

Span = tuple[int, int]  # rows start to stop of one request


class Ruled(NamedTuple):
    """What came of the rules for the rows of one model call.

    abstained: rows without a prediction, None for none; `outputs` still holds what the model said of them, for the
    log. to_fallback: numbers of the spans that somebody else must answer as a whole. broken_spans: numbers of the
    spans with a row that some rule caught. broken: rows caught, by kind of rule.
    """

    outputs: Outputs
    abstained: Array | None = None
    to_fallback: tuple[int, ...] = ()
    broken_spans: tuple[int, ...] = ()
    broken: tuple[tuple[str, int], ...] = ()


class OutputRules:
    """The rules of one endpoint, ready for the answers of one release. `active` False: there is nothing to apply.

    Rules are applied in the order in which they are declared, each to what those before it have left; a row without
    a prediction is looked at by none of those after. Rules fit the signature (see deployment/guarding.py).
    """

    def __init__(self, rules: tuple[OutputRule, ...], signature: Signature) -> None:
        self._rules = rules
        self._task: Task = signature.task
        self._names = signature.inputs.names
        self.active = bool(rules)

    def apply(self, outputs: Outputs, columns: Columns, spans: Sequence[Span]) -> Ruled:
        """The outputs as they may be answered. columns: the rows they are for; spans: those of each request."""
        if not self._rules:
            return Ruled(outputs)
        rows = len(outputs.prediction)
        abstained, fallen, caught = np.zeros(rows, bool), np.zeros(rows, bool), np.zeros(rows, bool)
        broken: dict[str, int] = {}
        for rule in self._rules:
            at_fault, bounds = self._faults(rule, outputs, columns, spans)
            at_fault &= ~abstained
            count = int(at_fault.sum())
            if not count:
                continue
            broken[rule.kind] = broken.get(rule.kind, 0) + count
            caught |= at_fault
            if rule.action == "clip":
                outputs, unclipped = self._clipped(outputs, at_fault, bounds)
                abstained |= unclipped
            elif rule.action == "abstain":
                abstained |= at_fault
            elif rule.action == "fallback":
                fallen |= at_fault
        if not broken:
            return Ruled(outputs)
        return Ruled(
            outputs,
            abstained=abstained if abstained.any() else None,
            to_fallback=_spans_with(fallen, spans),
            broken_spans=_spans_with(caught, spans),
            broken=tuple(broken.items()),
        )

    # ------------------------------------------------------------ which rows

    def _faults(
        self, rule: OutputRule, outputs: Outputs, columns: Columns, spans: Sequence[Span]
    ) -> tuple[Array, tuple[Array | float, Array | float]]:
        """The rows at fault, and between what their score would be right."""
        low = -np.inf if rule.lo is None else rule.lo
        high = np.inf if rule.hi is None else rule.hi
        if rule.kind == "deny":
            return _among(outputs.prediction, rule.values), (low, high)
        score = score_of(outputs, self._task)
        if score is None:
            return np.zeros(len(outputs.prediction), bool), (low, high)
        if rule.kind == "range":
            return ~((score >= low) & (score <= high)), (low, high)  # a NaN is within nothing
        if rule.kind == "abstain":
            return (score >= low) & (score <= high), (low, high)
        others = [columns[name] for name in self._names if name != rule.field]
        if rule.direction == "up":
            floor = least_allowed(score, columns[rule.field], others, spans)
            return score < floor, (floor, np.inf)
        ceiling = -least_allowed(-score, columns[rule.field], others, spans)
        return score > ceiling, (-np.inf, ceiling)

    # ------------------------------------------------------------ what becomes of them

    def _clipped(
        self, outputs: Outputs, rows: Array, bounds: tuple[Array | float, Array | float]
    ) -> tuple[Outputs, Array]:
        """The outputs with these rows' scores moved to the nearest bound, and the rows that have no number to move."""
        low, high = bounds
        score = score_of(outputs, self._task)
        if score is None or self._task not in ("binary", "regression"):
            return outputs, rows
        unclipped = rows & np.isnan(score)
        moved = rows & ~unclipped
        new = np.clip(score, low, high)[moved]
        if self._task == "regression":
            whole = outputs.prediction.dtype.kind in "iu" and bool((new == np.rint(new)).all())
            prediction = outputs.prediction.astype(outputs.prediction.dtype if whole else np.float64)
            prediction[moved] = new
            return Outputs(prediction, outputs.probabilities), unclipped
        assert outputs.probabilities is not None  # a score is one of them
        shares = outputs.probabilities.astype(np.float64)
        shares[moved] = np.column_stack([1.0 - new, new])
        return Outputs(outputs.prediction, shares), unclipped


def least_allowed(score: Array, field: Array, others: Sequence[Array], spans: Sequence[Span]) -> Array:
    """Per row the highest score of a row of the same request with less of `field` and all else equal; -inf without.

    Rows whose `field` is missing are compared with none. others: the remaining columns.

    >>> income = np.array([10.0, 20.0, 30.0])
    >>> least_allowed(np.array([0.5, 0.4, 0.6]), income, [np.array(["a", "a", "a"], object)], [(0, 3)])
    array([-inf,  0.5,  0.5])
    """
    floor = np.full(len(score), -np.inf)
    several = [(start, stop) for start, stop in spans if stop - start > 1]
    if not several:
        return floor
    rows = np.concatenate([np.arange(start, stop) for start, stop in several])
    request = np.repeat(np.arange(len(several)), [stop - start for start, stop in several])
    amounts, known = _amounts(field[rows])
    compared = known & ~np.isnan(score[rows])
    rows, group, amounts = rows[compared], request[compared], amounts[compared]
    if not len(rows):
        return floor
    for column in others:
        group = _refined(group, _codes(column[rows]))
    order = np.lexsort((amounts, group))
    rows, group, amounts = rows[order], group[order], amounts[order]
    floor[rows] = _highest_below(score[rows], group, amounts)
    return floor


def _highest_below(score: Array, group: Array, amounts: Array) -> Array:
    """Rows sorted by group, then amount: the highest score among rows of the group with a smaller amount."""
    values, ranks = np.unique(score, return_inverse=True)
    # One running maximum over all, which begins anew in each group because each is lifted above those before it.
    lift = group * len(values)
    highest = values[np.maximum.accumulate(ranks + lift) - lift]
    first_of_block = np.ones(len(score), bool)  # a block: the same group and amount
    first_of_block[1:] = (group[1:] != group[:-1]) | (amounts[1:] != amounts[:-1])
    begins = np.maximum.accumulate(np.where(first_of_block, np.arange(len(score)), 0))
    before = begins - 1
    has = (before >= 0) & (group[np.maximum(before, 0)] == group)
    return np.where(has, highest[np.maximum(before, 0)], -np.inf)


def _amounts(field: Array) -> tuple[Array, Array]:
    """The field as numbers that order its rows, and which rows have one."""
    if field.dtype.kind in "mM":
        return field.astype(np.int64).astype(np.float64), ~np.isnat(field)
    if field.dtype == object:
        field = np.array([np.nan if value is None else value for value in field], dtype=np.float64)
    numbers = field.astype(np.float64)
    return numbers, ~np.isnan(numbers)


def _codes(column: Array) -> Array:
    """Whole numbers from 0 that are equal where the values are; nulls are equal to each other."""
    if column.ndim > 1:
        return np.unique(column, axis=0, return_inverse=True)[1].reshape(-1)
    if column.dtype == object:
        seen: dict[object, int] = {}
        return np.array([seen.setdefault(_hashable(value), len(seen)) for value in column], dtype=np.int64)
    return np.unique(column, return_inverse=True)[1]


def _hashable(value: object) -> object:
    if value is None or value != value:
        return None
    return (type(value) is bool, value)


def _refined(group: Array, codes: Array) -> Array:
    return np.unique(group * (int(codes.max()) + 1) + codes, return_inverse=True)[1]


def _among(prediction: Array, values: Sequence[object]) -> Array:
    if prediction.dtype == object:
        wanted = set(map(_hashable, values))
        return np.array([_hashable(value) in wanted for value in prediction.tolist()], dtype=bool)
    kinds = (bool,) if prediction.dtype.kind == "b" else (int, float)
    return np.isin(prediction, np.array([value for value in values if type(value) in kinds], prediction.dtype))


def _spans_with(rows: Array, spans: Sequence[Span]) -> tuple[int, ...]:
    if not rows.any():
        return ()
    return tuple(number for number, (start, stop) in enumerate(spans) if rows[start:stop].any())
