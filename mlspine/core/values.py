"""One column: from the values it arrives in to the array conventions of `Columns`, or a reason why not."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, NamedTuple

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import FieldType

Array = np.ndarray[Any, np.dtype[Any]]
NullKind = Literal["", "None", "nan", "NA"]

EXACT_IN_FLOAT = 2**53  # integers beyond it lose digits in float64


class Canonical(NamedTuple):
    """A column in the conventions of `Columns`: `nullable` says whether a null was seen."""

    values: Array
    type: FieldType
    nullable: bool


class FromObjects(NamedTuple):
    """A column read from Python objects, with what is needed to give the same objects back."""

    column: Canonical
    null: NullKind
    python_type: str
    time_zone: str


def from_numeric(values: Array) -> Canonical:
    """Booleans, integers and floats of any width.

    Raises Invalid for unsigned integers beyond int64 and floats wider than float64.
    """
    kind = values.dtype.kind
    if kind == "b":
        return Canonical(values.astype(np.bool_, copy=False), "bool", False)
    if kind in "iu":
        if kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise Invalid(f"holds {values.max()}, beyond a 64-bit signed integer", hint="convert it to float")
        return Canonical(values.astype(np.int64, copy=False), "int", False)
    if values.dtype.itemsize > 8:
        raise Invalid(f"holds {values.dtype}, wider than float64", hint="convert it with .astype(float)")
    floats = values.astype(np.float64, copy=False)
    return Canonical(floats, "float", bool(np.isnan(floats).any()))


def from_masked_integers(values: Array, missing: Array) -> Canonical:
    """Integers of which some are null: float64 with NaN, refused where float64 cannot hold them exactly."""
    if not missing.any():
        return from_numeric(values)
    present = values[~missing]
    too_wide = present[(present > EXACT_IN_FLOAT) | (present < -EXACT_IN_FLOAT)]
    if too_wide.size:
        raise Invalid(
            f"has nulls and holds {too_wide[0]}, which a float cannot keep exactly",
            hint="make it text, or fill the nulls",
        )
    floats = np.full(len(values), np.nan)
    floats[~missing] = present
    return Canonical(floats, "int", True)


def from_datetimes(values: Array) -> Canonical:
    """datetime64 of any unit, kept as microseconds; finer digits are refused rather than dropped."""
    micros = values.astype("datetime64[us]")
    nat = np.isnat(values)
    lost = (micros.astype(values.dtype) != values) & ~nat
    if lost.any():
        raise Invalid(
            f"holds {values[lost][0]}, which does not fit microseconds", hint='round it, e.g. .dt.floor("us")'
        )
    return Canonical(micros, "datetime", bool(nat.any()))


def from_objects(values: Array) -> FromObjects:
    """Python objects of one kind, with nulls: text, numbers, booleans or datetimes.

    Raises Invalid with an example when kinds are mixed, when two kinds of null are, or for anything nested.
    """
    kinds = set(map(type, values))
    if kinds == {str}:
        return FromObjects(Canonical(values, "text", False), "", "str", "")
    missing, null = _nulls(values)
    present = values[~missing]
    kinds = set(map(type, present))
    nullable = null != ""
    if all(issubclass(kind, str) for kind in kinds):
        texts = np.full(len(values), None, dtype=object)
        texts[~missing] = [str(value) for value in present]
        # A column of nulls alone is text: nothing else is known of it.
        return FromObjects(Canonical(texts, "text", nullable), null, "str", "")
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return FromObjects(_booleans(values, missing), null, "bool", "")
    numeric = all(issubclass(kind, int | float | np.number) and kind is not bool for kind in kinds)
    if numeric and not any(issubclass(kind, np.complexfloating | np.timedelta64) for kind in kinds):
        return _numbers(present, missing, kinds, null)
    if all(issubclass(kind, dt.datetime) for kind in kinds):
        return _python_datetimes(present, missing, null)
    raise Invalid(_describe_mixture(present, kinds), hint="give each column one kind of value, e.g. .astype(str)")


def to_objects(values: Array, type_: FieldType, *, null: object = None, time_zone: str = "") -> Array:
    """The Python objects of a column, with `null` in the place of nulls."""
    if type_ == "datetime":
        return _datetime_objects(values, null, time_zone)
    if type_ in ("text", "category") or values.dtype == object:
        objects = values.astype(object)
        return objects if null is None else _replace_none(objects, null)
    objects = values.astype(object)
    if values.dtype.kind != "f":
        return objects
    missing = np.isnan(values)
    if type_ == "int":
        objects[~missing] = [int(value) for value in objects[~missing]]
    if missing.any():
        objects[missing] = null
    return objects


def _replace_none(objects: Array, null: object) -> Array:
    return np.array([null if value is None else value for value in objects] + [None], dtype=object)[:-1]


def _nulls(values: Array) -> tuple[Array, NullKind]:
    found: dict[NullKind, object] = {}
    missing = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values):
        kind = _null_kind(value)
        if kind:
            missing[row] = True
            found[kind] = value
    if len(found) > 1:
        raise Invalid(
            f"mixes the nulls {' and '.join(sorted(found))}, which models treat as different values",
            hint="keep one of them, e.g. column.where(column.notna(), None)",
        )
    return missing, next(iter(found), "")


def _null_kind(value: object) -> NullKind:
    if value is None:
        return "None"
    if isinstance(value, float):
        return "nan" if value != value else ""
    # pandas' own nulls are told by name: pandas may not be installed.
    kind = type(value).__name__
    return "NA" if kind == "NAType" else "nan" if kind == "NaTType" else ""


def _booleans(values: Array, missing: Array) -> Canonical:
    if not missing.any():
        return Canonical(values.astype(np.bool_), "bool", False)
    flags = np.full(len(values), None, dtype=object)
    flags[~missing] = [bool(value) for value in values[~missing]]
    return Canonical(flags, "bool", True)


def _numbers(present: Array, missing: Array, kinds: set[type], null: NullKind) -> FromObjects:
    if all(issubclass(kind, int | np.integer) for kind in kinds):
        integers = np.zeros(len(missing), dtype=object)
        integers[~missing] = present
        try:
            column = from_masked_integers(integers.astype(np.int64), missing)
        except OverflowError:
            raise Invalid(
                f"holds {max(present, key=abs)}, beyond a 64-bit integer", hint="make it text or float"
            ) from None
        return FromObjects(column, null, "int", "")
    floats = np.full(len(missing), np.nan)
    floats[~missing] = present.astype(np.float64)
    return FromObjects(Canonical(floats, "float", bool(missing.any())), null, "float", "")


def _python_datetimes(present: Array, missing: Array, null: NullKind) -> FromObjects:
    zones = {str(value.tzinfo) if value.tzinfo else "" for value in present}
    if len(zones) > 1:
        shown = ", ".join(sorted(zone or "none" for zone in zones))
        raise Invalid(f"mixes time zones: {shown}", hint="convert them to one, e.g. value.astimezone(timezone.utc)")
    zone = zones.pop()
    stamps = np.full(len(missing), np.datetime64("NaT"), dtype="datetime64[us]")
    if zone:
        zone_of(zone)
        present = np.array([value.astimezone(dt.UTC).replace(tzinfo=None) for value in present], dtype=object)
    stamps[~missing] = present.astype("datetime64[us]")
    return FromObjects(Canonical(stamps, "datetime", bool(missing.any())), null, "datetime", zone)


def zone_of(name: str) -> dt.tzinfo:
    """The time zone of a name such as "UTC" or "Europe/Berlin"; raises Invalid for one that has none."""
    if name == "UTC":
        return dt.UTC
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as exc:
        raise Invalid(f"is in time zone {name!r}, which has no known name", hint="convert it to UTC") from exc


def _datetime_objects(values: Array, null: object, time_zone: str) -> Array:
    objects = values.astype("datetime64[us]").astype(object)
    if time_zone:
        zone = zone_of(time_zone)
        objects = np.array(
            [v if v is None else v.replace(tzinfo=dt.UTC).astimezone(zone) for v in objects] + [None],
            dtype=object,
        )[:-1]
    return objects if null is None else _replace_none(objects, null)


def _describe_mixture(present: Array, kinds: set[type]) -> str:
    examples = {type(value).__name__: value for value in reversed(present.tolist())}
    shown = ", ".join(f"{name} ({_short(value)})" for name, value in sorted(examples.items()))
    return f"mixes {shown}" if len(kinds) > 1 else f"holds {shown}, which is not a number, text, flag or time"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
