"""Rows to sub-windows: the profiles of every hour of event time."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import msgspec
import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, SubWindow
from mlspine.predictions.segment import Rows
from mlspine.stats import profile as profiles
from mlspine.stats.profile import Profile, Reference

log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]

HOUR_MS = 3_600_000
LEARNING_ROWS = 1_000


class ReleaseReferences(Protocol):
    """What the rows of a release are counted on; `outputs` is None where that must be learned first."""

    @property
    def inputs(self) -> Reference: ...

    @property
    def outputs(self) -> Reference | None: ...


def hourly(
    rows: Rows, *, inputs: Reference | None, outputs: Reference | None, learning_rows: int = 0
) -> list[SubWindow]:
    """One sub-window per hour of event time these rows fall in.

    inputs, outputs: what to count on; None leaves that side empty. learning_rows: so many of the first rows
    taught the outputs' reference and are not counted on it.
    """
    if not rows.size:
        return []
    hours = rows.event_at_ms // HOUR_MS
    order = np.argsort(hours, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(hours[order]) != 0])
    taken = _reordered(rows.inputs, inputs, order)
    answers = _reordered(rows.outputs(), outputs, order)
    windows = []
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), rows.size], strict=True):
        part = order[begin:end]
        judged = np.flatnonzero(part >= learning_rows) + begin
        hour_inputs = {name: values[begin:end] for name, values in taken.items()}
        hour_outputs = {name: values[judged] for name, values in answers.items()}
        at_ms = rows.event_at_ms[part]
        windows.append(
            SubWindow(
                endpoint=rows.endpoint,
                release_hash=rows.release_hash,
                start_at_ms=int(hours[part[0]]) * HOUR_MS,
                rows=end - begin,
                inputs=_encoded(inputs, hour_inputs, at_ms),
                outputs=_encoded(outputs, hour_outputs, at_ms[judged - begin]),
                inputs_reference_id=inputs.id if inputs else "",
                outputs_reference_id=outputs.id if outputs else "",
            )
        )
    return windows


def merged(a: SubWindow, b: SubWindow, *, inputs: Reference | None, outputs: Reference | None) -> SubWindow:
    """Both sub-windows of one hour as one; a side that counted nothing yet takes the other's."""
    return msgspec.structs.replace(
        b,
        rows=a.rows + b.rows,
        inputs=_merged(a.inputs, b.inputs, inputs),
        outputs=_merged(a.outputs, b.outputs, outputs),
        inputs_reference_id=b.inputs_reference_id or a.inputs_reference_id,
        outputs_reference_id=b.outputs_reference_id or a.outputs_reference_id,
    )


def _reordered(columns: Columns, reference: Reference | None, order: Array) -> Columns:
    if reference is None:
        return {}
    return {name: columns[name][order] for name in reference.names if name in columns}


def _merged(a: bytes, b: bytes, reference: Reference | None) -> bytes:
    if not a or not b or reference is None:
        return a or b
    return profiles.encode(profiles.merge(profiles.decode(a, reference), profiles.decode(b, reference)))


def _encoded(reference: Reference | None, columns: Columns, at_ms: Array) -> bytes:
    if reference is None or not len(at_ms):
        return b""
    counted = _counted(reference, columns, at_ms)
    # With every column withheld there is still that many rows.
    return profiles.encode(msgspec.structs.replace(counted, rows=len(at_ms)))


def _counted(reference: Reference, columns: Columns, at_ms: Array) -> Profile:
    """The profile of some rows; columns that were not logged, or cannot be read as their kind, count none.

    The server has checked the types, so the second case is a release whose own transform relabels columns;
    a row must reach the log whatever its values are.
    """
    absent = {name for name in reference.names if name not in columns}
    try:
        return _profile(reference, columns, at_ms, absent)
    except Invalid as exc:
        unreadable = {name for name in columns if not _readable(reference, name, columns, at_ms)}
        log.warning("columns could not be profiled", extra={"columns": sorted(unreadable), "why": str(exc)})
        return _profile(reference, columns, at_ms, absent | unreadable)


def _readable(reference: Reference, name: str, columns: Columns, at_ms: Array) -> bool:
    try:
        _profile(reference, columns, at_ms, {other for other in reference.names if other != name})
    except Invalid:
        return False
    return True


def _profile(reference: Reference, columns: Columns, at_ms: Array, absent: set[str]) -> Profile:
    if absent.issuperset(reference.names):
        return profiles.empty(reference)
    return profiles.profile(reference, columns, event_at_ms=at_ms, absent=absent)
