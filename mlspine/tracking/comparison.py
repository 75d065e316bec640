"""What sets runs apart. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mlspine.core.types import Struct
from mlspine.tracking.sheet import RunLine

Kind = Literal["run", "param", "metric", "tag"]
Value = str | float | None


class Differing(Struct, frozen=True, kw_only=True):
    """One thing that is not the same in all runs; null where a run has none.

    deltas: of metrics, value minus that of the first run.
    """

    kind: Kind
    name: str
    values: tuple[Value, ...]
    deltas: tuple[float | None, ...] = ()


class Comparison(Struct, frozen=True, kw_only=True):
    """Runs side by side. same: how many parameters, metrics and tags all of them share."""

    runs: tuple[RunLine, ...]
    differing: tuple[Differing, ...]
    same: int


def compare(runs: Sequence[RunLine]) -> Comparison:
    """What differs: status, duration, parameters, metrics, tags, in this order and by name."""
    rows = [
        Differing(kind="run", name="status", values=tuple(run.status for run in runs)),
        Differing(kind="run", name="duration_s", values=tuple(run.duration_s for run in runs)),
        Differing(kind="run", name="experiment", values=tuple(run.experiment for run in runs)),
        Differing(kind="run", name="user", values=tuple(run.user for run in runs)),
        *_by_name("param", runs, lambda run: run.params),
        *(_with_deltas(row) for row in _by_name("metric", runs, lambda run: run.metrics)),
        *_by_name("tag", runs, lambda run: run.tags),
    ]
    differing = tuple(row for row in rows if len(set(row.values)) > 1)
    same = sum(row.kind != "run" for row in rows) - sum(row.kind != "run" for row in differing)
    return Comparison(runs=tuple(runs), differing=differing, same=same)


def names_that_differ(runs: Sequence[RunLine], of: Callable[[RunLine], Mapping[str, Value]]) -> list[str]:
    """Names under which runs have different values; of a single run all names.

    >>> names_that_differ([], lambda run: {})
    []
    """
    names = dict.fromkeys(name for run in runs for name in sorted(of(run)))
    return [name for name in names if len(runs) == 1 or len({of(run).get(name) for run in runs}) > 1]


def _by_name(kind: Kind, runs: Sequence[RunLine], of: Callable[[RunLine], Mapping[str, Value]]) -> list[Differing]:
    names = sorted({name for run in runs for name in of(run)})
    return [Differing(kind=kind, name=name, values=tuple(of(run).get(name) for run in runs)) for name in names]


def _with_deltas(row: Differing) -> Differing:
    first = row.values[0]
    deltas = tuple(
        value - first if isinstance(value, float) and isinstance(first, float) else None for value in row.values
    )
    return Differing(kind=row.kind, name=row.name, values=row.values, deltas=deltas)
