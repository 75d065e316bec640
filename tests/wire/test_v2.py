"""Open Inference Protocol v2 and KServe v1: with the stock Triton client, and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving_harness import Inference
from tests.wire.conftest import ROW, flowers, mixed

triton = pytest.importorskip("tritonclient.http")


@pytest.fixture
def client(several: Inference) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{several.port}") as client:
        yield client


def tensor(name: str, values: np.ndarray, datatype: str) -> Any:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=False)
    return made


def asked(*names: str) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=False) for name in names]


def test_the_stock_client_finds_server_and_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mixed")
    assert client.is_model_ready("mixed", "3")
    assert not client.is_model_ready("silent")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    index = {each["name"]: each["state"] for each in client.get_model_repository_index()}
    assert index == {"mixed": "READY", "flowers": "READY", "prices": "READY", "silent": "UNAVAILABLE"}


def test_the_metadata_names_every_column_and_output(client: Any) -> None:
    told = client.get_model_metadata("mixed")
    assert (told["name"], told["versions"]) == ("mixed", ["3"])
    assert {each["name"]: each["datatype"] for each in told["inputs"]} == {
        "net income": "FP64",
        "age": "INT64",
        "city": "BYTES",
        "member": "BOOL",
        "since": "BYTES",
        "debt": "FP64",
    }
    assert told["outputs"] == [
        {"name": "predict", "datatype": "BYTES", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
    ]


def test_one_matrix_for_all_columns(client: Any) -> None:
    model, X, _ = flowers()
    result = client.infer(
        "flowers", [tensor("X", X, "FP64")], request_id="seven", outputs=asked("predict_proba", "predict")
    )
    np.testing.assert_array_equal(result.as_numpy("predict"), model.predict(X))
    np.testing.assert_allclose(result.as_numpy("predict_proba"), model.predict_proba(X), rtol=1e-9)
    assert result.get_response()["id"] == "seven"
    assert [each["name"] for each in result.get_response()["outputs"]] == ["predict_proba", "predict"]


@pytest.mark.parametrize("column", [False, True])
def test_one_tensor_per_column(client: Any, column: bool) -> None:
    model, X, _ = mixed()
    X = X[X["debt"].notna()]
    kinds = {"net income": "FP64", "age": "INT32", "city": "BYTES", "member": "BOOL", "since": "BYTES", "debt": "FP64"}
    inputs = []
    for name, kind in kinds.items():
        values = X[name].to_numpy()
        if name == "since":
            values = np.datetime_as_string(values.astype("datetime64[s]")).astype(object)
        values = values.astype({"INT32": np.int32, "BYTES": object}.get(kind, values.dtype))
        inputs.append(tensor(name, values.reshape(-1, 1) if column else values, kind))
    result = client.infer("mixed", inputs, outputs=asked("predict"))
    assert result.as_numpy("predict").astype(str).tolist() == model.predict(X).tolist()
    assert result.get_response()["parameters"]["request_id"]


def test_compressed_requests_of_the_stock_client(client: Any) -> None:
    for algorithm in ("gzip", "deflate"):
        result = client.infer(
            "flowers",
            [tensor("X", np.zeros((2, 4)), "FP64")],
            outputs=asked("predict"),
            request_compression_algorithm=algorithm,
        )
        assert result.as_numpy("predict").shape == (2,)


def body(**more: Any) -> dict[str, Any]:
    return {"name": "X", "shape": [2, 4], "datatype": "FP32", "data": [0] * 8} | more


def test_nested_and_flat_data_mean_the_same(several: Inference) -> None:
    nested = several.post("/v2/models/flowers/infer", {"inputs": [body(data=[[0, 1, 2, 3], [4, 5, 6, 7]])]}).json
    flat = several.post("/v2/models/flowers/infer", {"inputs": [body(data=list(range(8)))]}).json
    assert nested["outputs"] == flat["outputs"]
    assert "id" not in flat


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        ({}, "expected"),
        ({"inputs": []}, "expected"),
        ({"inputs": [body()], "id": 7}, "id: expected a text"),
        ({"inputs": [body(shape=[3, 4])]}, "8 elements for shape"),
        ({"inputs": [body(shape="2x4")]}, "shape"),
        ({"inputs": [body(datatype="FLOAT")]}, "datatype"),
        ({"inputs": [body(data=None)]}, "data: expected a list"),
        ({"inputs": [body(shape=[4, 2])]}, "the matrix has 2 columns, the model takes 4"),
        ({"inputs": [body(shape=[8])]}, "no such input"),
        ({"inputs": [body(shape=[0, 4], data=[])]}, "no rows"),
        ({"inputs": [body(data=["a"] * 8, datatype="BYTES")]}, "expected a number"),
        ({"inputs": [body()], "outputs": [{"name": "other"}]}, "no output"),
        ({"inputs": [5]}, "expected"),
    ],
)
def test_bad_requests_are_refused_in_the_protocols_shape(several: Inference, request_body: Any, said: str) -> None:
    answer = several.post("/v2/models/flowers/infer", request_body)
    assert answer.status == 400
    assert set(answer.json) == {"error"}
    assert said in answer.json["error"]
    assert answer.headers["mlspine-request-id"]


def test_a_tensor_of_the_wrong_type_for_its_column_is_refused(several: Inference) -> None:
    tensors = [
        {"name": "age", "shape": [1], "datatype": "FP32", "data": [30]},
        {"name": "city", "shape": [1, 2], "datatype": "BYTES", "data": ["x", "y"]},
    ]
    said = several.post("/v2/models/mixed/infer", {"inputs": tensors}).json["error"]
    assert "age: datatype FP32, the model takes INT64" in said
    assert "city: shape [1, 2]" in said


@pytest.mark.parametrize(
    "path", ["/v2/models/nobody", "/v2/models/mixed/versions/9", "/v2/models/nobody/infer", "/v2/nothing"]
)
def test_unknown_models_and_versions_are_404_in_the_protocols_shape(several: Inference, path: str) -> None:
    answer = several.post(path, {}) if path.endswith("infer") else several.get(path)
    assert (answer.status, set(answer.json)) == (404, {"error"})


def test_a_model_that_cannot_answer_is_not_ready(several: Inference) -> None:
    assert several.get("/v2/models/silent/ready").status == 503
    assert several.post("/v2/models/silent/infer", {"inputs": [body()]}).status == 503


def test_health_bodies_are_json(several: Inference) -> None:
    assert several.get("/v2/health/live").json == {"live": True}
    assert several.get("/v2/health/ready").json == {"ready": True}
    assert several.get("/v2/").json["name"] == "mlspine"
    assert several.get("/v2/models").json == {"models": ["flowers", "mixed", "prices", "silent"]}


def test_kserve_v1_predicts(several: Inference) -> None:
    assert several.get("/v1/models").json["models"][0] == "flowers"
    assert several.get("/v1/models/mixed").json == {"name": "mixed", "ready": True}
    assert several.post("/v1/models/prices:predict", {"instances": [[1, 2]]}).json == {
        "predictions": [pytest.approx(4.0)]
    }
    assert several.post("/v1/models/mixed:predict", {"instances": [ROW]}).json["predictions"][0] in ("yes", "no")
    refused = several.post("/v1/models/mixed:predict", {"instances": 5})
    assert (refused.status, set(refused.json)) == (400, {"error"})
    assert several.get("/v1/models/nobody").status == 404


def test_a_non_finite_number_has_no_json_form(several: Inference) -> None:
    raw = json.dumps({"inputs": [body(data=[float("nan")] * 8)]}).encode()
    assert several.post("/v2/models/flowers/infer", raw).status == 400


def test_explanations_are_refused_in_words(several: Inference) -> None:
    refused = several.post("/v1/models/mixed:explain", {"instances": [ROW]})
    assert (refused.status, "no explanations" in refused.json["error"]) == (501, True)
    assert several.post("/v1/models/nobody:explain", {"instances": [ROW]}).status == 404


def test_the_repository_index_lists_all_or_what_is_ready(several: Inference, client: Any) -> None:
    index = "/v2/repository/index"
    for body in (b"", {}, {"ready": False}):
        assert {each["name"] for each in several.post(index, body).json} == {"mixed", "flowers", "prices", "silent"}
    ready = several.post(index, {"ready": True}).json
    assert {each["name"]: each["version"] for each in ready} == {"mixed": "3", "flowers": "1", "prices": "2"}
    for body in (b"{", {"ready": "yes"}, []):
        assert (several.post(index, body).status, "error" in several.post(index, body).json) == (400, True)


def test_loading_a_ready_model_is_no_change_and_unloading_is_refused(client: Any) -> None:
    client.load_model("mixed")
    with pytest.raises(triton.InferenceServerException, match="not unloaded by callers"):
        client.unload_model("mixed")
    with pytest.raises(triton.InferenceServerException, match="silent is not ready"):
        client.load_model("silent")
    with pytest.raises(triton.InferenceServerException, match="nothing answers"):
        client.load_model("nobody")
