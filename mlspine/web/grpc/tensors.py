"""Tensors of a gRPC request and answer: raw bytes, or typed contents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.serving.request import Answer
from mlspine.web.wires.tensors import (
    DATATYPES,
    HALVES,
    Array,
    Tensor,
    datatype_of,
    tensor_from_bytes,
    tensor_to_bytes,
    text_of,
    texts_of,
)
from mlspine.web.wires.v2_model import MAX_PROBLEMS, PREDICT, V2Model

_SMALL = ("INT8", "INT16", "INT32")
_SMALL_UNSIGNED = ("UINT8", "UINT16", "UINT32")
# datatype -> the field of InferTensorContents that holds it
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(_SMALL, "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(_SMALL_UNSIGNED, "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_ARRAYS = {
    "bool_contents": np.bool_,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
}


def read_tensors(request: Any) -> dict[str, Tensor]:
    """The inputs of a ModelInferRequest by name. Raises Invalid with every problem."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Invalid(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs", hint="one for each input, in order"
        )
    if not request.inputs:
        raise Invalid("the request has no inputs")
    problems: list[str] = []
    tensors: dict[str, Tensor] = {}
    for at, given in enumerate(request.inputs):
        try:
            if given.name in tensors:
                raise Invalid(f"{given.name} is there twice")
            tensors[given.name] = _read_raw(given, raw[at]) if raw else _read_typed(given)
        except Invalid as exc:
            problems.append(f"inputs[{at}]: {exc.message}")
    if problems:
        raise Invalid("the tensors cannot be read", details=problems[:MAX_PROBLEMS])
    return tensors


def write_tensors(response: Any, answer: Answer, names: tuple[str, ...], *, raw: bool) -> None:
    """Put the outputs of these names into a ModelInferResponse."""
    for name in names:
        values = V2Model.array(name, answer)
        if values is None:
            continue
        datatype = datatype_of(values)
        output = response.outputs.add(name=name, datatype=datatype, shape=values.shape)
        if held_back := V2Model.abstained(answer) if name == PREDICT else []:
            output.parameters["abstained"].string_param = ",".join(map(str, held_back))
        if raw:
            response.raw_output_contents.append(tensor_to_bytes(values))
        else:
            getattr(output.contents, CONTENTS[datatype]).extend(_listed(values, datatype))


def _read_raw(given: Any, raw: bytes) -> Tensor:
    _check(given)
    if given.HasField("contents"):
        raise Invalid("raw_input_contents and contents exclude each other")
    return tensor_from_bytes(given.datatype, list(given.shape), raw)


def _read_typed(given: Any) -> Tensor:
    _check(given)
    if given.datatype in HALVES:
        raise Invalid(f"{given.datatype} has no typed contents; send raw_input_contents")
    field = CONTENTS[given.datatype]
    filled = [each.name for each, _ in given.contents.ListFields()]
    if any(name != field for name in filled):
        raise Invalid(f"{given.datatype} is read from {field}, got {', '.join(filled)}")
    contents = getattr(given.contents, field)
    if len(contents) != math.prod(given.shape):
        raise Invalid(f"{len(contents)} elements for shape {list(given.shape)}")
    values: Array | list[Any]
    if field == "bytes_contents":
        values = [text_of(each) for each in contents]
    else:
        values = np.array(contents, dtype=_ARRAYS[field])
    return Tensor(given.datatype, tuple(given.shape), values)


def _check(given: Any) -> None:
    if given.datatype not in DATATYPES:
        raise Invalid(f"datatype: expected one of {', '.join(sorted(DATATYPES))}, got {given.datatype!r}")
    if not given.shape or min(given.shape) < 0:
        raise Invalid(f"shape: expected whole numbers, got {list(given.shape)}")


def _listed(values: Array, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        return [text.encode() for text in texts_of(values)]
    listed: list[Any] = values.reshape(-1).tolist()
    return listed
