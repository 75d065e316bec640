"""Releases are MLflow model directories, read where mlspine cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mlspine.core.columns import to_columns
from mlspine.registry.prepare import prepare
from mlspine.registry.release_loader import restore
from tests.unit.core.test_columns import PANDAS, POLARS
from tests.unit.registry.conftest import people, pipeline

READER = """
import json, sys, warnings

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mlspine":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import mlflow.pyfunc, mlflow.sklearn, mlflow.lightgbm, numpy as np, pandas as pd

told = {}
for case in json.load(open("cases.json")):
    rows = np.load(case["rows"]) if case["rows"].endswith(".npy") else pd.read_pickle(case["rows"])
    model = mlflow.pyfunc.load_model(case["path"])
    told[case["name"]] = {"pyfunc": [str(each) for each in model.predict(rows)]}
    for flavor in case["flavors"]:
        own = getattr(mlflow, flavor).load_model(case["path"])
        told[case["name"]][flavor] = [str(each) for each in own.predict(rows)]
json.dump(told, open("told.json", "w"))
assert not [name for name in sys.modules if name.partition(".")[0] == "mlspine"]
"""

X, Y = people(120)
NUMERIC = X[["charge", "visits"]].astype("float64")


class Threshold:
    """A model of one's own, defined beside the test."""

    def predict(self, rows: pd.DataFrame) -> Any:
        return np.where(rows["charge"] > 60, "left", "stayed")


def _cases() -> dict[str, tuple[Any, Any, Any, dict[str, Any], list[str]]]:
    flags = (Y == "left").astype(int)
    scaler = StandardScaler().fit(NUMERIC)
    booster = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(X[["plan", "charge"]], flags), 5)
    return {
        "frame": (pipeline().fit(X, Y), X, Y, {}, ["sklearn"]),
        "matrix": (LogisticRegression().fit(NUMERIC.to_numpy(), Y), NUMERIC.to_numpy(), Y, {}, ["sklearn"]),
        "transform": (
            LogisticRegression().fit(scaler.transform(NUMERIC), Y),
            NUMERIC,
            Y,
            {"transform": scaler.transform},
            [],
        ),
        "own class": (Threshold(), X, Y, {}, []),
        "lightgbm": (
            lgb.LGBMClassifier(n_estimators=5, verbose=-1).fit(NUMERIC, Y),
            NUMERIC,
            Y,
            {},
            ["lightgbm"],
        ),
        "booster": (booster, X[["plan", "charge"]], flags, {}, []),
    }


@pytest.mark.slow
def test_mlflow_reads_releases_without_mlspine(tmp_path: Path) -> None:
    cases, wanted = [], {}
    for name, (model, rows, labels, more, flavors) in _cases().items():
        prepared = prepare(model, rows, labels, name="m", releases_dir=tmp_path / "releases", **more)
        file = tmp_path / f"{name}.{'npy' if isinstance(rows, np.ndarray) else 'pkl'}"
        np.save(file, rows) if isinstance(rows, np.ndarray) else rows.to_pickle(file)
        path = str(tmp_path / "releases" / prepared.release_hash)
        cases.append({"name": name, "path": path, "rows": str(file), "flavors": flavors})
        taken = more["transform"](rows) if more else rows
        answers = model.predict(taken)
        answers = (answers > 0.5).astype(int) if name == "booster" else answers
        wanted[name] = {reader: [str(each) for each in answers] for reader in ("pyfunc", *flavors)}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run([sys.executable, "-c", READER], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "told.json").read_text()) == wanted


# ---------------------------------------------------------------- the loader by itself


def _inputs(data: Any) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(to_columns(data)[1]))
    return described


@pytest.mark.parametrize("name", PANDAS)
def test_a_pandas_column_is_restored_from_itself(name: str) -> None:
    frame = pd.DataFrame({name: PANDAS[name]})
    pd.testing.assert_frame_equal(restore(frame, _inputs(frame)), frame)


def test_a_frame_that_lost_its_types_gets_them_back() -> None:
    frame = X.copy()
    plain = pd.DataFrame(json.loads(frame.to_json(orient="records", date_format="iso")))
    pd.testing.assert_frame_equal(restore(plain, _inputs(frame)), frame)


# Not "floats with nan": pandas, which MLflow hands over, has one spelling for NaN and null.
@pytest.mark.parametrize("name", sorted(set(POLARS) - {"floats with nan"}))
def test_a_polars_column_is_restored(name: str) -> None:
    frame = pl.DataFrame({name: POLARS[name]})
    assert restore(frame.to_pandas(), _inputs(frame)).equals(frame)


def test_other_containers_are_restored() -> None:
    table = pa.table({"a": [1, None], "t": ["x", "y"], "d": pa.array(["u", "v"]).dictionary_encode()})
    assert restore(table.to_pandas(), _inputs(table)).equals(table)
    records = [{"a": 1, "t": "x"}, {"a": None, "t": "y"}]
    assert restore(pd.DataFrame(records), _inputs(records)) == records
    structured = np.array([(1, 2.5)], dtype=[("n", "i4"), ("f", "f4")])
    assert restore(pd.DataFrame(structured), _inputs(structured)) == structured
    assert restore(pd.DataFrame({"x0": ["a", "b"]}), _inputs(["a", "b"])) == ["a", "b"]
    matrix = np.array([[1.0, 2.0]], dtype="float32")
    assert restore(matrix, _inputs(matrix)).dtype == np.float32
    numbered = pd.DataFrame(np.zeros((1, 2)))
    assert restore(numbered, _inputs(numbered)).columns.tolist() == [0, 1]
