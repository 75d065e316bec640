"""MLflow's scoring wire, as callers of `mlflow models serve` and as the MLflow client itself speak it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
import requests

import mlspine
from tests.serving_harness import Inference
from tests.wire.conftest import ROW, mixed, prices

JSON = {"Content-Type": "application/json"}
SPLIT = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]], "index": [0, 1]}}


@pytest.mark.parametrize(
    "body",
    [
        SPLIT,
        {"dataframe_split": {"columns": ["b", "a", "unused"], "data": [[2, 1, "x"], [4, 3, "y"]]}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4, "unused": None}]},
        {"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"instances": [[1, 2], [3, 4]]},
        {"inputs": {"a": [1, 3], "b": [[2], [4]]}},
        {"inputs": [[1, 2], [3, 4]], "params": {}},
    ],
)
def test_every_json_form_gives_the_same_predictions(single: Inference, body: Any) -> None:
    for path in ("/invocations", "/endpoints/prices/invocations"):
        answer = requests.post(single.url + path, json=body, timeout=10)
        assert answer.status_code == 200
        assert answer.json()["predictions"] == pytest.approx([4.0, 10.0])
        assert answer.headers["Mlspine-Request-Id"]
        assert answer.headers["Mlspine-Path"] == "live"


@pytest.mark.filterwarnings("ignore::UserWarning")  # mlflow warns about its own type hints while imported
def test_the_mlflow_client_itself_is_answered(single: Inference) -> None:
    client = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
    model, X, _ = prices()
    speaking = client.ScoringServerClient("127.0.0.1", single.port)
    speaking.ping()
    answer = speaking.invoke(X)
    assert answer.get_predictions()[0].tolist() == pytest.approx(model.predict(X).tolist())


def test_a_frame_of_many_types_as_pandas_spells_it(several: Inference) -> None:
    model, X, _ = mixed()
    body = {"dataframe_split": json.loads(X.to_json(orient="split", date_format="iso"))}
    answer = requests.post(several.url + "/endpoints/mixed/invocations", json=body, timeout=10)
    assert answer.json() == {"predictions": model.predict(X).tolist()}


def test_csv_with_a_header_is_read(single: Inference, several: Inference) -> None:
    model, X, _ = prices()
    answer = requests.post(
        single.url + "/invocations",
        data=X.to_csv(index=False),
        headers={"Content-Type": "text/csv; charset=utf-8"},
        timeout=10,
    )
    assert answer.json()["predictions"] == pytest.approx(model.predict(X).tolist())
    model, X, _ = mixed()
    answer = requests.post(
        several.url + "/endpoints/mixed/invocations",
        data=X.to_csv(index=False),
        headers={"Content-Type": "text/csv"},
        timeout=10,
    )
    assert answer.json() == {"predictions": model.predict(X).tolist()}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "expected an object"),
        (b"{}", "expected exactly one of"),
        (json.dumps(SPLIT | {"instances": []}).encode(), "expected exactly one of"),
        (b'{"dataframe_split": {"data": 1}}', "dataframe_split"),
        (b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}', "expected a list of 2 values"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', "b: missing"),
        (b'{"dataframe_records": [[1, 2]]}', "expected a list of objects"),
        (b'{"instances": []}', "no rows"),
        (b'{"instances": [[1, 2]], "params": {"t": 1}}', "takes no params"),
        (b'{"instances": [{"a": 1, "b": "two"}]}', 'expected a number, got "two"'),
    ],
)
def test_bad_bodies_are_refused_in_mlflows_shape(single: Inference, body: bytes, said: str) -> None:
    answer = requests.post(single.url + "/invocations", data=body, headers=JSON, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "no rows"),
        ("a,b\n1\n", "line 2: 1 values for 2 columns"),
        ("a,b\n1,x\n", 'expected a number, got "x"'),
    ],
)
def test_bad_csv_is_refused(single: Inference, text: str, said: str) -> None:
    answer = requests.post(single.url + "/invocations", data=text, headers={"Content-Type": "text/csv"}, timeout=10)
    assert (answer.status_code, said in answer.json()["message"]) == (400, True)


def test_another_content_type_is_415_in_plain_text(single: Inference) -> None:
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    answer = requests.post(single.url + "/invocations", data=b"PAR1", headers=headers, timeout=10)
    assert answer.status_code == 415
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_whole_number_columns_take_no_fractions(several: Inference) -> None:
    body = {"dataframe_records": [ROW | {"age": 30.5}]}
    answer = requests.post(several.url + "/endpoints/mixed/invocations", json=body, timeout=10)
    assert (answer.status_code, "whole number" in answer.json()["message"]) == (400, True)


def test_a_silent_endpoint_is_unavailable_in_mlflows_shape(several: Inference) -> None:
    answer = requests.post(several.url + "/endpoints/silent/invocations", json=SPLIT, timeout=10)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert answer.headers["Mlspine-Path"] == "cannot-answer"


def test_the_small_routes_answer(single: Inference) -> None:
    for path in ("/ping", "/health"):
        answer = requests.get(single.url + path, timeout=10)
        assert (answer.status_code, answer.text) == (200, "\n")
    assert requests.get(single.url + "/version", timeout=10).text == mlspine.__version__


def test_an_empty_frame_is_refused(single: Inference) -> None:
    body = {"dataframe_split": json.loads(pd.DataFrame({"a": [], "b": []}).to_json(orient="split"))}
    answer = requests.post(single.url + "/invocations", json=body, timeout=10)
    assert answer.status_code == 400


def test_the_nan_that_mlflows_client_writes_is_null(several: Inference) -> None:
    model, X, _ = mixed()
    frame = X.astype({"since": str, "city": str})
    assert frame["debt"].isna().any()
    text = json.dumps({"dataframe_split": frame.to_dict(orient="split")})
    assert "NaN" in text
    answer = requests.post(several.url + "/endpoints/mixed/invocations", data=text, headers=JSON, timeout=10)
    assert answer.json() == {"predictions": model.predict(X).tolist()}
    for word in ("NaN", "Infinity"):  # no null where there can be none, and no infinity in JSON
        text = json.dumps({"dataframe_records": [ROW | {"net income": float(word), "debt": float("nan")}]})
        refused = requests.post(several.url + "/endpoints/mixed/invocations", data=text, headers=JSON, timeout=10)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "BAD_REQUEST")


def test_a_frame_may_come_with_its_columns_in_any_order(several: Inference) -> None:
    model, X, _ = mixed()
    text = X[list(X)[::-1]].assign(extra=1).to_json(orient="split", date_format="iso")
    body = {"dataframe_split": json.loads(text)}
    answer = requests.post(several.url + "/endpoints/mixed/invocations", json=body, timeout=10)
    assert answer.json() == {"predictions": model.predict(X).tolist()}
