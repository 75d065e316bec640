"""A release's model as ONNX Runtime runs it, from the bytes that `converting` made of it.

The graph takes one matrix where all columns are numbers, else one input per column in schema order (the converter
changes names that are no identifiers). Only its probabilities (or values) are asked for; the label is the likeliest
class, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Field, Schema
from mlspine.registry.flavors import (
    Flavor,
    MatrixPredictor,
    Outputs,
    Predictor,
    booster_outputs,
    canonical,
    matrix_of,
    require_matrix,
    rounding_of,
)
from mlspine.registry.onnx_model import CPU, CUDA, OnnxSession, asked_by, column_of

PRECISIONS = ("float32", "double")


def onnx_predictor(model: bytes, flavor: Flavor, schema: Schema, *, providers: Sequence[str] = (CPU,)) -> Predictor:
    """The predictor of a converted model. Raises Invalid when ONNX Runtime cannot load it."""
    session = OnnxSession(model, providers)
    task, classes = flavor.task, canonical(flavor.classes)
    if takes_matrix(schema):
        ask, rounded = asked_by(session), rounding_of(schema)
        return MatrixPredictor(matrix_of(schema), lambda rows: booster_outputs(ask(rounded(rows)), task, classes))
    if len(session.inputs) != len(schema.fields):
        raise Invalid(f"the converter left {len(session.inputs)} inputs of {len(schema.fields)} columns")
    inputs = [
        (field.name, to, kind, field.dtype.lower() == "float32")
        for field, (to, kind) in zip(schema.fields, session.inputs.items(), strict=True)
    ]

    def predict(columns: Columns) -> Outputs:
        given = {
            to: column_of(columns[name].astype(np.float32) if narrow else columns[name], kind)
            for name, to, kind, narrow in inputs
        }
        return booster_outputs(session.run(given), task, classes)

    return predict


def takes_matrix(schema: Schema) -> bool:
    """Whether the converted model has one input for all columns."""
    try:
        require_matrix(schema)
    except Invalid:
        return False
    return True


def input_kind(field: Field) -> str:
    """ "number" or "text": what a converted model's input for this column takes. Raises Invalid where it has none."""
    if field.type in ("float", "int", "bool") and not (field.nullable and field.type == "bool"):
        return "number"
    levels = field.levels or ()
    if field.type in ("text", "category") and all(isinstance(level, str) for level in levels) and not field.nullable:
        return "text"
    nulls = ", with nulls" if field.nullable else ""
    raise Invalid(f"column {field.name!r} is a {field.type}{nulls}, which a converted model cannot take")


def provider_lists(available: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The ways to run that are worth measuring here: the processor, and a GPU where onnxruntime was built for one.

    >>> provider_lists(["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"])
    (('CPUExecutionProvider',), ('CUDAExecutionProvider', 'CPUExecutionProvider'))
    >>> provider_lists(["AzureExecutionProvider", "CPUExecutionProvider"])
    (('CPUExecutionProvider',),)
    """
    return ((CPU,), (CUDA, CPU)) if CUDA in available else ((CPU,),)
