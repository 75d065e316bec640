"""Rows that an output rule left without a prediction, as the wires tell them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlspine.core.types import Field, Schema, Signature
from mlspine.registry.flavors import Outputs
from mlspine.serving.request import Answer, Answered
from mlspine.serving.rows import RowCodec
from mlspine.web.wires.rows import RowsWire
from mlspine.web.wires.v2_model import V2Model

SCHEMA = Schema(fields=(Field(name="a", type="float", dtype=""),))


def subject(task: str, *classes: Any) -> Any:
    signature = Signature(inputs=SCHEMA, task=task, classes=classes)  # type: ignore[arg-type]
    return SimpleNamespace(
        name="m", version=1, release_hash="a" * 64, path="live", codec=RowCodec(SCHEMA), signature=signature
    )


def answer(task: Any, outputs: Outputs, abstained: list[bool] | None, start: int = 0) -> Answer:
    mask = None if abstained is None else np.array(abstained)
    return Answer(Answered(outputs, task, abstained=mask), start, len(outputs.prediction))


def letters(*values: str) -> Any:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def told(wire: RowsWire, given: Answer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(wire.write("id", given, None).body)["predictions"]
    return rows


def test_only_rows_that_were_held_back_say_so_and_keep_their_score() -> None:
    outputs = Outputs(letters("no", "yes", "no"), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]))
    rows = told(RowsWire(subject("binary", "no", "yes")), answer("binary", outputs, [True, False, True], start=1))
    assert rows == [{"prediction": "yes", "score": 0.6}, {"prediction": None, "score": 0.5, "abstained": True}]


def test_without_such_rows_an_answer_is_as_ever() -> None:
    outputs = Outputs(np.array([1.5, 2.5]), None)
    wire = RowsWire(subject("regression"))
    plain = told(wire, answer("regression", outputs, None))
    assert plain == told(wire, answer("regression", outputs, [False, False]))
    assert plain == [{"prediction": 1.5}, {"prediction": 2.5}]


@pytest.mark.parametrize(
    ("prediction", "left"),
    [
        (np.array([1.5, 2.5]), "nan"),
        (np.array([7, 8]), "0"),
        (np.array([True, True]), "False"),
        (letters("yes", "yes"), ""),
    ],
    ids=["numbers", "whole numbers", "flags", "texts"],
)
def test_a_tensor_holds_nothing_of_what_was_held_back(prediction: Any, left: str) -> None:
    given = answer("other", Outputs(prediction, None), [True, False])
    values = V2Model.array("predict", given)
    assert values is not None
    assert str(values[0]) == left
    assert values[1] == prediction[1]
    assert values.dtype == prediction.dtype
    assert V2Model.abstained(given) == [0]
    assert str(prediction[0]) != left, "the log's copy was written to"
