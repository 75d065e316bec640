"""The binary tensor extension of the v2 protocol: with the stock Triton client, and byte by byte by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving_harness import Inference, Response
from tests.wire.conftest import flowers, mixed

triton = pytest.importorskip("tritonclient.http")
FLOWERS = "/v2/models/flowers/infer"


@pytest.fixture
def client(several: Inference) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{several.port}") as client:
        yield client


def tensor(name: str, values: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def sent(
    running: Inference, request: dict[str, Any], *parts: bytes, path: str = FLOWERS, length: Any = None
) -> Response:
    """One request with bytes behind its JSON part."""
    head = json.dumps(request).encode()
    length = str(len(head) if length is None else length)
    return running.request("POST", path, b"".join((head, *parts)), {"Inference-Header-Content-Length": length})


def announced(size: int, **more: Any) -> dict[str, Any]:
    return {"name": "X", "shape": [2, 4], "datatype": "FP64", "parameters": {"binary_data_size": size}} | more


@pytest.mark.parametrize(("datatype", "dtype"), [("FP64", np.float64), ("FP32", np.float32), ("FP16", np.float16)])
def test_a_matrix_in_bytes_gives_what_the_model_gives(client: Any, datatype: str, dtype: Any) -> None:
    model, X, _ = flowers()
    given = X.astype(dtype)
    result = client.infer("flowers", [tensor("X", given, datatype)])
    np.testing.assert_array_equal(result.as_numpy("predict"), model.predict(given.astype(np.float64)))
    np.testing.assert_allclose(
        result.as_numpy("predict_proba"), model.predict_proba(given.astype(np.float64)), rtol=1e-12
    )
    # Nothing was asked of the outputs, so the stock client asks for all of them in bytes.
    assert all("binary_data_size" in each["parameters"] for each in result.get_response()["outputs"])


def test_bf16_is_the_upper_half_of_an_fp32(several: Inference) -> None:
    model, X, _ = flowers()
    halves = (X[:2].astype("<f4").view("<u4") >> 16).astype("<u2")
    rounded = (halves.astype("<u4") << 16).view("<f4").astype(np.float64)
    answer = sent(several, {"inputs": [announced(16, datatype="BF16")]}, halves.tobytes())
    assert answer.json["outputs"][0]["data"] == model.predict(rounded).tolist()


@pytest.mark.parametrize("json_part", [set(), {"age"}, {"net income", "city", "since"}])
def test_columns_in_bytes_and_in_json_may_be_mixed(client: Any, json_part: set[str]) -> None:
    model, X, _ = mixed()
    X = X[X["debt"].notna()]
    dtypes = {"net income": "FP32", "age": "INT16", "city": "BYTES", "member": "BOOL", "since": "BYTES", "debt": "FP64"}
    inputs = []
    for name, kind in dtypes.items():
        values = X[name].to_numpy()
        if name == "since":
            values = np.datetime_as_string(values.astype("datetime64[s]"))
        kinds = {"INT16": np.int16, "BYTES": object, "FP32": np.float32}
        inputs.append(tensor(name, values.astype(kinds.get(kind, values.dtype)), kind, binary=name not in json_part))
    result = client.infer("mixed", inputs)
    assert [value.decode() for value in result.as_numpy("predict")] == model.predict(X).tolist()


def test_each_output_may_choose_its_form(client: Any) -> None:
    _, X, _ = flowers()
    outputs = [
        triton.InferRequestedOutput("predict_proba", binary_data=True),
        triton.InferRequestedOutput("predict", binary_data=False),
    ]
    told = client.infer("flowers", [tensor("X", X, "FP64")], outputs=outputs).get_response()["outputs"]
    assert [each["name"] for each in told] == ["predict_proba", "predict"]
    assert ("data" in told[0], "data" in told[1]) == (False, True)


def test_json_in_and_bytes_out(several: Inference) -> None:
    model, X, _ = flowers()
    request = {
        "inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP64", "data": X[:2].tolist()}],
        "outputs": [{"name": "predict"}],
        "parameters": {"binary_data_output": True},
        "id": "nine",
    }
    answer = several.post(FLOWERS, request)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.body[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert head["id"] == "nine"
    assert np.frombuffer(answer.body[length:], "<i8").tolist() == model.predict(X[:2]).tolist()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bytes_may_be_compressed(client: Any, algorithm: str) -> None:
    _, X, _ = flowers()
    result = client.infer(
        "flowers",
        [tensor("X", X, "FP64")],
        request_compression_algorithm=algorithm,
        response_compression_algorithm="gzip",
    )
    assert result.as_numpy("predict").shape == (len(X),)


def test_a_large_answer_is_compressed_when_the_caller_takes_gzip(several: Inference, client: Any) -> None:
    model, X, _ = flowers()
    many = np.tile(X, (60, 1))
    request = {"inputs": [{"name": "X", "shape": list(many.shape), "datatype": "FP64", "data": many.tolist()}]}
    plain = several.post(FLOWERS, request)
    small = several.post(FLOWERS, request, Accept_Encoding="br, gzip;q=0.5")
    assert (plain.headers.get("content-encoding"), small.headers["content-encoding"]) == (None, "gzip")
    assert len(small.body) < len(plain.body) / 2
    assert "content-encoding" not in several.post(FLOWERS, request, Accept_Encoding="gzip;q=0").headers
    result = client.infer("flowers", [tensor("X", many, "FP64")], response_compression_algorithm="gzip")
    np.testing.assert_array_equal(result.as_numpy("predict"), model.predict(many))


def test_nan_is_null_and_infinity_is_a_number(several: Inference) -> None:
    base = {"age": ("INT64", np.array([30])), "member": ("BOOL", np.array([True]))}
    texts = {"city": "Bern", "since": "2026-01-31"}

    def asked(income: float, debt: float) -> Response:
        arrays = base | {"net income": ("FP64", np.array([income])), "debt": ("FP64", np.array([debt]))}
        inputs = [{"name": n, "shape": [1], "datatype": "BYTES", "data": [text]} for n, text in texts.items()]
        for name, (kind, values) in arrays.items():
            size = {"binary_data_size": values.nbytes}
            inputs.append({"name": name, "shape": [1], "datatype": kind, "parameters": size})
        return sent(
            several, {"inputs": inputs}, *(v.tobytes() for _, v in arrays.values()), path="/v2/models/mixed/infer"
        )

    assert asked(1.0, float("nan")).status == 200
    refused = asked(float("nan"), 1.0)
    assert (refused.status, "net income[0]: expected a number, got NaN" in refused.json["error"]) == (400, True)
    assert asked(float("inf"), 1.0).status in (200, 400)  # for the model to say


def test_whole_number_columns_take_whole_numbers_in_any_width(several: Inference) -> None:
    inputs = [{"name": "age", "shape": [1], "datatype": "UINT64", "parameters": {"binary_data_size": 8}}]
    told = sent(several, {"inputs": inputs}, struct.pack("<Q", 2**64 - 1), path="/v2/models/mixed/infer")
    assert (told.status, "age[0]: expected a whole number" in told.json["error"]) == (400, True)


EIGHT = np.zeros(8).tobytes()


WRONG = [
    ({"inputs": [announced(64)]}, EIGHT, 10_000, "the whole body is"),
    ({"inputs": [announced(64)]}, EIGHT, "ten", "expected a number of bytes"),
    ({"inputs": [announced(64)]}, EIGHT, "-1", "expected a number of bytes"),
    ({"inputs": [announced(64)]}, EIGHT[:-1], None, "64 bytes announced, 63 are there"),
    ({"inputs": [announced(64)]}, EIGHT + b"x", None, "65 bytes follow"),
    ({"inputs": [announced(56)]}, EIGHT[:-8], None, "56 bytes for FP64 of shape [2, 4], which takes 64"),
    ({"inputs": [announced(64, data=[0] * 8)]}, EIGHT, None, "exclude each other"),
    ({"inputs": [announced("64")]}, EIGHT, None, "binary_data_size: expected a whole number"),
    ({"inputs": [announced(-1)]}, b"", None, "binary_data_size: expected a whole number"),
    ({"inputs": [announced(64, datatype="FP128")]}, EIGHT, None, "datatype: expected one of"),
    ({"inputs": [announced(64), announced(64)]}, EIGHT * 2, None, "there twice"),
    ({"inputs": [announced(8, datatype="BOOL")]}, b"\2" * 8, None, "BOOL takes bytes of 0 and 1"),
    ({"inputs": [announced(8, datatype="BYTES")]}, b"\xff\0\0\0abcd", None, "BYTES end within element 0"),
    ({"inputs": [announced(6, datatype="BYTES")]}, b"\2\0\0\0ab", None, "1 elements of BYTES for a shape of 8"),
    ({"inputs": [announced(5, datatype="BYTES", shape=[1])]}, b"\1\0\0\0\xff", None, "UTF-8"),
    ({"inputs": [announced(0, shape=[0, 4])]}, b"", None, "no rows"),
    ({"inputs": [announced(48, shape=[2, 3])]}, EIGHT[:48], None, "the matrix has 3 columns, the model takes 4"),
    ({"inputs": [announced(64)], "parameters": {"binary_data_output": 1}}, EIGHT, None, "expected true or false"),
    (
        {"inputs": [announced(64)], "outputs": [{"name": "predict", "parameters": {"classification": 3}}]},
        EIGHT,
        None,
        "classification is not spoken here",
    ),
    ({"inputs": []}, b"", None, "expected"),
]


@pytest.mark.parametrize(
    ("request_body", "tail", "length", "said"), [pytest.param(*each, id=each[3]) for each in WRONG]
)
def test_bytes_that_do_not_add_up_are_refused(
    several: Inference, request_body: Any, tail: bytes, length: Any, said: str
) -> None:
    answer = sent(several, request_body, tail, length=length)
    assert (answer.status, set(answer.json)) == (400, {"error"})
    assert said in answer.json["error"]


def test_without_the_length_header_all_of_the_body_is_json(several: Inference) -> None:
    body = {"inputs": [announced(64)]}
    answer = several.post(FLOWERS, json.dumps(body).encode() + EIGHT)
    assert (answer.status, "not JSON" in answer.json["error"]) == (400, True)
    answer = several.post(FLOWERS, body)
    assert (answer.status, "64 bytes announced, 0 are there" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_has_no_json_form(several: Inference, datatype: str) -> None:
    tensor = {"name": "X", "shape": [1, 4], "datatype": datatype, "data": [0, 0, 0, 0]}
    answer = several.post(FLOWERS, {"inputs": [tensor]})
    assert (answer.status, "has no JSON form" in answer.json["error"]) == (400, True)
