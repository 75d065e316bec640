"""Which files can hold an id or a key: the range of ids each file spans, and the files that names fall into. Pure.

Request ids are UUIDv7 and grow with time, so a file of one hour spans a range of its own and late labels reach only
the files of their hours. Ids without an order (a caller's own) reach every file: slower, as true. Keys name people and
are in the files only; their ranges stand in the Parquet statistics, which DuckDB reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mlspine.predictions.store import Segment


class Reach(NamedTuple):
    """The smallest and largest id; both "" when there is none."""

    first: str
    last: str


def reach(ids: Iterable[object]) -> Reach:
    """The range of the ids that are there (None is none).

    >>> reach(["b", None, "a"]), reach([None])
    (Reach(first='a', last='b'), Reach(first='', last=''))
    """
    texts = [str(each) for each in set(ids) if each is not None]
    return Reach(min(texts), max(texts)) if texts else Reach("", "")


def joined(segments: Sequence[Segment]) -> Reach | None:
    """The range of several files as one; None where that of one of them is not known."""
    ends = [(each.first_id, each.last_id) for each in segments]
    known = [Reach(first, last) for first, last in ends if first is not None and last is not None]
    if len(known) < len(ends):
        return None
    there = [each for each in known if each.last]
    return Reach(min((each.first for each in there), default=""), max((each.last for each in there), default=""))


def keyed(segments: Iterable[Segment]) -> int | None:
    """Whether one of several files holds keys: 1, 0, or None where that is not known."""
    flags = {each.keyed for each in segments}
    return 1 if 1 in flags else None if None in flags else 0


def may_hold(segments: Iterable[Segment], *, ids: Sequence[str], keys: Sequence[str]) -> list[Segment]:
    """The files that can hold one of these ids, sorted, or one of these keys."""
    return [each for each in segments if (keys and each.keyed != 0) or _inside(ids, each.first_id, each.last_id)]


def overlapping(segments: Iterable[Segment], others: Sequence[Segment]) -> list[Segment]:
    """The files whose ids or keys may be among those of the others."""
    return [each for each in segments if any(_overlap(each, other) for other in others)]


def _inside(ids: Sequence[str], first: str | None, last: str | None) -> bool:
    if not ids:
        return False
    if first is None or last is None:
        return True
    if not last:
        return False
    place = bisect_left(ids, first)
    return place < len(ids) and ids[place] <= last


def _overlap(a: Segment, b: Segment) -> bool:
    if a.keyed != 0 and b.keyed != 0:
        return True
    if a.first_id is None or a.last_id is None or b.first_id is None or b.last_id is None:
        return True
    return bool(a.last_id) and bool(b.last_id) and a.first_id <= b.last_id and b.first_id <= a.last_id
