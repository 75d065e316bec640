"""Which values of which columns hold more disagreement than the rest, beyond chance. Pure.

Each value (of a number: each fifth of its range) is compared with all other rows by the exact hypergeometric test.
Many are looked at together, so each must do better than LEVEL divided by their number (Bonferroni): the chance to name
any slice where there is none is at most LEVEL. One that stands out only through rows of a clearer one is told as such.

Source: Fisher 1935, The Design of Experiments; Newcombe 1998 (the interval of a difference of two shares).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.replaying.found import Slice
from mlspine.stats import interval
from mlspine.stats.levels import is_missing, level_of, name_of

Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.01  # of all slices together
MIN_ROWS = 100  # in a slice and in the rest
LEAST_RATIO = 1.5  # share in the slice to share in the rest
MOST_LEVELS = 50
MOST_NUMBERS = 12  # more distinct numbers than this are cut into fifths
FIFTHS = (0.2, 0.4, 0.6, 0.8)
MOST_SHOWN = 12
MISSING = "(missing)"
_OTHER = -1


class Coder:
    """One column as small codes: its levels or fifths are settled by a first part, a fair sample of all rows.

    >>> coder = Coder(np.array(["a", "b", "a", None], dtype=object))
    >>> coder.names, coder.codes(np.array(["b", "c", None], dtype=object)).tolist()
    (['(missing)', 'a', 'b'], [2, -1, 0])
    """

    def __init__(self, first: Array) -> None:
        self.names = [MISSING]
        self._edges: Array | None = None
        self._place: dict[Any, int] = {}
        numbers = _numbers(first)
        if numbers is not None and len(np.unique(numbers[~np.isnan(numbers)])) > MOST_NUMBERS:
            self._edges = np.unique(np.nanquantile(numbers, FIFTHS))
            self.names += _fifths(self._edges, dates=first.dtype.kind == "M")
            return
        counts: dict[Any, int] = {}
        for value in first.tolist():
            if not is_missing(value):
                counts[value] = counts.get(value, 0) + 1
        kept = sorted(counts, key=lambda value: -counts[value])[:MOST_LEVELS]
        for value in sorted(kept, key=lambda value: (isinstance(value, str), value if type(value) is not bool else 0)):
            self._place[value] = len(self.names)
            self.names.append(name_of(level_of(value)))

    def codes(self, values: Array) -> Array:
        """The place of each row's value in `names`, -1 for one that is none of them; shape (n,)."""
        numbers = _numbers(values) if self._edges is not None else None
        if self._edges is not None and numbers is not None:
            place = np.searchsorted(self._edges, numbers, side="left") + 1
            return np.where(np.isnan(numbers), 0, place).astype(np.int16)
        found = (0 if is_missing(value) else self._place.get(value, _OTHER) for value in values.tolist())
        return np.fromiter(found, dtype=np.int16, count=len(values))


class Coded(NamedTuple):
    """A whole column as codes and what they stand for."""

    names: list[str]
    codes: Array  # (n,)


class Sliced(NamedTuple):
    """Slices, the named ones first, and how many there were to look at."""

    slices: tuple[Slice, ...]
    looked_at: int


class _Seen(NamedTuple):
    column: str
    code: int
    rows: int
    hits: int
    log_p: float


def sliced(columns: Mapping[str, Coded], differing: Array, *, min_rows: int = MIN_ROWS, level: float = LEVEL) -> Sliced:
    """The slices of rows with a disagreement share above the rest's. differing: booleans, shape (n,).

    >>> region = np.repeat([1, 2], [500, 4500]); differing = (np.arange(5000) % 10 == 0) & (region == 1)
    >>> found = sliced({"region": Coded(["(missing)", "north", "south"], region)}, differing)
    >>> [(each.level, each.disagree, each.rows, each.named) for each in found.slices], found.looked_at
    ([('north', 50, 500, True)], 2)
    """
    total, hits = len(differing), int(differing.sum())
    seen = [each for name, column in columns.items() for each in _of_column(name, column, differing, total, min_rows)]
    limit = math.log(level / max(1, len(seen)))
    above = [each for each in seen if _above(each.hits, each.rows, hits, total)]
    ranked = sorted(above, key=lambda each: (each.log_p, -each.hits / each.rows, each.column, each.code))
    kept: list[_Seen] = []
    told: list[Slice] = []
    apart = 1 - level / max(1, len(seen))
    for each in ranked:
        named = each.log_p <= limit
        within = _explaining(each, kept, columns, differing, limit, min_rows) if named else ""
        if named and not within:
            kept.append(each)
        told.append(_slice(each, columns, total, hits, named=named and not within, within=within, level=apart))
    order = sorted(told, key=lambda each: (not each.named, not each.within))
    return Sliced(tuple(order[:MOST_SHOWN]), len(seen))


def more_than_rest(hits: int, rows: int, of_hits: int, of_rows: int) -> float:
    """log of the chance that `rows` drawn from `of_rows`, `of_hits` of them marked, hold `hits` marked ones or more.

    >>> round(math.exp(more_than_rest(3, 3, 3, 6)), 4)
    0.05
    """
    most = min(rows, of_hits)
    if hits <= max(0, rows + of_hits - of_rows):
        return 0.0
    # Beyond some standard deviations past the first term nothing adds to the sum.
    sd = math.sqrt(rows * (of_hits / of_rows) * (1 - of_hits / of_rows)) if of_rows else 0.0
    x = np.arange(hits, min(most, hits + int(60 * sd) + 1000) + 1, dtype=np.float64)
    terms = _log_choose(of_hits, x) + _log_choose(of_rows - of_hits, rows - x) - _log_choose(of_rows, np.array(rows))
    top = float(terms.max())
    return min(0.0, top + math.log(float(np.exp(terms - top).sum())))


def _of_column(name: str, column: Coded, differing: Array, total: int, min_rows: int) -> list[_Seen]:
    known = column.codes >= 0
    size = len(column.names)
    rows = np.bincount(column.codes[known], minlength=size)
    hits = np.bincount(column.codes[known & differing], minlength=size)
    of_hits = int(differing.sum())
    return [
        _Seen(name, code, n, x, more_than_rest(x, n, of_hits, total))
        for code, (n, x) in enumerate(zip(rows.tolist(), hits.tolist(), strict=True))
        if min(n, total - n) >= min_rows
    ]


def _above(hits: int, rows: int, of_hits: int, of_rows: int) -> bool:
    rest = (of_hits - hits) / (of_rows - rows)
    return hits > 0 and hits / rows >= LEAST_RATIO * rest


def _explaining(
    each: _Seen, kept: list[_Seen], columns: Mapping[str, Coded], differing: Array, limit: float, min_rows: int
) -> str:
    """The clearer slice without whose rows this one would not be named, "" when there is none."""
    if not kept:
        return ""
    mine = columns[each.column].codes == each.code
    outside = np.ones(len(differing), dtype=np.bool_)
    for other in kept:
        outside &= columns[other.column].codes != other.code
    left, rest = mine & outside, outside & ~mine
    n, x = int(left.sum()), int((left & differing).sum())
    of_rows, of_hits = int(outside.sum()), int((outside & differing).sum())
    enough = min(n, int(rest.sum())) >= min_rows
    if enough and _above(x, n, of_hits, of_rows) and more_than_rest(x, n, of_hits, of_rows) <= limit:
        return ""
    shared = max(kept, key=lambda other: int((mine & differing & (columns[other.column].codes == other.code)).sum()))
    return f"{shared.column} = {columns[shared.column].names[shared.code]}"


def _slice(
    each: _Seen, columns: Mapping[str, Coded], total: int, hits: int, *, named: bool, within: str, level: float
) -> Slice:
    rest_rows, rest_hits = total - each.rows, hits - each.hits
    mine, others = interval.wilson(each.hits, each.rows), interval.wilson(rest_hits, rest_rows)
    return Slice(
        column=each.column,
        level=columns[each.column].names[each.code],
        rows=each.rows,
        disagree=each.hits,
        share=mine.value,
        rest=others.value,
        difference=interval.difference(mine, others, level=level),
        p=math.exp(max(each.log_p, -700.0)),
        named=named,
        within=within,
    )


def _log_choose(n: int, k: Array) -> Array:
    return np.asarray(special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0))


def _numbers(values: Array) -> Array | None:
    if values.dtype.kind in "iuf" and values.ndim == 1:
        return values.astype(np.float64)
    if values.dtype.kind == "M":
        held = values.astype("datetime64[ms]").astype(np.int64).astype(np.float64)
        return np.where(np.isnat(values), np.nan, held)
    return None


def _fifths(edges: Array, *, dates: bool) -> list[str]:
    if dates:
        told = [str(np.datetime64(int(edge), "ms"))[:16].replace("T", " ") for edge in edges]
    else:
        told = [f"{edge:.4g}" for edge in edges]
    return [f"<= {told[0]}", *(f"{a} to {b}" for a, b in pairwise(told)), f"> {told[-1]}"]
