"""Rows in any of the usual forms, as the body of a request: JSON, or bytes where they are many numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import to_columns, to_jsonable
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Schema

Array = np.ndarray[Any, np.dtype[Any]]
# From here on bytes are faster than JSON; measured, see docs/decisions/0030.
BYTES_FROM_VALUES = 500
JSON_BODY = "application/json"
_DATATYPES = {"f": "FP64", "i": "INT64", "b": "BOOL"}
_NUMBERS = frozenset({"float", "int", "bool"})
_NULLS = frozenset({"NaTType", "NAType"})


class Body(NamedTuple):
    """What is sent, to which of an endpoint's paths."""

    data: bytes
    headers: dict[str, str | bytes]
    binary: bool = False


class Taken(msgspec.Struct):
    """A column as the server describes it."""

    name: str
    type: str
    nullable: bool = False


class Described(msgspec.Struct):
    """What the client needs to know of an endpoint: `GET /endpoints/NAME`."""

    release: str = ""
    columns: list[Taken] = []
    classes: list[Any] = []
    task: str = ""


class Given(NamedTuple):
    """Rows as they came, and as arrays where they came as arrays.

    matrix: with `names` of its columns, () where it has none; columns: any other table.
    """

    rows: Any = None
    matrix: Array | None = None
    names: tuple[str, ...] = ()
    columns: Columns | None = None
    schema: Schema | None = None

    @property
    def values(self) -> int:
        """How many numbers could travel as bytes; 0 where they are not all numbers."""
        if self.matrix is not None:
            return self.matrix.size
        if self.columns is None or self.schema is None or not _all_numbers(self.columns, self.schema):
            return 0
        return sum(array.size for array in self.columns.values())

    @property
    def needs_bytes(self) -> bool:
        """Whether there is an infinity among the numbers, for which JSON has no word."""
        arrays = [self.matrix] if self.matrix is not None else list((self.columns or {}).values())
        return any(array.dtype.kind == "f" and bool(np.isinf(array).any()) for array in arrays)


def read(rows: Any) -> Given:
    """Look at what the caller gave. Raises Invalid for a table that cannot travel."""
    if isinstance(rows, np.ndarray) and rows.dtype.names is None:
        if rows.ndim != 2:
            raise Invalid(f"an array of {rows.ndim} axes is no table", hint="one row: X.reshape(1, -1)")
        return Given(rows=rows.tolist()) if rows.dtype.kind not in "fiu" else Given(matrix=rows)
    if isinstance(rows, Mapping):
        if not rows or not all(isinstance(each, np.ndarray) for each in rows.values()):
            return Given(rows=rows)
    elif isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return Given(rows=rows)
    elif _is_plain_frame(rows):
        return Given(matrix=rows.to_numpy(), names=tuple(rows.columns))
    columns, schema = to_columns(rows)
    return Given(columns=columns, schema=schema)


def as_json(given: Given) -> Body:
    """Any rows as JSON. Raises Invalid for values that JSON has no word for."""
    rows = given.rows
    if given.matrix is not None and given.names:
        told: Any = {"columns": dict(zip(given.names, given.matrix.T.tolist(), strict=True))}
    elif given.matrix is not None:
        told = {"rows": given.matrix.tolist()}
    elif given.columns is not None and given.schema is not None:
        told = {"columns": {each.name: to_jsonable(given.columns[each.name], each) for each in given.schema.fields}}
    elif isinstance(rows, Mapping):
        told = {"columns": dict(rows)} if _are_columns(rows) else {"rows": [dict(rows)]}
    else:
        told = {"rows": list(rows)}
    try:
        data = msgspec.json.encode(told, enc_hook=_plain)
        if b"null" in data and _holds_infinity(told):
            raise ValueError("JSON has no infinity")
        return Body(data, {"Content-Type": JSON_BODY})
    except (TypeError, ValueError, UnicodeEncodeError) as exc:
        raise Invalid(
            f"these rows cannot be sent: {exc}", hint="numbers, texts, booleans, times and None travel"
        ) from exc


def as_bytes(given: Given, described: Described) -> Body | None:
    """The rows as tensors of the v2 protocol; None where the endpoint takes more than numbers, or lacks a column."""
    if not described.columns or not all(each.type in _NUMBERS for each in described.columns):
        return None
    names = tuple(each.name for each in described.columns)
    tensors = _tensors(given, names, all(each.type == "float" for each in described.columns))
    if tensors is None:
        return None  # said best by the JSON wire, name by name
    inputs = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": "FP32" if values.dtype == np.float32 else _DATATYPES[values.dtype.kind],
            "parameters": {"binary_data_size": values.nbytes},
        }
        for name, values in tensors.items()
    ]
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers: dict[str, str | bytes] = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Body(b"".join((head, *(values.tobytes() for values in tensors.values()))), headers, binary=True)


def _tensors(given: Given, names: tuple[str, ...], floats: bool) -> dict[str, Array] | None:
    """One matrix in the endpoint's order of columns where that is exact, else one tensor per column."""
    matrix = given.matrix
    if matrix is None or given.names:
        own = dict.fromkeys(given.names) if matrix is not None else given.columns or {}
        if any(name not in own for name in names):
            return None
    if matrix is not None:
        if given.names and given.names != names:
            matrix = matrix[:, [given.names.index(name) for name in names]]
        if floats or matrix.dtype.kind == "f":
            return {"rows": _little(matrix if matrix.dtype == np.float32 else matrix.astype(np.float64, copy=False))}
        return {"rows": _little(matrix.astype(np.int64))} if matrix.dtype != np.uint64 else None
    columns = given.columns or {}
    if floats:
        return {"rows": _little(np.array([columns[name] for name in names], dtype=np.float64).T)}
    return {name: _little(columns[name]) for name in names}


def _little(values: Array) -> Array:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def _is_plain_frame(rows: Any) -> bool:
    """Whether this is a pandas frame of nothing but numpy floats under names: one copy away from a matrix."""
    if type(rows).__module__.partition(".")[0] != "pandas" or not hasattr(rows, "columns"):
        return False
    kinds = {dtype.kind if isinstance(dtype, np.dtype) else "" for dtype in rows.dtypes}
    return kinds == {"f"} and rows.columns.is_unique and all(isinstance(name, str) for name in rows.columns)


def _are_columns(rows: Mapping[Any, Any]) -> bool:
    """Whether a dict is a table by columns rather than one row."""
    return bool(rows) and all(isinstance(each, list | tuple | np.ndarray) for each in rows.values())


def _all_numbers(columns: Columns, schema: Schema) -> bool:
    return all(field.type in _NUMBERS and columns[field.name].dtype.kind in _DATATYPES for field in schema.fields)


def _holds_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_infinity, value.values()))
    if isinstance(value, list | tuple | np.ndarray):
        return any(map(_holds_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _plain(value: Any) -> Any:
    """What JSON has no word for, as something it has."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if type(value).__name__ in _NULLS:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a value")
