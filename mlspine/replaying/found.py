"""What a replay found, as one document: what the terminal, the page, `--json` and the evidence are made of."""

from __future__ import annotations

from typing import Any, Literal

from mlspine.core.types import Interval, Scalar, Struct, Task
from mlspine.stats.paired import Gain

Chosen = Literal["all", "newest", "sample"]


class Side(Struct, frozen=True, kw_only=True):
    """One of the two releases."""

    version: int
    release_hash: str


class LeftOut(Struct, frozen=True, kw_only=True):
    """Logged rows that cannot be answered again, and why."""

    rows: int
    why: str


class Reproduced(Struct, frozen=True, kw_only=True):
    """How many of the rows a release had answered, by the log, it answers the same way again.

    worst: the largest difference of the score; None where there are no scores. example: the id of the worst row.
    """

    version: int
    rows: int
    same: int
    worst: float | None = None
    example: str = ""


class Shift(Struct, frozen=True, kw_only=True):
    """How the scores of B differ from those of A on the same rows: B less A.

    quantiles: of the differences, by their share ("0.5" is the median). up, down: rows that B scores higher, lower.
    """

    mean: Interval
    mean_size: float
    largest: float
    quantiles: dict[str, float]
    up: int
    down: int
    rows: int


class Crossing(Struct, frozen=True, kw_only=True):
    """Rows whose scores lie on different sides of a threshold. up: B at or above it and A below; down: the reverse."""

    threshold: float
    up: int
    down: int
    share: Interval


class Cell(Struct, frozen=True, kw_only=True):
    """Rows that A answers `a` and B answers `b`."""

    a: Scalar | None
    b: Scalar | None
    rows: int


class Different(Struct, frozen=True, kw_only=True):
    """One of the rows that the two answer most differently, with what was asked."""

    id: str
    event_at_ms: int
    a: Scalar | None
    b: Scalar | None
    a_score: float | None
    b_score: float | None
    label: Scalar | None
    values: dict[str, Any]


class Slice(Struct, frozen=True, kw_only=True):
    """Rows with one value (or range) of one column, and the share of them on which the two disagree.

    rest: that share among all other rows. difference: share less rest, at a level that holds for everything looked
    at. p: of so many disagreements by chance. named: more than chance. within: the named slice that explains this one.
    """

    column: str
    level: str
    rows: int
    disagree: int
    share: float
    rest: float
    difference: Interval
    p: float
    named: bool
    within: str = ""


class Right(Struct, frozen=True, kw_only=True):
    """Which of the two was right, on the rows that have a label.

    differing: labelled rows on which they disagree, of which `a` and `b` were right alone (numbers: nearer) and
    `neither` was. p: of such a split if both were right equally often. gain: B over A on all labelled rows.
    """

    rows: int
    differing: int
    a: int
    b: int
    neither: int
    p: float
    gain: Gain


class Replay(Struct, frozen=True, kw_only=True):
    """Two releases on the same logged requests.

    held: logged rows in the span; rows: how many were answered again, `chosen` how. tolerance: numbers that differ by
    less agree; 0 for labels. slices: the named ones first, then the next by their chance; looked_at: how many there
    were. withheld: columns redacted from the log, which both were given as missing.
    """

    endpoint: str
    model: str
    task: Task
    a: Side
    b: Side
    from_at_ms: int
    to_at_ms: int
    held: int
    rows: int
    chosen: Chosen
    disagree: int
    disagreement: Interval
    tolerance: float
    matrix: tuple[Cell, ...]
    different: tuple[Different, ...]
    slices: tuple[Slice, ...]
    looked_at: int
    verdict: str
    at_ms: int
    seconds: float
    left_out: tuple[LeftOut, ...] = ()
    withheld: tuple[str, ...] = ()
    reproduced: tuple[Reproduced, ...] = ()
    shift: Shift | None = None
    crossing: Crossing | None = None
    right: Right | None = None
