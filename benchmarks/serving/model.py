"""The model everybody serves, the rows everybody is asked, and the answers that are right."""

from __future__ import annotations

import contextlib
import json
import subprocess
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pandas as pd

ROWS, FEATURES, BODIES = 20_000, 30, 1_000
MANY_BODIES, MANY_ROWS = 50, 100
TOLERANCE = 1e-4  # of a score: ONNX Runtime and binary tensors of 32 bits round

TO_ONNX = """
import sys, lightgbm
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
booster = lightgbm.Booster(model_file=sys.argv[1] + "/model.txt")
kind = FloatTensorType([None, booster.num_feature()])
made = convert_lightgbm(booster, initial_types=[("x", kind)], zipmap=False, target_opset=15)
open(sys.argv[1] + "/model.onnx", "wb").write(made.SerializeToString())
"""


class Tree(NamedTuple):
    """LightGBM, 100 trees, 30 distinct features; `rows` are asked in turn and `scores` are right for them."""

    classifier: lightgbm.LGBMClassifier
    train: pd.DataFrame
    labels: pd.Series
    rows: list[dict[str, float]]
    scores: list[float]


def tree() -> Tree:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, FEATURES)).round(6), columns=[f"f{i}" for i in range(FEATURES)])
    y = (X["f0"] * X["f1"] + X["f2"] + rng.normal(size=ROWS) > 0).astype(int)
    classifier = lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, n_jobs=1).fit(X, y)
    asked = X.head(BODIES)
    rows = [dict(zip(X.columns, values, strict=True)) for values in asked.to_numpy().tolist()]
    return Tree(classifier, X, y, rows, classifier.booster_.predict(asked, num_threads=1).tolist())


def write_for_rivals(made: Tree, folder: Path, python_with_onnx: Path) -> None:
    """model.txt, model.onnx and features.txt, which the rivals' scripts read."""
    made.classifier.booster_.save_model(str(folder / "model.txt"))
    (folder / "features.txt").write_text("\n".join(made.train.columns))
    subprocess.run([str(python_with_onnx), "-W", "ignore", "-c", TO_ONNX, str(folder)], check=True, capture_output=True)


class Body(NamedTuple):
    """One request's body, its headers, and the scores its answer must hold."""

    data: bytes
    scores: list[float]
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def single(made: Tree, form: str) -> list[Body]:
    """One row per request, as each wire spells it."""
    return [Body(_spelled(form, row), [score]) for row, score in zip(made.rows, made.scores, strict=True)]


def _spelled(form: str, row: dict[str, float]) -> bytes:
    values = list(row.values())
    said: dict[str, Any]
    if form == "row":
        return json.dumps(row).encode()
    if form == "rows":
        said = {"rows": [row]}
    elif form == "list":  # BentoML's argument
        said = {"rows": [values]}
    elif form == "v2":
        said = {"inputs": [{"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": values}]}
    else:
        said = {"dataframe_split": {"columns": list(row), "data": [values]}}
    return json.dumps(said).encode()


def many(made: Tree, *, binary: bool) -> list[Body]:
    """A hundred rows per request: JSON rows, or one v2 binary tensor of 64-bit numbers for all columns."""
    found = []
    for at in range(MANY_BODIES):
        picked = [(at * 7 + i * 13) % BODIES for i in range(MANY_ROWS)]
        rows, scores = [made.rows[i] for i in picked], [made.scores[i] for i in picked]
        found.append(_binary(rows, scores) if binary else Body(json.dumps({"rows": rows}).encode(), scores))
    return found


def _binary(rows: list[dict[str, float]], scores: list[float]) -> Body:
    raw = np.array([list(row.values()) for row in rows], dtype="<f8").tobytes()
    tensor = {
        "name": "input",
        "shape": [MANY_ROWS, FEATURES],
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(raw)},
    }
    wanted = {"name": "predict_proba", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )
    return Body(head + raw, scores, headers)


def scores_in(answer: bytes, header_bytes: int = 0) -> list[float]:
    """The scores in an answer of any of the servers; raises ValueError when it holds none.

    header_bytes: length of the JSON before binary tensors, 0 without.

    >>> scores_in(b'{"predictions": [{"prediction": 1, "score": 0.75}]}'), scores_in(b'{"score": 0.25}')
    ([0.75], [0.25])
    """
    if header_bytes:
        return np.frombuffer(answer[header_bytes:], dtype="<f8").reshape(-1, 2)[:, 1].tolist()  # type: ignore[no-any-return]
    said = json.loads(answer)
    if isinstance(said, list):
        return [float(each) for each in said]
    if "score" in said:
        return [said["score"]]
    if "predictions" in said:
        return [each["score"] if isinstance(each, dict) else float(each) for each in said["predictions"]]
    if "outputs" in said:
        named = {each["name"]: each["data"] for each in said["outputs"]}
        data = named.get("predict_proba") or named.get("scores") or next(iter(named.values()))
        flat = np.asarray(data, dtype=float).ravel()
        return (flat.reshape(-1, 2)[:, 1] if "predict_proba" in named else flat).tolist()
    raise ValueError(f"no score in {answer[:200]!r}")


class Neural(NamedTuple):
    """A multi-layer perceptron on the same columns."""

    classifier: Any
    train: pd.DataFrame
    labels: pd.Series
    rows: list[dict[str, float]]
    scores: list[float]


def neural(made: Tree, width: int) -> Neural:
    """Two hidden layers of `width`, fitted for one pass: its speed is measured, not its skill."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier((width, width), max_iter=1, random_state=0)
    with warnings.catch_warnings(), contextlib.suppress(UserWarning):
        warnings.simplefilter("ignore")
        classifier.fit(made.train.head(4_000), made.labels.head(4_000))
    asked = made.train.head(BODIES)
    return Neural(classifier, made.train, made.labels, made.rows, classifier.predict_proba(asked)[:, 1].tolist())
