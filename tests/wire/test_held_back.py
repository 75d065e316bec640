"""A prediction that an output rule holds back is held back on every wire, and each says so in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

import mlspine
from mlspine.client import asking
from mlspine.core.plan import Guards, OutputRule
from tests.desk import free_port
from tests.serving_harness import Inference, endpoint, make_plan, make_release, start, write_plan
from tests.wire.conftest import flowers, mixed

triton = pytest.importorskip("tritonclient.http")
GUARDED = {"flowers": (flowers, 1), "mixed": (mixed, "yes")}  # the answer that is never given


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Inference, str]]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    port, grpc_port = free_port(), free_port()
    endpoints = []
    for name, (made, never) in GUARDED.items():
        rule = OutputRule(kind="deny", action="abstain", values=(never,))
        planned = endpoint(name, make_release(folder, *made()))
        endpoints.append(msgspec.structs.replace(planned, guards=Guards(rules=(rule,))))
    write_plan(folder, msgspec.structs.replace(make_plan(folder, *endpoints, port=port), grpc_port=grpc_port))
    running = start(folder, port)
    try:
        yield running, f"127.0.0.1:{grpc_port}"
    finally:
        running.stop()


MODEL, X, _ = flowers()
RIGHT = [None if label == 1 else label for label in MODEL.predict(X).tolist()]
HELD = [row for row, label in enumerate(RIGHT) if label is None]


def test_json_wires_say_null(guarded: tuple[Inference, str]) -> None:
    running, _ = guarded
    rows = X.tolist()
    told = running.post("/endpoints/flowers/predict", {"rows": rows}).json["predictions"]
    assert [each["prediction"] for each in told] == RIGHT
    assert [row for row, each in enumerate(told) if each.get("abstained")] == HELD
    for path in ("/endpoints/flowers/invocations", "/v1/models/flowers:predict"):
        assert running.post(path, {"instances": rows}).json["predictions"] == RIGHT
    tensor = {"name": "X", "shape": list(X.shape), "datatype": "FP64", "data": rows}
    output = running.post("/v2/models/flowers/infer", {"inputs": [tensor]}).json["outputs"][0]
    assert (output["data"], output["parameters"]["abstained"]) == (RIGHT, HELD)


def test_bytes_hold_nothing_of_it_and_name_its_rows(guarded: tuple[Inference, str]) -> None:
    running, address = guarded
    tensor = triton.InferInput("X", list(X.shape), "FP64")
    tensor.set_data_from_numpy(X)
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        answer = client.infer("flowers", [tensor])
    assert answer.get_output("predict")["parameters"]["abstained"] == HELD
    assert answer.as_numpy("predict")[HELD].tolist() == [0] * len(HELD)
    overgrpc = pytest.importorskip("tritonclient.grpc")
    tensor = overgrpc.InferInput("X", list(X.shape), "FP64")
    tensor.set_data_from_numpy(X)
    with overgrpc.InferenceServerClient(address) as client:
        answer = client.infer("flowers", [tensor])
    said = answer.get_output("predict").parameters["abstained"].string_param
    assert said == ",".join(map(str, HELD))
    assert answer.as_numpy("predict")[HELD].tolist() == [0] * len(HELD)


@pytest.mark.parametrize("bytes_from", [1, 10**9])
def test_the_client_gives_none(
    guarded: tuple[Inference, str], monkeypatch: pytest.MonkeyPatch, bytes_from: int
) -> None:
    monkeypatch.setattr(asking, "BYTES_FROM_VALUES", bytes_from)
    with mlspine.Client(guarded[0].url) as client:
        assert client.predict(X, endpoint="flowers").predictions == RIGHT
        model, frame, _ = mixed()
        right = np.where(model.predict(frame) == "yes", None, "no").tolist()
        assert client.predict(frame, endpoint="mixed").predictions == right
