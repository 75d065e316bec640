"""`mlspine.Client` with a running server: the same answers whatever form rows come in."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mlspine
from mlspine.client import asking
from mlspine.core.errors import Invalid, NotFound, Unavailable
from tests.serving_harness import Inference
from tests.wire.conftest import ROW, flowers, mixed, prices


@pytest.fixture
def client(several: Inference) -> Iterator[mlspine.Client]:
    with mlspine.Client(several.url) as client:
        yield client


def test_it_finds_what_is_served(client: mlspine.Client, several: Inference) -> None:
    assert sorted(client.endpoints()) == ["flowers", "mixed", "prices", "silent"]
    assert client.ready()
    with pytest.raises(Invalid, match="4 endpoints are served"):
        client.predict([ROW])


def test_the_only_endpoint_needs_no_name(single: Inference) -> None:
    with mlspine.Client(single.url) as client:
        assert client.predict([{"a": 1, "b": 2}]).predictions == pytest.approx([4.0])


def test_an_answer_says_who_gave_it(client: mlspine.Client, several: Inference) -> None:
    mine = str(uuid.uuid4())
    told = client.predict(ROW, endpoint="mixed", key="Zoë", event_time=dt.datetime(2026, 1, 31), request_id=mine)
    assert isinstance(told, mlspine.Predictions)
    assert (told.id, told.endpoint, told.version, told.path) == (mine, "mixed", 3, "live")
    assert told.release == several.get("/endpoints/mixed").json["release"]
    assert told.scores is not None
    assert told.probabilities is None
    assert told.predictions[0] in ("yes", "no")


def test_a_frame_of_every_type(client: mlspine.Client) -> None:
    model, X, _ = mixed()
    assert client.predict(X, endpoint="mixed").predictions == model.predict(X).tolist()
    assert client.predict(X.to_dict("records"), endpoint="mixed").predictions == model.predict(X).tolist()


@pytest.mark.parametrize("bytes_from", [1, 10**9])
def test_bytes_and_json_give_the_same(client: mlspine.Client, monkeypatch: Any, bytes_from: int) -> None:
    monkeypatch.setattr(asking, "BYTES_FROM_VALUES", bytes_from)
    paths: list[str] = []
    exchange = client._pool.exchange
    monkeypatch.setattr(client._pool, "exchange", lambda *args: paths.append(args[1]) or exchange(*args))
    model, X, _ = flowers()
    for rows in (X, np.asfortranarray(X), pd.DataFrame(X, columns=["x0", "x1", "x2", "x3"])):
        told = client.predict(rows, endpoint="flowers")
        assert told.predictions == model.predict(X).tolist()
        assert told.probabilities is not None
        assert told.scores is not None
        shares = model.predict_proba(X)
        np.testing.assert_allclose([list(row.values()) for row in told.probabilities], shares, rtol=1e-9)
        assert list(told.probabilities[0]) == ["0", "1", "2"]
        np.testing.assert_allclose(told.scores, shares.max(axis=1), rtol=1e-9)
        assert (told.version, told.path) == (1, "live")
    model, frame, _ = prices()
    told = client.predict(frame[["b", "a"]].assign(text="x").drop(columns="text"), endpoint="prices")
    np.testing.assert_allclose(told.predictions, model.predict(frame))
    assert told.scores is None
    asked = "/v2/models/flowers/infer" if bytes_from == 1 else "/endpoints/flowers/predict"
    assert paths.count(asked) == 3


def test_an_infinity_travels_as_bytes_and_is_for_the_model_to_judge(client: mlspine.Client) -> None:
    with pytest.raises(Invalid, match="could not score this row"):
        client.predict(np.array([[1.0, np.inf, 0.0, 0.0]]), endpoint="flowers")


def test_every_problem_of_the_rows_is_told(client: mlspine.Client) -> None:
    with pytest.raises(Invalid) as told:
        client.predict([ROW | {"age": "old", "member": None}], endpoint="mixed")
    assert len(told.value.details) == 2
    for rows in (np.zeros((200, 3)), np.zeros((2, 3))):
        with pytest.raises(Invalid):
            client.predict(rows, endpoint="flowers")
    with pytest.raises(Invalid, match="cannot be read"):
        client.predict(pd.DataFrame({"a": np.zeros(900)}), endpoint="prices")


def test_unknown_and_silent_endpoints_are_told(client: mlspine.Client) -> None:
    with pytest.raises(NotFound, match="nothing answers"):
        client.predict([ROW], endpoint="mixd")
    with pytest.raises(NotFound, match="nothing answers"):
        client.predict(np.zeros((500, 4)), endpoint="flower")
    with (
        mlspine.Client(client.url, endpoint="silent", retries=0) as asked,
        pytest.raises(Unavailable, match="cannot answer"),
    ):
        asked.predict([ROW])


def test_it_needs_neither_a_server_nor_tables_libraries() -> None:
    unwanted = ("scipy", "duckdb", "starlette", "uvicorn", "pandas", "polars", "pyarrow", "sklearn", "jinja2")
    code = f"import mlspine, sys; mlspine.Client; print(*[m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
