"""Open Inference Protocol v2, REST with JSON tensors: one tensor per column, or one matrix for all."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Field
from mlspine.serving.batcher import Answer
from mlspine.serving.rows import Table, parse_json, shown
from mlspine.web.exchange import Reply, Scope, header, json_reply
from mlspine.web.wires.speaker import Subject, Told, numeric_only

FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})
INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
DATATYPES = FLOATS | INTEGERS | {"BOOL", "BYTES"}
PREDICT, PREDICT_PROBA = "predict", "predict_proba"
_OF_KIND = {"i": "INT64", "u": "UINT64", "f": "FP64", "b": "BOOL"}


class V2Wire:
    """Speaks the v2 protocol for one endpoint."""

    ERRORS: ClassVar[dict[str, int]] = {
        "not_found": 404,
        "conflict": 409,
        "invalid": 400,
        "denied": 403,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 503,
    }

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._codec = subject.codec
        self._schema = subject.codec.schema
        signature = subject.signature
        with_shares = signature.task in ("binary", "multiclass") and bool(signature.classes)
        self._outputs = (PREDICT, PREDICT_PROBA) if with_shares else (PREDICT,)

    # ------------------------------------------------------------ one inference

    def read(self, body: bytes, scope: Scope) -> tuple[Table, dict[str, Any]]:
        if header(scope, b"inference-header-content-length"):
            raise Invalid("binary tensors are not spoken here", hint='send "data" as JSON')
        raw = parse_json(body)
        if not isinstance(raw, dict) or not isinstance(raw.get("inputs"), list) or not raw["inputs"]:
            raise Invalid('expected {"inputs": [{"name", "shape", "datatype", "data"}, ...]}')
        if not isinstance(raw.get("id", ""), str):
            raise Invalid(f"id: expected a text, got {shown(raw['id'])}")
        context = {"id": raw.get("id"), "outputs": self._selected(raw.get("outputs"))}
        problems: list[str] = []
        tensors = {}
        for at, tensor in enumerate(raw["inputs"]):
            read = _read_tensor(tensor, f"inputs[{at}]", problems)
            if read is not None:
                tensors[tensor["name"]] = read
        if problems:
            raise Invalid("the tensors cannot be read", details=problems[:20])
        return self._table(tensors), context

    def write(self, request_id: str, answer: Answer, context: dict[str, Any]) -> Reply:
        call, start, stop = answer
        made: dict[str, Any] = {PREDICT: _tensor(PREDICT, call.outputs.prediction[start:stop])}
        if call.outputs.probabilities is not None:
            made[PREDICT_PROBA] = _tensor(PREDICT_PROBA, call.outputs.probabilities[start:stop])
        reply = {
            "model_name": self._subject.name,
            "model_version": str(self._subject.version),
            "parameters": {"request_id": request_id, "release": self._subject.release_hash},
            "outputs": [made[name] for name in context["outputs"] if name in made],
        }
        if context["id"] is not None:
            reply["id"] = context["id"]
        return json_reply(reply)

    @staticmethod
    def error(told: Told) -> Reply:
        return json_reply(
            {"error": ". ".join([told.message, *told.details, *([told.hint] if told.hint else [])])},
            told.status,
        )

    # ------------------------------------------------------------ metadata

    def metadata(self) -> dict[str, Any]:
        """What the model takes and gives, as tensors."""
        outputs = [{"name": PREDICT, "datatype": self._predict_datatype(), "shape": [-1]}]
        if PREDICT_PROBA in self._outputs:
            classes = len(self._subject.signature.classes)
            outputs.append({"name": PREDICT_PROBA, "datatype": "FP64", "shape": [-1, classes]})
        return {
            "name": self._subject.name,
            "versions": [str(self._subject.version)],
            "platform": "mlspine",
            "inputs": [
                {
                    "name": field.name,
                    "datatype": datatype(field),
                    "shape": [-1, field.width] if field.width else [-1],
                }
                for field in self._schema.fields
            ],
            "outputs": outputs,
        }

    def _predict_datatype(self) -> str:
        classes = self._subject.signature.classes
        if self._subject.signature.task == "regression" or not classes:
            return "FP64"
        kinds = {type(each) for each in classes}
        if kinds == {bool}:
            return "BOOL"
        return "INT64" if kinds == {int} else "FP64" if kinds <= {int, float} else "BYTES"

    # ------------------------------------------------------------ reading

    def _selected(self, outputs: Any) -> tuple[str, ...]:
        if outputs is None or outputs == []:
            return self._outputs
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
            raise Invalid(f'outputs: expected [{{"name"}}, ...], got {shown(outputs)}')
        names = tuple(each.get("name") for each in outputs)
        unknown = [name for name in names if name not in self._outputs]
        if unknown:
            raise Invalid(
                f"no output {', '.join(shown(name) for name in unknown)}",
                hint=f"outputs are {', '.join(self._outputs)}",
            )
        return names

    def _table(self, tensors: dict[str, _Tensor]) -> Table:
        fields = {field.name: field for field in (*self._schema.fields, *self._codec.also)}
        alone = next(iter(tensors.values())) if len(tensors) == 1 else None
        if alone is not None and len(alone.shape) == 2 and not self._is_one_column(tensors, fields):
            return self._from_matrix(alone)
        problems = [
            problem
            for name, tensor in tensors.items()
            if name in fields
            for problem in tensor.misfit(name, fields[name])
        ]
        unknown = [name for name in tensors if name not in fields]
        problems += [f"{name}: no such input" for name in unknown]
        if problems:
            raise Invalid(
                "the tensors do not fit the model",
                hint=f"inputs are {', '.join(self._schema.names)}",
                details=problems[:20],
            )
        return self._codec.read_columns(
            {name: _nested(tensor, fields[name]) for name, tensor in tensors.items() if name in fields}
        )

    def _is_one_column(self, tensors: dict[str, _Tensor], fields: dict[str, Field]) -> bool:
        """Whether a lone tensor is the lone column, rather than a matrix of all columns."""
        name, tensor = next(iter(tensors.items()))
        return name in fields and (fields[name].width > 0 or tensor.shape[1] == 1)

    def _from_matrix(self, tensor: _Tensor) -> Table:
        rows, width = tensor.shape
        if not numeric_only(self._schema):
            raise Invalid(
                "one matrix cannot carry this model's columns, which are not all numbers",
                hint=f"send one tensor per column: {', '.join(self._schema.names)}",
            )
        if width != len(self._schema.fields):
            raise Invalid(
                f"the matrix has {width} columns, the model takes {len(self._schema.fields)}",
                hint=f"in this order: {', '.join(self._schema.names)}",
            )
        columns = {}
        for at, field in enumerate(self._schema.fields):
            values = tensor.data[at::width]
            if field.type == "bool":  # a matrix of numbers has no other way to say it
                values = [bool(value) if value in (0, 1) else value for value in values]
            columns[field.name] = values
        if rows == 0:
            raise Invalid("the request holds no rows")
        return self._codec.read_columns(columns)


class _Tensor:
    """A tensor whose element count matches its shape, flat in row-major order."""

    __slots__ = ("data", "datatype", "shape")

    def __init__(self, shape: list[int], datatype: str, data: list[Any]) -> None:
        self.shape = shape
        self.datatype = datatype
        self.data = data

    def misfit(self, name: str, field: Field) -> list[str]:
        """Why this tensor cannot be that column; empty when it can."""
        said = []
        if self.datatype not in accepted(field):
            said.append(f"{name}: datatype {self.datatype}, the model takes {datatype(field)}")
        width = field.width or 1
        if not (self.shape[1:] == [width] or (not field.width and len(self.shape) == 1)):
            wanted = f"[n, {width}]" if field.width else "[n] or [n, 1]"
            said.append(f"{name}: shape {self.shape}, the model takes {wanted}")
        return said


def datatype(field: Field) -> str:
    """The datatype a column is advertised with."""
    match field.type:
        case "float" | "vector":
            return "FP64"
        case "int":
            return "INT64"
        case "bool":
            return "BOOL"
        case "category" if field.levels and all(type(level) in (int, float) for level in field.levels):
            return "INT64" if all(type(level) is int for level in field.levels) else "FP64"
        case "category" if field.levels and all(type(level) is bool for level in field.levels):
            return "BOOL"
    return "BYTES"


def accepted(field: Field) -> frozenset[str]:
    """The datatypes a column is read from: its own, and whatever widens to it."""
    match datatype(field):
        case "FP64":
            return FLOATS | INTEGERS
        case "INT64":
            return INTEGERS
        case other:
            return frozenset({other})


def _read_tensor(tensor: Any, at: str, problems: list[str]) -> _Tensor | None:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        problems.append(f'{at}: expected {{"name", "shape", "datatype", "data"}}, got {shown(tensor)}')
        return None
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    said = []
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        said.append(f"{at}.shape: expected a list of whole numbers, got {shown(shape)}")
    if kind not in DATATYPES:
        said.append(f"{at}.datatype: expected one of {', '.join(sorted(DATATYPES))}, got {shown(kind)}")
    if isinstance(tensor.get("parameters"), dict) and "binary_data_size" in tensor["parameters"]:
        said.append(f'{at}: binary tensors are not spoken here; send "data" as JSON')
    elif not isinstance(data, list):
        said.append(f"{at}.data: expected a list, got {shown(data)}")
    if said or not isinstance(shape, list) or not isinstance(kind, str) or not isinstance(data, list):
        problems += said
        return None
    flat = _flat(data)
    if len(flat) != math.prod(shape):
        problems.append(f"{at}: {len(flat)} elements for shape {shape}")
        return None
    return _Tensor(shape, kind, flat)


def _flat(data: list[Any]) -> list[Any]:
    while any(isinstance(each, list) for each in data):
        data = [item for each in data for item in (each if isinstance(each, list) else [each])]
    return data


def _nested(tensor: _Tensor, field: Field) -> list[Any]:
    if not field.width:
        return tensor.data
    return [tensor.data[at : at + field.width] for at in range(0, len(tensor.data), field.width)]


def _tensor(name: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    flat = values.reshape(-1).tolist()
    kind = _OF_KIND.get(values.dtype.kind, "BYTES")
    if kind == "BYTES":
        flat = [value if isinstance(value, str) else str(value) for value in flat]
    return {"name": name, "datatype": kind, "shape": list(values.shape), "data": flat}
