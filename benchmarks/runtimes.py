"""What one row costs by each runtime, alone and in company: python -m benchmarks.runtimes

Microseconds per row for calls of 1, 8 and 64 rotating rows of 30 columns: the least of many short windows.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from mlspine.core.columns import to_columns
from mlspine.core.types import Release
from mlspine.registry.flavors import Predictor
from mlspine.registry.release import flavor_of, load_predictor
from mlspine.serving import choosing, runtime
from mlspine.serving.runtimes import converting
from mlspine.serving.runtimes.onnx_release import onnx_predictor
from tests.serving_harness import make_release

ROWS, COLUMNS, FITTED = 6000, 30, 3000
SIZES = (1, 8, 64)
MEASURED_FOR_S, WINDOW_S = 1.0, 0.01


def models() -> Iterator[tuple[str, Any]]:
    import lightgbm
    import xgboost
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    yield "LightGBM, 100 trees", lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, n_jobs=1)
    yield "XGBoost, 100 trees", xgboost.XGBClassifier(n_estimators=100, n_jobs=1)
    yield "scaler, logistic regression", make_pipeline(StandardScaler(), LogisticRegression())
    yield "random forest, 100 trees", RandomForestClassifier(100, max_depth=8, random_state=0)
    yield "histogram boosting, 100 trees", HistGradientBoostingClassifier(max_iter=100)
    yield "neural network, 2 x 128", MLPClassifier((128, 128), max_iter=20)


def forms(path: Path, release: Release) -> Iterator[tuple[str, Predictor]]:
    yield "frame", load_predictor(path, release, form="frame")
    for form in choosing.NATIVE_FORMS[release.settings["flavor"]]:
        yield form, choosing.load_form(path, release, form)
    for precision, data in converting.convert(path, release).models.items():
        try:
            yield f"onnx {precision}", onnx_predictor(data, flavor_of(release), release.signature.inputs)
        except Exception as exc:  # noqa: BLE001 (some graphs in double cannot be loaded)
            print(f"  onnx {precision}: {str(exc)[:100]}")


def per_row_us(predict: Predictor, rows: pd.DataFrame, size: int) -> float:
    call: Callable[[Any], Any] = getattr(predict, "from_matrix", predict)
    parts: list[Any] = []
    for start in range(0, min(len(rows), 200 * size), size):
        part = rows.iloc[start : start + size]
        parts.append(np.ascontiguousarray(part) if call is not predict else to_columns(part)[0])
    for part in parts[:3]:
        call(part)
    best, at, began = np.inf, 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_FOR_S:
        calls, window = 0, time.perf_counter()
        while (spent := time.perf_counter() - window) < WINDOW_S:
            call(parts[at % len(parts)])
            calls, at = calls + 1, at + 1
        best = min(best, spent / max(calls, 1))
    return float(best * 1e6 / size)


def main() -> None:
    warnings.simplefilter("ignore")
    X, y = make_classification(ROWS, COLUMNS, n_informative=10, random_state=0)
    frame = pd.DataFrame(X, columns=[f"x{at}" for at in range(COLUMNS)])
    print(f"| model | runs as | {' | '.join(f'{size} rows' for size in SIZES)} |")
    for name, model in models():
        model.fit(frame[:FITTED], y[:FITTED])
        with tempfile.TemporaryDirectory() as folder:
            planned = make_release(Path(folder), model, frame[:FITTED], y[:FITTED], placement="auto", runtime="auto")
            _, proof = runtime.load(planned)
            for form, predict in forms(Path(planned.path), runtime.read(planned)):
                told = " | ".join(f"{per_row_us(predict, frame, size):.1f}" for size in SIZES)
                print(f"| {name} | {form}{' *' if form == proof.form else ''} | {told} |", flush=True)


if __name__ == "__main__":
    main()
