"""Which columns may arrive empty: those that did at ship, and those for which the model has an answer all the same.

A feed that begins to drop values is the commonest fault of all. Refusing such rows would turn it into an outage of
rows the model can score, and would hide it from the watch over missing rates.
"""

from __future__ import annotations

import warnings

import msgspec
import numpy as np

from mlspine.core.columns import row_count, take
from mlspine.core.types import Columns, Field, Schema
from mlspine.registry.flavors import Predictor

# Integers and booleans change their type when they may be null, and polars and Arrow keep null and NaN apart: there
# only what was seen counts.
_TYPES = ("float", "datetime", "text", "category")
_CONTAINERS = ("pandas", "numpy", "records", "arrays")


def with_accepted_nulls(predict: Predictor, columns: Columns, schema: Schema) -> Schema:
    """The schema in which a column is nullable also when `predict` answers a row without its value.

    columns: rows the model was fitted on; the first one is asked about, once per column.
    """
    if schema.container not in _CONTAINERS or not row_count(columns):
        return schema
    row = take(columns, slice(0, 1))
    fields = tuple(
        msgspec.structs.replace(field, nullable=True) if _answers_without(predict, row, field) else field
        for field in schema.fields
    )
    return msgspec.structs.replace(schema, fields=fields)


def _answers_without(predict: Predictor, row: Columns, field: Field) -> bool:
    if field.nullable or field.type not in _TYPES:
        return field.nullable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = predict(row | {field.name: _null_of(row, field)})
    except Exception:  # noqa: BLE001 - whatever a model raises, it has no answer
        return False
    given = outputs.probabilities if outputs.probabilities is not None else outputs.prediction
    return given.dtype.kind != "f" or bool(np.isfinite(given).all())


def _null_of(row: Columns, field: Field) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    empty = row[field.name].copy()
    if field.type == "float":
        empty[:] = np.nan
    elif field.type == "datetime":
        empty[:] = np.datetime64("NaT")
    else:
        empty[:] = None
    return empty
