"""Rows of numbers straight into the matrix a model takes, with no columns in between."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlspine.core.types import Columns, Schema
from mlspine.serving.rows import Row, Table

Array = np.ndarray[Any, np.dtype[Any]]


class _Columnar(Exception):
    """A table holds columns, not rows."""


class MatrixReader:
    """Reads the tables of requests as one float64 matrix (rows, columns in schema order, C-contiguous).

    >>> from mlspine.core.types import Field
    >>> reader = MatrixReader(Schema(fields=(Field(name="a", type="float", dtype=""),)))
    >>> reader.read([Table(1, rows=[(1.5,)]), Table(1, rows=[(2.0,)])])
    array([[1.5],
           [2. ]])
    """

    def __init__(self, schema: Schema) -> None:
        self._names = schema.names
        self._pack = struct.Struct(f"={len(schema.fields)}d").pack
        self._width = len(schema.fields)

    @staticmethod
    def fits(schema: Schema, also: Sequence[object] = ()) -> bool:
        """Whether rows of this schema are nothing but floats, in the order in which a codec keeps them."""
        return not also and all(field.type == "float" for field in schema.fields)

    def read(self, tables: Sequence[Table]) -> Array:
        """The rows of all tables under one another; a null is NaN."""
        try:
            pack = self._pack
            packed = [pack(*row) for table in tables for row in _rows(table)]
        except (struct.error, _Columnar):  # a null, or rows that came as columns
            return np.concatenate([self._of(table) for table in tables])
        return np.frombuffer(bytearray(b"").join(packed)).reshape(-1, self._width)

    def columns(self, matrix: Array) -> Columns:
        """The same rows as columns; views of one copy."""
        return dict(zip(self._names, np.ascontiguousarray(matrix.T), strict=True))

    def _of(self, table: Table) -> Array:
        if table.matrix is not None:
            return table.matrix
        if table.rows is not None:
            return np.array(table.rows, dtype=np.float64).reshape(-1, self._width)
        columns = table.columns or {}
        return np.ascontiguousarray(np.array([columns[name] for name in self._names], dtype=np.float64).T)


def _rows(table: Table) -> list[Row]:
    if table.rows is None:
        raise _Columnar
    return table.rows
