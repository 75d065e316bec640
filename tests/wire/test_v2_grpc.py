"""The v2 protocol over gRPC: with the stock Triton client, and message by message with our own description of it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from mlspine.core.plan import LogSettings, PlannedTraffic
from mlspine.predictions.spool import read_frames, spool_files
from tests.desk import free_port
from tests.serving_harness import Inference, endpoint, make_plan, make_release, start, write_plan
from tests.wire.conftest import flowers, mixed, prices

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")

from mlspine.web.grpc.messages import SERVICE, load_messages  # noqa: E402 (needs the extra)

messages = load_messages()
BIG = 6 * 1024 * 1024


class Served(NamedTuple):
    http: Inference
    address: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("grpc")
    port, grpc_port = free_port(), free_port()
    endpoints = [
        endpoint("mixed", make_release(folder, *mixed(), version=3)),
        endpoint("flowers", make_release(folder, *flowers())),
        endpoint("prices", make_release(folder, *prices(), version=2), log=LogSettings(enabled=False)),
        endpoint("silent", None, revision=4),
    ]
    write_plan(folder, msgspec.structs.replace(make_plan(folder, *endpoints, port=port), grpc_port=grpc_port))
    running = start(folder, port)
    try:
        yield Served(running, f"127.0.0.1:{grpc_port}")
    finally:
        running.stop()


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


@pytest.fixture
def channel(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.address) as channel:
        yield channel


def call(channel: Any, method: str, request: Any = None, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """One call, with messages of our own description."""
    ask = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=getattr(messages, f"{method}Request").SerializeToString,
        response_deserializer=getattr(messages, f"{method}Response").FromString,
    )
    request = getattr(messages, f"{method}Request")() if request is None else request
    return ask(request, timeout=20, metadata=metadata)


def tensor(name: str, values: np.ndarray, datatype: str) -> Any:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def test_the_stock_client_finds_server_and_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mixed")
    assert client.is_model_ready("mixed", "3")
    assert not client.is_model_ready("silent")
    with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
        client.is_model_ready("nobody")
    assert list(client.get_server_metadata().extensions) == ["binary_tensor_data"]
    told = client.get_model_metadata("mixed")
    assert (told.name, list(told.versions)) == ("mixed", ["3"])
    assert {each.name: each.datatype for each in told.inputs}["since"] == "BYTES"
    assert [(each.name, each.datatype, list(each.shape)) for each in told.outputs] == [
        ("predict", "BYTES", [-1]),
        ("predict_proba", "FP64", [-1, 2]),
    ]


@pytest.mark.parametrize(("datatype", "dtype"), [("FP64", np.float64), ("FP32", np.float32), ("FP16", np.float16)])
def test_the_stock_client_gets_what_the_model_gives(client: Any, datatype: str, dtype: Any) -> None:
    model, X, _ = flowers()
    given = X.astype(dtype)
    result = client.infer("flowers", [tensor("X", given, datatype)], request_id="seven")
    np.testing.assert_array_equal(result.as_numpy("predict"), model.predict(given.astype(np.float64)))
    np.testing.assert_allclose(
        result.as_numpy("predict_proba"), model.predict_proba(given.astype(np.float64)), rtol=1e-12
    )
    assert result.get_response().id == "seven"


def test_columns_of_every_type_by_the_stock_client(client: Any) -> None:
    model, X, _ = mixed()
    kinds = {"net income": "FP64", "age": "INT32", "city": "BYTES", "member": "BOOL", "since": "BYTES", "debt": "FP64"}
    inputs = []
    for name, kind in kinds.items():
        values = X[name].to_numpy()
        if name == "since":
            values = np.datetime_as_string(values.astype("datetime64[s]"))
        inputs.append(tensor(name, values.astype({"INT32": np.int32, "BYTES": object}.get(kind, values.dtype)), kind))
    result = client.infer("mixed", inputs, outputs=[triton.InferRequestedOutput("predict")])
    assert [value.decode() for value in result.as_numpy("predict")] == model.predict(X).tolist()
    assert result.as_numpy("predict_proba") is None


def typed(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    kind = messages.classes["ModelInferRequest.InferInputTensor"]
    return kind(name=name, datatype=datatype, shape=shape, contents=messages.InferTensorContents(**contents))


def infer(model: str, *inputs: Any, **more: Any) -> Any:
    return messages.ModelInferRequest(model_name=model, inputs=inputs, **more)


def test_typed_contents_are_answered_with_typed_contents(channel: Any) -> None:
    model, X, _ = mixed()
    row = X[X["debt"].notna()].iloc[:1]
    one = row.iloc[0]
    answer = call(
        channel,
        "ModelInfer",
        infer(
            "mixed",
            typed("net income", "FP32", [1], fp32_contents=[one["net income"]]),
            typed("age", "INT8", [1], int_contents=[int(one["age"])]),
            typed("city", "BYTES", [1], bytes_contents=[one["city"].encode()]),
            typed("member", "BOOL", [1, 1], bool_contents=[bool(one["member"])]),
            typed("since", "BYTES", [1], bytes_contents=[one["since"].isoformat().encode()]),
            typed("debt", "FP64", [1], fp64_contents=[one["debt"]]),
        ),
    )
    assert not answer.raw_output_contents
    told = {each.name: each.contents for each in answer.outputs}
    assert [value.decode() for value in told["predict"].bytes_contents] == model.predict(row).tolist()
    np.testing.assert_allclose(told["predict_proba"].fp64_contents, model.predict_proba(row)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (infer("flowers"), "no inputs"),
        (infer("flowers", typed("X", "FP64", [1, 4], fp64_contents=[1, 2, 3])), "3 elements for shape [1, 4]"),
        (infer("flowers", typed("X", "FP64", [1, 4], fp32_contents=[1] * 4)), "read from fp64_contents"),
        (infer("flowers", typed("X", "FP16", [1, 4], fp32_contents=[1] * 4)), "send raw_input_contents"),
        (infer("flowers", typed("X", "FP8", [1, 4])), "datatype: expected one of"),
        (infer("flowers", typed("X", "FP64", [], fp64_contents=[1])), "shape: expected whole numbers"),
        (infer("flowers", typed("X", "FP64", [-1, 4], fp64_contents=[1])), "shape: expected whole numbers"),
        (infer("flowers", typed("X", "FP64", [1, 3], fp64_contents=[1] * 3)), "3 columns, the model takes 4"),
        (infer("flowers", typed("X", "FP64", [1, 4], fp64_contents=[float("nan")] * 4)), "got NaN"),
        (infer("flowers", typed("X", "FP64", [1, 4]), raw_input_contents=[b"x"]), "exclude each other"),
        (infer("flowers", raw_input_contents=[b"x"]), "1 raw_input_contents for 0 inputs"),
        (infer("mixed", typed("city", "BYTES", [1], bytes_contents=[b"\xff"])), "UTF-8"),
        (infer("prices", typed("a", "FP64", [1], fp64_contents=[1])), "b: missing"),
        (infer("flowers", typed("X", "FP64", [1, 4], fp64_contents=[1] * 4), outputs=[{"name": "odd"}]), "no output"),
    ],
)
def test_bad_tensors_are_invalid_argument(channel: Any, request_: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError) as told:
        call(channel, "ModelInfer", request_)
    assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in told.value.details()


def test_raw_contents_of_a_wrong_size_are_invalid_argument(channel: Any) -> None:
    kind = messages.classes["ModelInferRequest.InferInputTensor"]
    request = infer("flowers", kind(name="X", datatype="FP64", shape=[1, 4]), raw_input_contents=[b"\0" * 31])
    with pytest.raises(grpc.RpcError) as told:
        call(channel, "ModelInfer", request)
    assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "31 bytes for FP64 of shape [1, 4], which takes 32" in told.value.details()


@pytest.mark.parametrize(
    ("model", "version", "status"),
    [("nobody", "", "NOT_FOUND"), ("mixed", "9", "NOT_FOUND"), ("silent", "", "UNAVAILABLE")],
)
def test_unknown_and_silent_models_have_their_statuses(channel: Any, model: str, version: str, status: str) -> None:
    for method, request in (
        ("ModelInfer", infer(model, model_version=version)),
        ("ModelMetadata", messages.ModelMetadataRequest(name=model, version=version)),
    ):
        with pytest.raises(grpc.RpcError) as told:
            call(channel, method, request)
        assert told.value.code() == grpc.StatusCode[status]


def test_an_unknown_method_is_unimplemented(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as told:
        channel.unary_unary(f"/{SERVICE}/RepositoryIndex")(b"", timeout=20)
    assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_none_does_not_stop_the_server(channel: Any) -> None:
    with pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"\xff" * 40, timeout=20)
    assert call(channel, "ServerLive").live


def test_messages_beyond_grpcs_own_limit_travel_both_ways(served: Served) -> None:
    model, X, _ = flowers()
    many = np.tile(X, (BIG // X.nbytes, 1))
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with triton.InferenceServerClient(served.address, channel_args=options) as client:
        result = client.infer("flowers", [tensor("X", many, "FP64")])
    np.testing.assert_array_equal(result.as_numpy("predict"), np.tile(model.predict(X), BIG // X.nbytes))


def test_id_key_and_event_time_reach_the_log_as_over_http(served: Served) -> None:
    mine = str(uuid.uuid4())
    headers = {"mlspine-request-id": mine, "mlspine-key": "alice", "mlspine-event-time": "2026-01-31T12:00:00Z"}
    _, X, _ = flowers()
    with triton.InferenceServerClient(served.address) as client:
        result = client.infer("flowers", [tensor("X", X[:2], "FP64")], headers=headers)
    assert result.get_response().parameters["request_id"].string_param == mine
    served.http.command("flush")
    spool = spool_files(served.http.folder / "run" / "spool")
    batches = [batch for path in spool for frame in read_frames(path) for batch in frame.batches]
    (batch,) = (each for each in batches if mine in each.request_ids)
    assert batch.row_counts == [2]  # nobody else asked at that moment
    assert (batch.keys, batch.event_at_ms) == (["alice"] * 2, [1_769_860_800_000] * 2)


def test_answers_over_grpc_are_counted_with_the_others(served: Served, channel: Any) -> None:
    def counted() -> float:
        lines = served.http.get("/metrics").body.decode().splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith('mlspine_requests_total{endpoint="prices"')
        )

    before = counted()
    good = typed("a", "FP64", [1], fp64_contents=[1]), typed("b", "FP64", [1], fp64_contents=[2])
    answer = call(channel, "ModelInfer", infer("prices", *good))
    assert answer.outputs[0].contents.fp64_contents[0] == pytest.approx(4.0)
    with pytest.raises(grpc.RpcError):
        call(channel, "ModelInfer", infer("prices"))
    assert counted() == before + 2


def test_a_promoted_release_answers_over_grpc_too(served: Served, channel: Any) -> None:
    model, X, y = flowers()
    other = model.__class__(C=1e-6).fit(X, y)
    release = make_release(served.http.folder, other, X, y, version=2)
    before = make_release(served.http.folder, model, X, y, version=1)
    request = infer("flowers", typed("X", "FP64", [1, 4], fp64_contents=X[0].tolist()))
    try:
        served.http.apply(endpoint("flowers", release, revision=2), endpoint("mixed", None), endpoint("prices", None))
        answer = call(channel, "ModelInfer", request)
        assert answer.model_version == "2"
        assert answer.parameters["release"].string_param == release.release_hash
    finally:
        served.http.apply(
            endpoint("flowers", before, revision=3),
            endpoint("mixed", make_release(served.http.folder, *mixed(), version=3), revision=2),
            endpoint("prices", make_release(served.http.folder, *prices(), version=2), revision=2),
            endpoint("silent", None, revision=4),
        )


def test_an_answer_of_the_candidate_says_so(served: Served, channel: Any) -> None:
    model, X, y = flowers()
    live = make_release(served.http.folder, model, X, y, version=1)
    candidate = make_release(served.http.folder, model.__class__(C=1e-6).fit(X, y), X, y, version=2)
    request = infer("flowers", typed("X", "FP64", [1, 4], fp64_contents=X[0].tolist()))
    planned = endpoint("flowers", live, revision=10)
    divided = msgspec.structs.replace(planned, traffic=PlannedTraffic(candidate=candidate, share=1.0))
    others = [
        endpoint("mixed", make_release(served.http.folder, *mixed(), version=3), revision=2),
        endpoint("prices", make_release(served.http.folder, *prices(), version=2), revision=2),
        endpoint("silent", None, revision=4),
    ]
    try:
        served.http.apply(divided, *others)
        ask = channel.unary_unary(f"/{SERVICE}/ModelInfer", request_serializer=lambda each: each.SerializeToString())
        told, call_ = ask.with_call(request, timeout=20)
        answer = messages.ModelInferResponse.FromString(told)
        assert (answer.model_version, answer.parameters["release"].string_param) == ("2", candidate.release_hash)
        assert dict(call_.trailing_metadata())["mlspine-path"] == "candidate"
    finally:
        served.http.apply(msgspec.structs.replace(planned, revision=11), *others)


@pytest.mark.parametrize(
    "order",
    [
        "import tritonclient.grpc; from mlspine.web.grpc.messages import load_messages; load_messages()",
        "from mlspine.web.grpc.messages import load_messages; load_messages(); import tritonclient.grpc",
    ],
)
def test_a_client_library_in_the_same_process_does_not_clash(order: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", order], check=True)


def test_the_server_never_imports_a_client_library(served: Served) -> None:
    loaded = Path(f"/proc/{served.http.process.pid}/maps").read_text()
    assert "cygrpc" in loaded  # so the line below can be believed
    code = "import mlspine.web.grpc.server, sys; print(*[m for m in ('tritonclient', 'kserve') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
