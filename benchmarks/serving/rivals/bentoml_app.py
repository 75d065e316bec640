"""BentoML with its adaptive batching. `python bentoml_app.py FOLDER PORT RUNTIME-MAX_LATENCY_MS`"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("BENTOML_HOME", os.path.join(os.environ.get("BENCH_FOLDER", "."), "bentoml"))
sys.path.insert(0, str(Path(__file__).parent))

import bentoml
import numpy as np
from booster import load

FOLDER, RUNTIME, LATENCY_MS = (os.environ.get(f"BENCH_{name}", "") for name in ("FOLDER", "RUNTIME", "LATENCY_MS"))


if FOLDER:

    @bentoml.service(workers=1, traffic={"timeout": 30})
    class Model:
        def __init__(self) -> None:
            self.score = load(FOLDER, RUNTIME)

        @bentoml.api(batchable=True, batch_dim=(0, 0), max_batch_size=64, max_latency_ms=int(LATENCY_MS))
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return np.asarray(self.score(rows))


if __name__ == "__main__":
    runtime, _, latency_ms = sys.argv[3].partition("-")
    told = {"BENCH_FOLDER": sys.argv[1], "BENCH_RUNTIME": runtime, "BENCH_LATENCY_MS": latency_ms}
    home = {"BENTOML_HOME": os.path.join(sys.argv[1], "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    program = os.path.join(os.path.dirname(sys.executable), "bentoml")
    words = [program, "serve", f"{Path(__file__).stem}:Model", "--host", "127.0.0.1", "--port", sys.argv[2]]
    words += ["--working-dir", str(Path(__file__).parent)]
    os.execve(program, words, os.environ | told | home)
