"""The fields of a schema as types that msgspec checks while it decodes, one struct per row made of them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from mlspine.core.columns import parse_array
from mlspine.core.types import Field

Row = tuple[Any, ...]
Decoder = msgspec.json.Decoder[Any]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_UNSPELLABLE = frozenset({'"', "\\", *map(chr, range(32))})
_PYTHON: dict[str, Any] = {"float": float, "int": Int64, "bool": bool, "text": str}


class RowTypes(NamedTuple):
    """Decoders of all the ways rows may be spelt in JSON, and the types for rows that are Python objects already."""

    body: Decoder  # {"rows": [{...}]} or {"columns": {...}}
    list: Decoder  # [{...}]
    one: Decoder  # {...}
    tuples: Decoder  # [[...]]
    tuple_body: Decoder  # {"rows": [[...]]}
    row_list: Any
    tuple_list: Any


def row_types(fields: Sequence[Field], required: int, in_order: Sequence[Field]) -> RowTypes | None:
    """The decoders for these fields, of which the first `required` must be there; None for names that msgspec cannot
    spell. in_order: the required ones in the order in which rows without names bring their values."""
    if any(_UNSPELLABLE & set(each.name) for each in fields):
        return None
    attributes = {f"f{i}": each.name for i, each in enumerate(fields)}
    types = {each.name: field_type(each) for each in fields}
    named = [(f"f{i}", types[each.name]) for i, each in enumerate(fields)]
    lists: list[tuple[str, Any]] = [(name, list.__class_getitem__(kind)) for name, kind in named]
    row: Any = msgspec.defstruct("Row", _members(named, required), rename=attributes, frozen=True, gc=False)
    columns: Any = msgspec.defstruct("Columns", _members(lists, required), rename=attributes, frozen=True, gc=False)
    ordered: Any = tuple[tuple(types[each.name] for each in in_order)]  # type: ignore[misc]
    absent = msgspec.UnsetType
    members = [("rows", list[row] | absent, msgspec.UNSET), ("columns", columns | absent, msgspec.UNSET)]
    body: Any = msgspec.defstruct("Body", members, frozen=True)
    tuple_body: Any = msgspec.defstruct("TupleBody", [("rows", list[ordered])], frozen=True)
    return RowTypes(
        body=msgspec.json.Decoder(body),
        list=msgspec.json.Decoder(list[row]),
        one=msgspec.json.Decoder(row),
        tuples=msgspec.json.Decoder(list[ordered]),
        tuple_body=msgspec.json.Decoder(tuple_body),
        row_list=list[row],
        tuple_list=list[ordered],
    )


def group(field: Field) -> str:
    """With which others a column is made: as floats, as whole numbers, or by itself ("other")."""
    if field.type == "float" or (field.type == "int" and field.nullable):
        return "float"
    return "int" if field.type == "int" else "other"


def field_type(field: Field) -> Any:
    """The field as a type msgspec checks while decoding."""
    if field.type == "category":
        kind: Any = _level_type(field)
    elif field.type == "datetime":
        kind = str | Int64
    elif field.type == "vector":
        kind = Annotated[list[float], msgspec.Meta(min_length=field.width, max_length=field.width)]
    else:
        kind = _PYTHON[field.type]
    return kind | None if field.nullable else kind


def converter(field: Field) -> Callable[[Any], Any]:
    """One JSON value to what the row tuple holds; raises when it does not fit."""
    if field.type == "datetime":

        def read_time(value: Any) -> Any:
            if value is None and not field.nullable:
                raise ValueError("null")
            return parse_array([value], field)[0]

        return read_time
    kind = field_type(field)
    if field.type != "int":
        return lambda value: msgspec.convert(value, kind)

    def read_int(value: Any) -> Any:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return msgspec.convert(whole, kind)

    return read_int


def _members(members: list[tuple[str, Any]], required: int) -> list[Any]:
    return [each if i < required else (*each, None) for i, each in enumerate(members)]


def _level_type(field: Field) -> Any:
    """Any value of the kind its levels are: a level never seen in training is drift, not bad input."""
    kinds = {type(level) for level in field.levels} or {str}
    if kinds & {int, float}:
        kinds |= {int, float}
    return functools.reduce(operator.or_, sorted(kinds, key=str))
