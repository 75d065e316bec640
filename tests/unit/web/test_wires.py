"""What wires read, without a server."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.core.errors import Invalid
from mlspine.core.types import Field, Schema, Signature
from mlspine.registry.flavors import Outputs
from mlspine.serving.request import Answer, Answered
from mlspine.serving.rows import RowCodec
from mlspine.web.exchange import encode
from mlspine.web.wires.kserve_v1 import KserveV1Wire
from mlspine.web.wires.rows import RowsWire
from mlspine.web.wires.tensors import DATATYPES
from mlspine.web.wires.v2 import V2Wire

SCOPE: dict[str, Any] = {"method": "POST", "path": "/", "headers": []}


def subject(*fields: tuple[str, str, int]) -> Any:
    schema = Schema(fields=tuple(Field(name=n, type=kind, dtype="", width=w) for n, kind, w in fields))  # type: ignore[arg-type]
    signature = Signature(inputs=schema, task="regression")
    return SimpleNamespace(
        name="e", version=1, release_hash="r", path="live", codec=RowCodec(schema), signature=signature
    )


def test_a_lone_column_may_come_as_bare_values_on_kserves_wire() -> None:
    one = subject(("a", "float", 0))
    table, _ = KserveV1Wire(one).read(b'{"instances": [1, 2.5]}', SCOPE)
    assert one.codec.columns([table])["a"].tolist() == [1.0, 2.5]
    with pytest.raises(Invalid):
        KserveV1Wire(subject(("a", "float", 0), ("b", "float", 0))).read(b'{"instances": [1, 2.5]}', SCOPE)


@pytest.mark.parametrize("shape", [[2, 4], [2, 2, 2], [2, 4, 1]])
@pytest.mark.parametrize("form", ["flat", "nested", "bytes"])
def test_a_vector_comes_as_a_tensor_of_any_inner_shape(shape: list[int], form: str) -> None:
    values = np.arange(8, dtype=np.float32)
    tensor: dict[str, Any] = {"name": "v", "shape": shape, "datatype": "FP32"}
    other = {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    tail = b""
    if form == "bytes":
        tail = values.tobytes()
        tensor["parameters"] = {"binary_data_size": len(tail)}
    else:
        tensor["data"] = values.tolist() if form == "flat" else values.reshape(shape).tolist()
    head = json.dumps({"inputs": [tensor, other]}).encode()
    scope = SCOPE | {"headers": [(b"inference-header-content-length", str(len(head)).encode())]}
    taker = subject(("v", "vector", 4), ("a", "int", 0))
    table, _ = V2Wire(taker).read(head + tail, scope)
    columns = taker.codec.columns([table])
    assert columns["v"].tolist() == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    assert columns["a"].tolist() == [1, 2]


@pytest.mark.parametrize("shape", [[2], [1, 8, 1], [8], [2, 3]])
def test_a_vector_of_another_inner_size_is_refused(shape: list[int]) -> None:
    size = int(np.prod(shape))
    tensors = [
        {"name": "v", "shape": shape, "datatype": "FP32", "data": [0] * size},
        {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]},
    ]
    with pytest.raises(Invalid, match="do not fit") as told:
        V2Wire(subject(("v", "vector", 4), ("a", "int", 0))).read(json.dumps({"inputs": tensors}).encode(), SCOPE)
    assert "the model takes [n, 4]" in told.value.details[0]


def test_whole_numbers_beyond_what_floats_hold_arrive_exactly() -> None:
    taker = subject(("a", "int", 0))
    for data in ([2**60 + 1], [[2**60 + 1]]):
        body = {"inputs": [{"name": "a", "shape": [1, 1], "datatype": "INT64", "data": data}]}
        table, _ = V2Wire(taker).read(json.dumps(body).encode(), SCOPE)
        assert taker.codec.columns([table])["a"].tolist() == [2**60 + 1]


@pytest.mark.parametrize(("data", "fits"), [([3.0], True), ([3.5], False), ([2**64], False), ([True], False)])
def test_whole_number_tensors_in_json_take_whole_numbers_only(data: list[Any], fits: bool) -> None:
    taker = subject(("a", "int", 0))
    body = json.dumps({"inputs": [{"name": "a", "shape": [1], "datatype": "INT64", "data": data}]}).encode()
    if fits:
        assert taker.codec.columns([V2Wire(taker).read(body, SCOPE)[0]])["a"].tolist() == data
    else:
        with pytest.raises(Invalid):
            V2Wire(taker).read(body, SCOPE)


odd = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["v", "a", "x"]) | odd,
        "shape": st.lists(st.integers(0, 4) | odd, max_size=3) | odd,
        "datatype": st.sampled_from(sorted(DATATYPES)) | odd,
        "data": st.lists(st.integers(-3, 3) | st.floats() | odd | st.lists(odd, max_size=3), max_size=8) | odd,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 40) | odd}) | odd,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors | odd, max_size=3) | odd},
    optional={
        "id": odd,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_output": odd}) | odd,
        "outputs": st.lists(st.fixed_dictionaries({"name": odd | st.just("predict")}) | odd, max_size=2) | odd,
    },
)


@settings(max_examples=300, deadline=None)
@given(requests | odd, st.binary(max_size=40), st.none() | st.integers(0, 400) | st.binary(max_size=4))
def test_no_body_makes_the_v2_wire_stumble(request: Any, tail: bytes, length: Any) -> None:
    taker = subject(("v", "vector", 2), ("a", "int", 0))
    head = json.dumps(request).encode()
    given_length = (
        str(len(head)).encode() if length is None else length if isinstance(length, bytes) else b"%d" % length
    )
    scope = SCOPE | {"headers": [(b"inference-header-content-length", given_length)]}
    try:
        table, asked = V2Wire(taker).read(head + tail, scope)
    except Invalid:
        return
    assert len(taker.codec.columns([table])["a"]) == table.size
    assert asked.outputs


@pytest.mark.parametrize(
    ("task", "classes", "prediction", "shares"),
    [
        ("binary", (0, 1), [0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]]),
        ("binary", ("}, {", "b"), ["}, {", "b", "}, {"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
        ("binary", (False, True), [False, True, False], None),
        ("regression", (), [1.5, np.inf, -2e-300], None),
        ("multiclass", (0, 1, 2), [0, 1, 2], [[1.0, 0.0, 0.0]] * 3),
    ],
)
def test_single_rows_of_one_call_read_as_each_would_alone(
    task: Any, classes: Any, prediction: Any, shares: Any
) -> None:
    one = subject(("a", "float", 0))
    one.signature = Signature(inputs=one.codec.schema, task=task, classes=classes)
    values = np.array(prediction, dtype=object if isinstance(prediction[0], str) else None)
    call = Answered(Outputs(values, None if shares is None else np.array(shares)), task)
    wire = RowsWire(one)
    for at in range(3):
        answer = Answer(call, at, at + 1)
        told = json.loads(wire.write("id", answer, None).body)
        assert told["predictions"] == json.loads(encode(wire.predictions(answer)))
    assert len(json.loads(wire.write("id", Answer(call, 0, 3), None).body)["predictions"]) == 3
