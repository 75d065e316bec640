"""Mergeable count profiles on the bins of one reference: all that is kept of the rows a model answered.

A reference fixes the bins of every column once; a profile counts rows in those bins. Profiles of one
reference add up: merged counts equal the counts of one pass over all rows, moments agree within 1e-12.

How a column is counted, by kind:
  numeric      at most 64 right-closed bins between the reference's 64-quantiles; one bin per value when the
               reference holds at most 64; counters for missing, -inf and +inf; mean, spread, min and max
  categorical  the reference's levels (the 1,000 most frequent, the rest pooled), unseen, missing, and up to
               32 names of unseen levels so that an alert can say what is new
  boolean      as categorical
  datetime     hour of day and day of week (UTC) as levels, and age at the event in seconds where event times
               are given
  text         length in characters; text whose values repeat is counted by its levels
  vector       four fixed random sign projections

Sources: Chan, Golub and LeVeque 1983 (merging variances); Misra and Gries 1982, Agarwal et al. 2012
(mergeable heavy hitters); Achlioptas 2003 (sign projections).

>>> reference = build_reference({"x": np.arange(1000.0)}, {"x": "numeric"})
>>> morning, evening = (profile(reference, {"x": np.array(v)}) for v in ([1.0, np.nan], [999.0]))
>>> merged = merge(morning, evening)
>>> merged.rows, int(merged.parts[0].counts.sum()), merged.parts[0].mean
(3, 3, 500.0)
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from blake3 import blake3

from mlspine.core.errors import Conflict, Corrupt, Invalid
from mlspine.core.ids import digest_bytes
from mlspine.core.types import Columns, Field, Scalar, Struct

Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "vector"]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

MAX_BINS = 64
MAX_LEVELS = 1000
MAX_NAMES = 32
NAME_LENGTH = 80
PROJECTIONS = 4
# Text is taken for a category when its values repeat this often on average.
ROWS_PER_LEVEL = 10

_KINDS: dict[str, Kind] = {
    "float": "numeric",
    "int": "numeric",
    "bool": "boolean",
    "category": "categorical",
    "text": "text",
    "datetime": "datetime",
    "vector": "vector",
}
_MOMENTS = struct.Struct("<4d")
_MAGIC = b"\x01"


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


def build_reference(columns: Columns, kinds: Mapping[str, Kind], *, event_at_ms: Ints | None = None) -> Reference:
    """The bins of the named columns, taken from these rows, with the rows counted on them.

    kinds: column -> kind; columns without a kind are left out. A text column whose values repeat (at most
    1,000 of them, ten rows each on average) is counted as categorical.
    event_at_ms: when each row was asked for, ms UTC; without it datetimes have no age.
    Raises Invalid naming every column that is absent, of another length, or cannot be read as its kind.
    """
    _check(columns, kinds, event_at_ms)
    settled = {name: _settle(kind, columns[name]) for name, kind in kinds.items()}
    parts: list[Part] = []
    problems: list[str] = []
    for name, kind in settled.items():
        try:
            parts += _lay_out(name, kind, columns[name], event_at_ms)
        except (TypeError, ValueError) as exc:
            problems.append(f"{name}: cannot be read as {kind}: {exc}")
    if problems:
        raise Invalid("the reference rows cannot be profiled", details=problems)
    reference_id = _layout_id(settled, parts)
    hollow = Profile(reference_id=reference_id, rows=0, parts=tuple(_nothing(part) for part in parts))
    bare = Reference(id=reference_id, kinds=settled, parts=tuple(parts), profile=hollow)
    counted = profile(bare, columns, event_at_ms=event_at_ms)
    return Reference(id=reference_id, kinds=settled, parts=tuple(parts), profile=counted)


def profile(
    reference: Reference,
    columns: Columns,
    *,
    event_at_ms: Ints | None = None,
    absent: Collection[str] = (),
) -> Profile:
    """Count rows on the reference's bins.

    columns: at least the reference's columns; others are ignored.
    event_at_ms: when each row was asked for; without it the age of datetimes is not counted.
    absent: columns withheld on purpose (redacted); they count no row and are not judged.
    Raises Invalid naming every column that is absent, of another length, or cannot be read as its kind.
    """
    wanted = {name: kind for name, kind in reference.kinds.items() if name not in absent}
    _check(columns, wanted, event_at_ms)
    tallies: list[Tally] = []
    problems: list[str] = []
    for part in reference.parts:
        if part.column in absent:
            tallies.append(_nothing(part))
            continue
        try:
            series = _series(part, reference.kinds[part.column], columns[part.column], event_at_ms)
            tallies.append(_nothing(part) if series is None else _count(part, series))
        except (TypeError, ValueError) as exc:
            problems.append(f"{part.column}: cannot be read as {reference.kinds[part.column]}: {exc}")
    if problems:
        raise Invalid("these rows cannot be profiled on the reference", details=problems)
    return Profile(reference_id=reference.id, rows=_row_count(columns, wanted), parts=tuple(tallies))


def profile_blocks(
    reference: Reference,
    columns: Columns,
    block: Ints,
    blocks: int,
    *,
    event_at_ms: Ints | None = None,
) -> tuple[Profile, ...]:
    """One profile per block of rows, in one pass; `block` (n_rows,) names each row's block, 0..blocks-1.

    Rows of block -1 belong to none.
    """
    _check(columns, reference.kinds, event_at_ms)
    chosen = block >= 0
    block = block[chosen]
    by_part: list[list[Tally]] = []
    for part in reference.parts:
        series = _series(part, reference.kinds[part.column], columns[part.column], event_at_ms)
        if series is None:
            by_part.append([_nothing(part)] * blocks)
        else:
            by_part.append(_count_blocks(part, series[chosen], block, blocks))
    rows = np.bincount(block, minlength=blocks)
    return tuple(
        Profile(reference_id=reference.id, rows=int(rows[i]), parts=tuple(tallies[i] for tallies in by_part))
        for i in range(blocks)
    )


def empty(reference: Reference) -> Profile:
    """The profile of no rows: merging it changes nothing."""
    parts = tuple(_nothing(part) for part in reference.parts)
    return Profile(reference_id=reference.id, rows=0, parts=parts)


def merge(a: Profile, b: Profile) -> Profile:
    """The profile of both sets of rows. Raises Conflict when they count on different references.

    Counts are exact. Names of unseen levels are exact up to 32 different ones; beyond that every name with
    more than 1/33 of the unseen rows is kept, with a count too low by at most that share.
    """
    if a.reference_id != b.reference_id:
        raise Conflict(
            f"profiles of different references cannot be merged: {a.reference_id} and {b.reference_id}",
            hint="profile both sets of rows on one release's baseline",
        )
    parts = tuple(_merge_tally(x, y) for x, y in zip(a.parts, b.parts, strict=True))
    return Profile(reference_id=a.reference_id, rows=a.rows + b.rows, parts=parts)


def encode(profile: Profile) -> bytes:
    """A profile as bytes: counters as varints, moments as four doubles; equal profiles, equal bytes."""
    out = bytearray(_MAGIC + bytes.fromhex(profile.reference_id))
    _put_varint(out, profile.rows)
    for tally in profile.parts:
        for count in tally.counts.tolist():
            _put_varint(out, count)
        out += _MOMENTS.pack(tally.mean, tally.m2, tally.low, tally.high) if tally.low <= tally.high else b""
        _put_varint(out, len(tally.names))
        for name, count in sorted(tally.names.items()):
            text = name.encode()
            _put_varint(out, len(text))
            out += text
            _put_varint(out, count)
    return bytes(out)


def decode(data: bytes, reference: Reference) -> Profile:
    """Read a profile back. Raises Conflict on another reference's profile, Corrupt on damaged bytes."""
    reader = _Reader(data)
    try:
        if reader.take(1) != _MAGIC:
            raise Corrupt("these bytes are not a profile")
        reference_id = reader.take(len(reference.id) // 2).hex()
        if reference_id != reference.id:
            raise Conflict(
                f"the profile counts on reference {reference_id}, not on {reference.id}",
                hint="read it with the baseline of the release it was recorded for",
            )
        rows = reader.varint()
        parts = tuple(_read_tally(reader, part) for part in reference.parts)
    except (IndexError, UnicodeDecodeError, OverflowError) as exc:
        raise Corrupt(f"the profile is damaged at byte {reader.at} of {len(data)}") from exc
    if reader.at != len(data):
        raise Corrupt(f"the profile has {len(data) - reader.at} bytes too many")
    return Profile(reference_id=reference.id, rows=rows, parts=parts)


def encode_reference(reference: Reference) -> bytes:
    """A reference as bytes, the same for the same reference."""
    return ENCODER.encode(reference)


def decode_reference(data: bytes) -> Reference:
    """Read a reference back; raises Corrupt when the bytes are damaged or the id does not match the bins."""
    try:
        reference = _REFERENCE_DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError) as exc:
        raise Corrupt(f"the reference cannot be read: {exc}") from exc
    check_reference(reference)
    return reference


def check_reference(reference: Reference) -> None:
    """Raises Corrupt when a reference's id is not that of its bins, or its own counts do not fit them."""
    fits = [part.counters for part in reference.parts] == [t.counts.size for t in reference.profile.parts]
    if _layout_id(reference.kinds, reference.parts) != reference.id or not fits:
        raise Corrupt(f"the reference {reference.id} does not match its own bins")


# ---------------------------------------------------------------- laying out the bins


def _settle(kind: Kind, values: Array) -> Kind:
    if kind != "text":
        return kind
    known, _ = _levels_of(values)
    repeats = sum(known.values()) >= ROWS_PER_LEVEL * len(known)
    return "categorical" if known and len(known) <= MAX_LEVELS and repeats else "text"


def _lay_out(name: str, kind: Kind, values: Array, event_at_ms: Ints | None) -> list[Part]:
    if kind == "categorical":
        return [_level_part(name, values)]
    if kind == "boolean":
        return [LevelPart(column=name, levels=(False, True))]
    series: tuple[str, ...] = ("",)
    parts: list[Part] = []
    if kind == "datetime":
        parts.append(LevelPart(column=name, name="hour", levels=tuple(range(24))))
        parts.append(LevelPart(column=name, name="weekday", levels=tuple(range(7))))
        series = () if event_at_ms is None else ("age",)
    elif kind == "text":
        series = ("length",)
    elif kind == "vector":
        series = tuple(f"projection {i + 1}" for i in range(PROJECTIONS))
    for label in series:
        bare = NumericPart(column=name, name=label, edges=np.empty(0), centres=np.zeros(1))
        numbers = _series(bare, kind, values, event_at_ms)
        assert numbers is not None
        parts.append(_numeric_part(name, label, numbers))
    return parts


def _numeric_part(column: str, name: str, values: Floats) -> NumericPart:
    finite = np.sort(values[np.isfinite(values)])
    distinct = np.unique(finite)
    lattice = 0 < distinct.size <= MAX_BINS
    if lattice:
        edges = _lattice_edges(distinct)
    elif finite.size:
        with np.errstate(over="ignore", invalid="ignore"):
            edges = np.unique(np.quantile(finite, np.arange(1, MAX_BINS) / MAX_BINS))
        edges = edges[np.isfinite(edges)]
    else:
        edges = np.empty(0)
    code = np.searchsorted(edges, finite, side="left")
    held = np.bincount(code, minlength=edges.size + 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        centres = np.bincount(code, weights=finite, minlength=edges.size + 1) / held
    # A bin without reference rows has no mean; the edge it ends at stands in.
    stand_in = np.append(edges, edges[-1] if edges.size else 0.0)
    centres = np.where(np.isfinite(centres), centres, stand_in)
    return NumericPart(column=column, name=name, edges=edges, centres=centres, lattice=lattice)


def _lattice_edges(distinct: Floats) -> Floats:
    # Room permitting, values below the smallest and above the largest get bins of their own, so that a
    # constant column is seen to change.
    if distinct.size + 2 > MAX_BINS:
        return distinct[:-1]
    below = np.nextafter(distinct[0], -np.inf)
    return np.concatenate([[below], distinct]) if np.isfinite(below) else distinct


def _level_part(column: str, values: Array) -> LevelPart:
    known, _ = _levels_of(values)
    ordered = sorted(known, key=lambda level: (-known[level], str(level), type(level).__name__))
    return LevelPart(column=column, levels=tuple(ordered[:MAX_LEVELS]), pooled=len(ordered) > MAX_LEVELS)


def _layout_id(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> str:
    layout = [
        [part.column, part.name, part.edges.astype("<f8").tobytes()]
        if isinstance(part, NumericPart)
        else [part.column, part.name, part.levels, part.pooled]
        for part in parts
    ]
    return digest_bytes(msgspec.msgpack.encode([sorted(kinds.items()), layout]))[:32]


# ---------------------------------------------------------------- from a column to the series of its parts


def _series(part: Part, kind: Kind, values: Array, event_at_ms: Ints | None) -> Array | None:
    """The values this part counts, or None when it cannot be counted for want of event times."""
    if isinstance(part, LevelPart):
        return _clock_series(part.name, values) if kind == "datetime" else values
    if kind == "datetime":
        return None if event_at_ms is None else _age_s(values, event_at_ms)
    if kind == "text":
        return _lengths(values)
    if kind == "vector":
        return _project(part, values)
    return np.asarray(values, dtype=np.float64)


def _clock_series(name: str, values: Array) -> Floats:
    times = np.asarray(values, dtype="datetime64[us]")
    missing = np.isnat(times)
    hours = times.astype("datetime64[h]").astype(np.int64)
    # 1 January 1970 was a Thursday; Monday is 0.
    counted = hours % 24 if name == "hour" else (hours // 24 + 3) % 7
    return np.where(missing, np.nan, counted.astype(np.float64))


def _age_s(values: Array, event_at_ms: Ints) -> Floats:
    times = np.asarray(values, dtype="datetime64[us]")
    at_s = np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6)
    return np.asarray(event_at_ms, dtype=np.float64) / 1e3 - at_s


def _lengths(values: Array) -> Floats:
    return np.array([math.nan if _is_missing(v) else len(str(v)) for v in values.tolist()], dtype=np.float64)


def _project(part: NumericPart, values: Array) -> Floats:
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), -1)
    signs = _signs(f"{part.column}/{part.name}", flat.shape[1])
    # Row by row rather than as a matrix product, whose last digit depends on how many rows come together.
    with np.errstate(invalid="ignore", over="ignore"):
        summed: Floats = (flat * signs).sum(axis=1)
    return np.asarray(summed / math.sqrt(max(1, flat.shape[1])), dtype=np.float64)


def _signs(seed: str, width: int) -> Floats:
    # Bits of a hash rather than of a random generator: the same on every platform and library version.
    stream = np.frombuffer(blake3(seed.encode()).digest(length=width // 8 + 1), dtype=np.uint8)
    return np.unpackbits(stream)[:width].astype(np.float64) * 2.0 - 1.0


# ---------------------------------------------------------------- counting


def _count(part: Part, series: Array) -> Tally:
    return _count_numbers(part, series) if isinstance(part, NumericPart) else _count_levels(part, series)


def _count_numbers(part: NumericPart, values: Floats) -> Tally:
    """Sort first: one binary search per edge instead of one per value."""
    ordered = np.sort(values)
    known = ordered[: ordered.size - int(np.isnan(values).sum())]
    start = int(np.searchsorted(known, -np.inf, side="right"))
    stop = int(np.searchsorted(known, np.inf, side="left"))
    finite = known[start:stop]
    bounds = np.concatenate([[0], np.searchsorted(finite, part.edges, side="right"), [finite.size]])
    outside = [ordered.size - known.size, start, known.size - stop]
    counts = np.concatenate([np.diff(bounds), outside]).astype(np.int64)
    if not finite.size:
        return Tally(counts=counts)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(finite.mean())
        m2 = float(np.square(finite - mean).sum())
    # Adding 0 turns -0.0 into 0.0: which of the two comes first depends on the order of the rows.
    low, high = float(finite[0]) + 0.0, float(finite[-1]) + 0.0
    return Tally(counts=counts, mean=mean + 0.0, m2=m2, low=low, high=high)


def _count_levels(part: LevelPart, values: Array) -> Tally:
    known, missing = _levels_of(values)
    counts = [known.pop(level, 0) for level in part.levels]
    strange = sum(known.values())
    other, unseen = (strange, 0) if part.pooled else (0, strange)
    names: Counter[str] = Counter()
    if not part.pooled:
        for level, count in known.items():
            names[_name(level)] += count
    tail = [other, unseen, missing]
    return Tally(counts=np.array(counts + tail, dtype=np.int64), names=_heaviest(names))


def _levels_of(values: Array) -> tuple[dict[Scalar, int], int]:
    """Count per level, and the number of missing values (None, NaN, NaT)."""
    if values.dtype == object:
        listed = values.tolist()
        try:
            counted: dict[Any, int] = Counter(listed)
        except TypeError:
            counted = Counter(v if _is_missing(v) else str(v) for v in listed)
    else:
        keys, repeats = np.unique(values, return_counts=True)
        counted = dict(zip(keys.tolist(), repeats.tolist(), strict=True))
    known: dict[Scalar, int] = {}
    missing = 0
    for value, count in counted.items():
        if _is_missing(value):
            missing += count
        else:
            level = _level(value)
            known[level] = known.get(level, 0) + count
    return known, missing


def _level(value: Any) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, float)) or (type(value) is int and abs(value) < 2**63):
        return value
    # Half a surrogate pair, which JSON can carry, has no UTF-8 form and could not be stored.
    return str(value).encode("utf-8", "replace").decode()


def _name(level: Scalar) -> str:
    # 1, 1.0 and True are one level, so they need one name.
    if isinstance(level, (bool, float)) and float(level).is_integer():
        level = int(level)
    return str(level)[:NAME_LENGTH]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating, np.datetime64)) and value != value)


def _count_blocks(part: Part, series: Array, block: Ints, blocks: int) -> list[Tally]:
    code = _number_codes(part, series) if isinstance(part, NumericPart) else _level_codes(part, series)
    flat = np.bincount(block * part.counters + code, minlength=blocks * part.counters)
    counts = flat.reshape(blocks, part.counters).astype(np.int64)
    if isinstance(part, LevelPart):
        return [Tally(counts=row) for row in counts]
    finite = np.isfinite(series)
    values, of = series[finite], block[finite]
    held = np.bincount(of, minlength=blocks)
    values = values + 0.0  # no -0.0, as in one pass
    low, high = np.full(blocks, np.inf), np.full(blocks, -np.inf)
    np.minimum.at(low, of, values)
    np.maximum.at(high, of, values)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.bincount(of, weights=values, minlength=blocks) / np.maximum(held, 1)
        m2 = np.bincount(of, weights=np.square(values - mean[of]), minlength=blocks)
    return [
        Tally(counts=counts[i], mean=float(mean[i]), m2=float(m2[i]), low=float(low[i]), high=float(high[i]))
        for i in range(blocks)
    ]


def _number_codes(part: NumericPart, values: Floats) -> Ints:
    code = np.searchsorted(part.edges, values, side="left")
    code[np.isnan(values)] = part.bins
    code[values == -np.inf] = part.bins + 1
    code[values == np.inf] = part.bins + 2
    return code


def _level_codes(part: LevelPart, values: Array) -> Ints:
    place = {level: i for i, level in enumerate(part.levels)}
    strange = len(part.levels) + (0 if part.pooled else 1)
    codes = (part.bins if _is_missing(value) else place.get(_level(value), strange) for value in values.tolist())
    return np.fromiter(codes, dtype=np.int64, count=len(values))


def _nothing(part: Part) -> Tally:
    return Tally(counts=np.zeros(part.counters, dtype=np.int64))


# ---------------------------------------------------------------- merging


def _merge_tally(a: Tally, b: Tally) -> Tally:
    names = Counter(a.names)
    names.update(b.names)
    mean, m2 = _merge_moments(a, b)
    return Tally(
        counts=a.counts + b.counts,
        mean=mean,
        m2=m2,
        low=min(a.low, b.low),
        high=max(a.high, b.high),
        names=_heaviest(names),
    )


def _merge_moments(a: Tally, b: Tally) -> tuple[float, float]:
    # The finite rows of a numeric part; a part of levels has no moments and none are merged.
    if a.low > a.high:
        return b.mean, b.m2
    if b.low > b.high:
        return a.mean, a.m2
    n_a, n_b = int(a.counts[:-3].sum()), int(b.counts[:-3].sum())
    delta = b.mean - a.mean
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (n_a * a.mean + n_b * b.mean) / (n_a + n_b)
        return mean, a.m2 + b.m2 + delta * delta * (n_a * n_b / (n_a + n_b))


def _heaviest(names: Mapping[str, int]) -> dict[str, int]:
    """Misra and Gries: beyond the bound every count is lowered by the 33rd largest, and the empty dropped."""
    if len(names) > MAX_NAMES:
        lowered = sorted(names.values(), reverse=True)[MAX_NAMES]
        names = {name: count - lowered for name, count in names.items() if count > lowered}
    return dict(sorted(names.items()))


# ---------------------------------------------------------------- bytes


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)


class _Reader:
    """A position in some bytes; IndexError past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise IndexError("past the end")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def _read_tally(reader: _Reader, part: Part) -> Tally:
    counts = np.array([reader.varint() for _ in range(part.counters)], dtype=np.int64)
    moments = (0.0, 0.0, math.inf, -math.inf)
    if isinstance(part, NumericPart) and counts[: part.bins].any():
        moments = _MOMENTS.unpack(reader.take(_MOMENTS.size))
    names: dict[str, int] = {}
    for _ in range(reader.varint()):
        name = reader.take(reader.varint()).decode()
        names[name] = reader.varint()
    mean, m2, low, high = moments
    return Tally(counts=counts, mean=mean, m2=m2, low=low, high=high, names=names)


def _array_out(value: object) -> list[object]:
    if isinstance(value, np.ndarray):
        return [value.dtype.newbyteorder("<").str, value.astype(value.dtype.newbyteorder("<")).tobytes()]
    raise TypeError(f"{type(value).__name__} is not part of a profile")


def _array_in(_: type, value: Any) -> Array:
    dtype, data = value
    return np.frombuffer(data, dtype=dtype).astype(np.dtype(dtype).newbyteorder("="))


ENCODER = msgspec.msgpack.Encoder(enc_hook=_array_out, order="deterministic")
DECODE_HOOK: Callable[[type, Any], Array] = _array_in
_REFERENCE_DECODER = msgspec.msgpack.Decoder(Reference, dec_hook=DECODE_HOOK)


# ---------------------------------------------------------------- checks


def _check(columns: Columns, wanted: Mapping[str, Kind], event_at_ms: Ints | None) -> None:
    rows = _row_count(columns, wanted)
    problems = [f"{name}: no such column" for name in wanted if name not in columns]
    problems += [
        f"{name}: {len(columns[name])} rows, the others have {rows}"
        for name in wanted
        if name in columns and len(columns[name]) != rows
    ]
    if event_at_ms is not None and len(event_at_ms) != rows:
        problems.append(f"event_at_ms: {len(event_at_ms)} rows, the columns have {rows}")
    if problems:
        raise Invalid("the columns do not fit the profile", details=problems)


def _row_count(columns: Columns, wanted: Mapping[str, Kind]) -> int:
    return next((len(columns[name]) for name in wanted if name in columns), 0)
