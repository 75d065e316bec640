"""The canonical wire and everything around it, over real HTTP."""

from __future__ import annotations

import gzip
import json
import shlex
import socket
import subprocess
import uuid
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving_harness import Inference
from tests.wire.conftest import ROW, mixed

PREDICT = "/endpoints/mixed/predict"


def error_of(answer: Any) -> dict[str, Any]:
    assert set(answer.json) == {"error"}
    told: dict[str, Any] = answer.json["error"]
    assert set(told) == {"code", "message", "hint", "details"}
    return told


def test_an_answer_names_what_answered(several: Inference) -> None:
    answer = several.post(PREDICT, {"rows": [ROW, ROW]})
    assert answer.status == 200
    assert answer.json | {"endpoint": "mixed", "version": 3, "path": "live"} == answer.json
    assert answer.json["id"] == answer.headers["mlspine-request-id"]
    assert uuid.UUID(answer.json["id"]).version == 7
    assert answer.json["release"] == answer.headers["mlspine-release"]
    assert (answer.headers["mlspine-version"], answer.headers["mlspine-path"]) == ("3", "live")
    assert [set(each) for each in answer.json["predictions"]] == [{"prediction", "score"}] * 2


def test_predictions_are_those_of_the_model(several: Inference) -> None:
    model, X, _ = mixed()
    rows = json.loads(X.to_json(orient="records", date_format="iso"))
    predictions = several.post(PREDICT, {"rows": rows}).json["predictions"]
    assert [each["prediction"] for each in predictions] == model.predict(X).tolist()
    assert [each["score"] for each in predictions] == pytest.approx(model.predict_proba(X)[:, 1].tolist(), rel=1e-9)


def test_several_classes_come_with_all_their_probabilities(several: Inference) -> None:
    (one,) = several.post("/endpoints/flowers/predict", {"rows": [[0.1, 0.2, 0.3, 0.4]]}).json["predictions"]
    assert set(one["probabilities"]) == {"0", "1", "2"}
    assert sum(one["probabilities"].values()) == pytest.approx(1.0)
    assert one["score"] == max(one["probabilities"].values()) == one["probabilities"][str(one["prediction"])]


def test_a_regression_gives_the_number_alone(several: Inference) -> None:
    (one,) = several.post("/endpoints/prices/predict", {"a": 1, "b": 2}).json["predictions"]
    assert one == {"prediction": pytest.approx(4.0)}


def test_bad_rows_are_refused_with_every_problem(several: Inference) -> None:
    answer = several.post(PREDICT, {"rows": [ROW | {"age": "old", "member": None}]})
    told = error_of(answer)
    assert (answer.status, told["code"]) == (422, "invalid")
    assert set(told["details"]) == {
        'rows[0].age: expected a whole number, got "old"',
        "rows[0].member: expected true or false, got null",
    }
    assert uuid.UUID(answer.headers["mlspine-request-id"])


@pytest.mark.parametrize("body", [b"", b"{", b'{"rows": []}', b"\xff\xfe", b"[[[[", b'{"rows": [{}]}'])
def test_no_body_makes_the_server_stumble(several: Inference, body: bytes) -> None:
    assert several.post(PREDICT, body).status == 422


def test_the_callers_own_id_is_kept_if_it_is_a_uuid(several: Inference) -> None:
    mine = str(uuid.uuid4())
    assert several.post(PREDICT, [ROW], Mlspine_Request_Id=mine).json["id"] == mine
    refused = several.post(PREDICT, [ROW], Mlspine_Request_Id="order 66")
    assert (refused.status, "no UUID" in error_of(refused)["message"]) == (422, True)


def test_an_event_time_that_is_none_is_refused(several: Inference) -> None:
    assert several.post(PREDICT, [ROW], Mlspine_Event_Time="2026-01-01T00:00:00Z").status == 200
    assert several.post(PREDICT, [ROW], Mlspine_Event_Time="1767225600000").status == 200
    refused = several.post(PREDICT, [ROW], Mlspine_Event_Time="soon")
    assert (refused.status, "is no time" in error_of(refused)["message"]) == (422, True)


def test_a_silent_endpoint_says_that_it_cannot_answer(several: Inference) -> None:
    answer = several.post("/endpoints/silent/predict", [ROW])
    assert answer.status == 503
    assert "cannot answer" in error_of(answer)["message"]
    assert answer.headers["mlspine-path"] == "cannot-answer"
    assert answer.headers["retry-after"] == "1"


def test_an_unknown_path_lists_what_there_is(several: Inference) -> None:
    answer = several.post("/endpoints/mixd/predict", [ROW])
    told = error_of(answer)
    assert (answer.status, told["code"]) == (404, "not_found")
    assert "did you mean /endpoints/mixed/predict?" in told["hint"]


@pytest.mark.parametrize("path", ["/invocations", "/ping", "/health", "/version"])
def test_bare_paths_are_not_guessed_among_several_endpoints(several: Inference, path: str) -> None:
    answer = several.get(path)
    assert answer.status == 404
    assert b"/endpoints/mixed/predict" in answer.body


def test_another_method_is_refused_with_the_right_one(several: Inference) -> None:
    for method, path, allowed in [
        ("GET", PREDICT, "POST"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
    ]:
        answer = several.request(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_head_is_answered_without_a_body(several: Inference) -> None:
    answer = several.request("HEAD", "/health/live")
    assert (answer.status, answer.body) == (200, b"")


def test_compressed_bodies_are_read(several: Inference) -> None:
    assert several.post_gzip(PREDICT, {"rows": [ROW]}).status == 200
    body = json.dumps([ROW]).encode()
    for data in (zlib.compress(body), zlib.compress(body)[2:-4]):
        assert several.post(PREDICT, data, Content_Encoding="deflate").status == 200
    assert several.post(PREDICT, b"not gzip", Content_Encoding="gzip").status == 422
    assert several.post(PREDICT, gzip.compress(body)[:-9], Content_Encoding="gzip").status == 422
    assert several.post(PREDICT, body, Content_Encoding="br").status == 415


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(several: Inference) -> None:
    with socket.create_connection(("127.0.0.1", several.port), timeout=10) as caller:
        caller.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".encode() + b"[" * 100
        )
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


def test_a_small_body_that_unpacks_into_a_huge_one_is_refused(several: Inference) -> None:
    bomb = gzip.compress(b" " * (80 * 1024 * 1024), compresslevel=1)
    assert several.post(PREDICT, bomb, Content_Encoding="gzip").status == 413


def test_requests_sent_back_to_back_are_answered_in_order(several: Inference) -> None:
    body = json.dumps({"a": 1, "b": 2}).encode()
    one = b"POST /endpoints/prices/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with socket.create_connection(("127.0.0.1", several.port), timeout=10) as caller:
        caller.sendall(one * 5)
        received = b""
        while received.count(b'"prediction"') < 5:
            received += caller.recv(65536)
    assert received.count(b"HTTP/1.1 200") == 5


def test_the_example_command_works_as_it_stands(several: Inference) -> None:
    told = several.get("/endpoints/mixed").json
    assert [column["name"] for column in told["columns"]] == list(ROW)
    words = shlex.split(told["curl"])
    assert several.post(PREDICT, words[words.index("-d") + 1].encode()).status == 200
    done = subprocess.run(words, capture_output=True, check=False)
    assert json.loads(done.stdout)["endpoint"] == "mixed"


def test_the_page_for_people_needs_nothing_from_elsewhere(several: Inference) -> None:
    page = several.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = page.body.decode()
    assert "net income" in text
    assert "src=" not in text
    assert 'href="http' not in text


def test_the_openapi_document_lists_every_route_and_status_met_here(several: Inference) -> None:
    document = several.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    statuses = document["paths"][PREDICT]["post"]["responses"]
    assert set(statuses) == {"200", "405", "408", "413", "415", "422", "503"}
    for path, methods in document["paths"].items():
        for method in methods:
            body = b"{}" if method == "post" else None
            answer = several.request(method.upper(), path, body)
            responses = methods[method]["responses"]
            assert str(answer.status) in responses, path
            content_type = answer.headers["content-type"].partition(";")[0]
            assert content_type in responses[str(answer.status)]["content"], path


def test_readiness_and_liveness(several: Inference) -> None:
    assert several.get("/health/live").json == {"live": True}
    assert several.get("/health/ready").json == {"ready": True}


def test_a_time_or_key_column_named_at_ship_may_come_with_the_row(several: Inference) -> None:
    row = {"a": 1, "b": 2, "at": "2026-01-01T00:00:00Z", "who": "alice"}
    assert several.post("/endpoints/prices/predict", [row]).status == 200
    assert several.post("/endpoints/prices/predict", [row | {"at": "soon"}]).status == 422


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
near_rows = st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, json_values))
bodies = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.lists(near_rows, max_size=3).map(lambda rows: json.dumps({"rows": rows}).encode()),
    near_rows.map(lambda row: json.dumps({"rows": [ROW | row]}).encode()),
    near_rows.map(lambda row: json.dumps({"columns": {k: [v] for k, v in (ROW | row).items()}}).encode()),
    near_rows.map(lambda row: json.dumps({"instances": [ROW | row]}).encode()),
    json_values.map(
        lambda value: json.dumps(
            {"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": value}]}
        ).encode()
    ),
)
wires = st.sampled_from([PREDICT, "/endpoints/mixed/invocations", "/v2/models/mixed/infer", "/v1/models/mixed:predict"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies, wires, st.sampled_from(["application/json", "text/csv", "x/y"]))
def test_no_body_on_any_wire_is_answered_by_a_5xx(several: Inference, body: bytes, path: str, kind: str) -> None:
    answer = several.post(path, body, Content_Type=kind)
    assert answer.status in (200, 400, 415, 422)
    assert b"Traceback" not in answer.body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_raw_noise_does_not_stop_the_server(several: Inference, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", several.port), timeout=10) as caller:
        caller.sendall(noise + b"\r\n\r\n")
    assert several.get("/health/live").status == 200
