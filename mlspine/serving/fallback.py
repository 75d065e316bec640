"""Who answers when a release does not: the choice, and whether the release before can read the same rows. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mlspine.core.plan import Guards
from mlspine.core.types import Columns, Field, Schema
from mlspine.registry.flavors import Array

# Who answered, as an answer says it. fallback: the release before the live one. rule: the declared one.
Path = Literal["live", "candidate", "fallback", "rule", "cannot-answer"]

_WIDENS = {"bool": ("int", "float"), "int": ("float",)}  # what a column of this type may also be read as


class Reserve(NamedTuple):
    """What stands behind the live release of an endpoint, computed once per plan."""

    previous: bool  # the release before may answer: declared, loaded, and able to read these rows
    rule: bool


def reserve(guards: Guards, *, previous_ready: bool) -> Reserve:
    """What stands behind. previous_ready: the release a rollback would bring back is loaded and reads the same rows.

    >>> reserve(Guards(answer=0), previous_ready=False)
    Reserve(previous=False, rule=True)
    """
    return Reserve(previous=previous_ready and guards.fallback == "previous", rule=guards.answer is not None)


def next_answerer(failed: Path, behind: Reserve, *, live_admits: bool, previous_admits: bool) -> Path:
    """Who answers a request that `failed` did not: only ever one step further back, so it ends.

    candidate -> live -> the release before -> the declared rule -> cannot answer. live_admits, previous_admits: what
    their breakers say now. Never towards a release that is newer or on trial.

    >>> behind = Reserve(previous=True, rule=True)
    >>> next_answerer("live", behind, live_admits=True, previous_admits=True)
    'fallback'
    >>> next_answerer("live", behind, live_admits=True, previous_admits=False)
    'rule'
    >>> next_answerer("rule", behind, live_admits=True, previous_admits=True)
    'cannot-answer'
    """
    if failed == "candidate" and live_admits:
        return "live"
    if failed in ("candidate", "live") and behind.previous and previous_admits:
        return "fallback"
    if failed in ("candidate", "live", "fallback") and behind.rule:
        return "rule"
    return "cannot-answer"


class StandIn:
    """Rows read for one release, handed to another that stands in for it.

    problems: why it cannot, for any row; empty when it can.
    """

    def __init__(self, asked: Schema, standing_in: Schema) -> None:
        given = {field.name: field for field in asked.fields}
        self.problems = tuple(
            problem for field in standing_in.fields if (problem := _problem(field, given.get(field.name)))
        )
        self._fields = standing_in.fields
        # Nulls were never among its training rows, and are possible now: looked for in each request.
        self._whole = tuple(
            field.name
            for field in standing_in.fields
            if not field.nullable and field.name in given and given[field.name].nullable
        )

    def columns(self, columns: Columns) -> Columns | None:
        """The columns it takes, in its own order; None for rows with nulls it has never seen. Only without problems."""
        if any(_has_nulls(columns[name]) for name in self._whole):
            return None
        return {field.name: _as(columns[field.name], field) for field in self._fields}


def _problem(wanted: Field, given: Field | None) -> str:
    if given is None:
        return f"{wanted.name}: not among the columns that are asked for now"
    if given.type != wanted.type and wanted.type not in _WIDENS.get(given.type, ()):
        return f"{wanted.name}: {given.type} now, it takes {wanted.type}"
    if given.width != wanted.width:
        return f"{wanted.name}: {given.width} numbers now, it takes {wanted.width}"
    return ""


def _has_nulls(values: Array) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isnan(values).any())
    if values.dtype.kind in "mM":
        return bool(np.isnat(values).any())
    return values.dtype == object and any(value is None or value != value for value in values.ravel())


def _as(values: Array, field: Field) -> Array:
    """As the other release's own reader would have made it: floats for nullable whole numbers."""
    if field.type == "float" or (field.type == "int" and field.nullable):
        return values.astype(np.float64, copy=False)
    if field.type == "int":
        return values.astype(np.int64, copy=False)
    return values
