"""An endpoint as the Open Inference Protocol sees it: tensors in, tensors out. REST and gRPC share it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlspine.core.errors import Invalid
from mlspine.core.types import Field
from mlspine.serving.request import Answer
from mlspine.serving.rows import Table, shown
from mlspine.web.wires.speaker import Subject, numeric_only
from mlspine.web.wires.tensors import FLOATS, INTEGERS, Array, Tensor

PREDICT, PREDICT_PROBA = "predict", "predict_proba"
PLATFORM = "mlspine"
MAX_PROBLEMS = 20


class Described(NamedTuple):
    """What the metadata says of one tensor; -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class V2Model:
    """One endpoint's tensors: one per column, or one matrix for all columns where they are all numbers."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._codec = subject.codec
        self._schema = subject.codec.schema
        self._fields = {field.name: field for field in (*self._schema.fields, *self._codec.also)}
        self._numeric = numeric_only(self._schema)
        signature = subject.signature
        with_shares = signature.task in ("binary", "multiclass") and bool(signature.classes)
        self.outputs = (PREDICT, PREDICT_PROBA) if with_shares else (PREDICT,)

    # ------------------------------------------------------------ described

    def inputs_described(self) -> list[Described]:
        """One tensor per column."""
        return [
            Described(field.name, datatype(field), [-1, field.width] if field.width else [-1])
            for field in self._schema.fields
        ]

    def outputs_described(self) -> list[Described]:
        """The prediction, and the share of each class where there are classes."""
        said = [Described(PREDICT, self._predict_datatype(), [-1])]
        if PREDICT_PROBA in self.outputs:
            said.append(Described(PREDICT_PROBA, "FP64", [-1, len(self._subject.signature.classes)]))
        return said

    def _predict_datatype(self) -> str:
        classes = self._subject.signature.classes
        if self._subject.signature.task == "regression" or not classes:
            return "FP64"
        kinds = {type(each) for each in classes}
        if kinds == {bool}:
            return "BOOL"
        return "INT64" if kinds == {int} else "FP64" if kinds <= {int, float} else "BYTES"

    # ------------------------------------------------------------ in

    def table(self, tensors: dict[str, Tensor]) -> Table:
        """The rows in these tensors, by name. Raises Invalid."""
        if len(tensors) == 1:
            name, alone = next(iter(tensors.items()))
            if len(alone.shape) == 2 and not self._is_one_column(name, alone):
                return self._from_matrix(alone)
        problems = [problem for name, tensor in tensors.items() for problem in self._misfit(name, tensor)]
        if problems:
            raise Invalid(
                "the tensors do not fit the model",
                hint=f"inputs are {', '.join(self._schema.names)}",
                details=problems[:MAX_PROBLEMS],
            )
        return self._codec.read_columns({name: _column(tensor, self._fields[name]) for name, tensor in tensors.items()})

    def _is_one_column(self, name: str, tensor: Tensor) -> bool:
        """Whether a lone tensor is the lone column, rather than a matrix of all columns."""
        return name in self._fields and (self._fields[name].width > 0 or tensor.shape[1] == 1)

    def _from_matrix(self, tensor: Tensor) -> Table:
        if not self._numeric:
            raise Invalid(
                "one matrix cannot carry this model's columns, which are not all numbers",
                hint=f"send one tensor per column: {', '.join(self._schema.names)}",
            )
        rows, width = tensor.shape
        if not isinstance(tensor.values, list):
            return self._codec.read_matrix(tensor.values.reshape(rows, width))
        if width != len(self._schema.fields):
            raise Invalid(
                f"the matrix has {width} columns, the model takes {len(self._schema.fields)}",
                hint=f"in this order: {', '.join(self._schema.names)}",
            )
        if rows == 0:
            raise Invalid("the request holds no rows")
        columns = {}
        for at, field in enumerate(self._schema.fields):
            values = tensor.values[at::width]
            if field.type == "bool":  # a matrix of numbers has no other way to say it
                values = [bool(value) if value in (0, 1) else value for value in values]
            columns[field.name] = values
        return self._codec.read_columns(columns)

    def _misfit(self, name: str, tensor: Tensor) -> list[str]:
        """Why this tensor cannot be a column; empty when it can."""
        field = self._fields.get(name)
        if field is None:
            return [f"{name}: no such input"]
        said = []
        if tensor.datatype not in accepted(field):
            said.append(f"{name}: datatype {tensor.datatype}, the model takes {datatype(field)}")
        inner = tensor.shape[1:]
        fits = bool(inner) and math.prod(inner) == field.width if field.width else inner in ((), (1,))
        if not fits:
            wanted = f"[n, {field.width}]" if field.width else "[n] or [n, 1]"
            said.append(f"{name}: shape {list(tensor.shape)}, the model takes {wanted}")
        return said

    # ------------------------------------------------------------ out

    def select(self, names: list[Any]) -> tuple[str, ...]:
        """The outputs asked for, in that order; all when none is named. Raises Invalid for one there is not."""
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            raise Invalid(
                f"no output {', '.join(shown(name) for name in unknown)}",
                hint=f"outputs are {', '.join(self.outputs)}",
            )
        return tuple(names) or self.outputs

    @staticmethod
    def array(name: str, answer: Answer) -> Array | None:
        """One output of an answer; None where the answer has none of that name."""
        outputs = answer.call.outputs
        values = outputs.prediction if name == PREDICT else outputs.probabilities
        if values is None:
            return None
        held_back = V2Model.abstained(answer) if name == PREDICT else []
        return _without(values[answer.start : answer.stop], held_back)

    @staticmethod
    def abstained(answer: Answer) -> list[int]:
        """The rows of the request that an output rule left without a prediction."""
        mask = answer.call.abstained
        return [] if mask is None else [int(row) for row in mask[answer.start : answer.stop].nonzero()[0]]


def _without(values: Array, rows: list[int]) -> Array:
    """The values with nothing of what they were at these rows: a tensor has a number or a text everywhere."""
    if not rows:
        return values
    made = values.copy()
    made[rows] = {"f": float("nan"), "O": ""}.get(values.dtype.kind, 0)
    return made


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
        case "INT64" if field.nullable and field.type == "int":
            return FLOATS | INTEGERS  # NaN is how a binary tensor says null
        case "INT64":
            return INTEGERS
        case other:
            return frozenset({other})


def _column(tensor: Tensor, field: Field) -> Array | list[Any]:
    values = tensor.values
    if not isinstance(values, list):
        return values.reshape(-1, field.width) if field.width else values
    if not field.width:
        return values
    return [values[at : at + field.width] for at in range(0, len(values), field.width)]
