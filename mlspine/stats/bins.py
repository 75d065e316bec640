"""The bins of a reference, and what is counted in them: the structs every other file of profiles speaks of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from mlspine.core.types import Field, Scalar, Struct

Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "vector"]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

MAX_BINS = 64
MAX_LEVELS = 1000
MAX_NAMES = 32

_KINDS: dict[str, Kind] = {
    "float": "numeric",
    "int": "numeric",
    "bool": "boolean",
    "category": "categorical",
    "text": "text",
    "datetime": "datetime",
    "vector": "vector",
}


class Coded:
    """A column of levels as Arrow and pandas keep it: `levels[codes[i]]` is row i, -1 is missing."""

    __slots__ = ("codes", "levels")

    def __init__(self, codes: Array, levels: tuple[Any, ...]) -> None:
        self.codes = codes
        self.levels = levels

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Array | slice) -> Coded:
        return Coded(self.codes[rows], self.levels)

    def plain(self) -> Array:
        """The values themselves, None where missing.

        >>> Coded(np.array([1, -1]), ("a", "b")).plain()
        array(['b', None], dtype=object)
        """
        values = np.empty(len(self.levels) + 1, dtype=object)
        values[:-1] = self.levels
        return values[self.codes]


Values: TypeAlias = Array | Coded
# Named columns of equal length, as `Columns`, where those of levels may come as codes.
Table: TypeAlias = Mapping[str, Values]


class NumericPart(Struct, frozen=True, kw_only=True, eq=False, tag="numeric"):
    """A counted series of numbers: `edges` inside the range, bins (e[i-1], e[i]], the last one open above.

    Counters: the `edges.size + 1` bins, then missing, -inf and +inf. `centres` are the reference's bin
    means. With `lattice` every reference value has a bin of its own.
    """

    column: str
    name: str = ""  # which of a column's series; "" when there is only one
    edges: Floats
    centres: Floats
    lattice: bool = False

    @property
    def bins(self) -> int:
        return int(self.edges.size) + 1

    @property
    def counters(self) -> int:
        return self.bins + 3


class LevelPart(Struct, frozen=True, kw_only=True, eq=False, tag="levels"):
    """A counted series of levels, most frequent first. Counters: the levels, other, unseen, missing.

    With `pooled` the reference holds more levels than are kept; then a value outside them cannot be told
    from the pooled ones and counts as other, never as unseen.
    """

    column: str
    name: str = ""
    levels: tuple[Scalar, ...]
    pooled: bool = False

    @property
    def bins(self) -> int:
        return len(self.levels) + 2

    @property
    def counters(self) -> int:
        return self.bins + 1


Part = NumericPart | LevelPart


class Tally(Struct, frozen=True, kw_only=True, eq=False):
    """What was counted of one part. `mean`, `m2` (sum of squared deviations), `low` and `high` are of the
    finite numbers; `names` are unseen levels with their counts."""

    counts: Ints
    mean: float = 0.0
    m2: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    names: dict[str, int] = {}


class Profile(Struct, frozen=True, kw_only=True, eq=False):
    """Counts of some rows on the bins of the reference with this id; `parts` in the reference's order."""

    reference_id: str
    rows: int
    parts: tuple[Tally, ...]


class Reference(Struct, frozen=True, kw_only=True, eq=False):
    """The bins of every column, and the reference rows counted on them. `id` is the hash of the bins."""

    id: str
    kinds: dict[str, Kind]
    parts: tuple[Part, ...]
    profile: Profile

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.column for part in self.parts))

    @property
    def rows(self) -> int:
        return self.profile.rows

    def parts_of(self, column: str) -> tuple[int, ...]:
        """Positions of a column's parts; the first one counts every row the column was seen in."""
        return tuple(i for i, part in enumerate(self.parts) if part.column == column)


def kind_of(field: Field) -> Kind:
    """How a column of this type is profiled.

    >>> kind_of(Field(name="x", type="int", dtype="int64"))
    'numeric'
    """
    return _KINDS[field.type]
