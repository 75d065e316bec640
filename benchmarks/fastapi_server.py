"""What people write by hand: FastAPI, a pydantic model of the row, the model called in an `async def`.

`python -m benchmarks.fastapi_server MODEL_FILE PORT`. To be fair to it, the native LightGBM booster is called
on one thread, which costs a third of the scikit-learn wrapper, and uvicorn runs uvloop and httptools without
access log.
"""

from __future__ import annotations

import sys
from typing import Any

import lightgbm
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import create_model


def make_app(model_file: str) -> FastAPI:
    booster = lightgbm.Booster(model_file=model_file)
    names = booster.feature_name()
    fields: dict[str, Any] = dict.fromkeys(names, (float, ...))
    row_type = create_model("Row", **fields)
    app = FastAPI()

    async def predict(row):  # type: ignore[no-untyped-def]
        values = np.array([[getattr(row, name) for name in names]])
        score = float(booster.predict(values, num_threads=1)[0])
        return {"prediction": int(score > 0.5), "score": score}

    predict.__annotations__ = {"row": row_type}
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
