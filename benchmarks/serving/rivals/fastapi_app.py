"""What people write by hand: FastAPI, a pydantic model of the row, the model called in the handler.

`python fastapi_app.py FOLDER PORT def-lightgbm|def-onnx|async-lightgbm|async-onnx`. To be fair to it, uvicorn runs
uvloop and httptools without access log. `/predict` takes one row, `/predict_rows` several.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import uvicorn
from booster import load, names
from fastapi import FastAPI
from pydantic import create_model


def make_app(folder: str, handler: str, runtime: str) -> FastAPI:
    columns, score = names(folder), load(folder, runtime)
    fields: dict[str, Any] = dict.fromkeys(columns, (float, ...))
    row_type = create_model("Row", **fields)
    rows_type = create_model("Rows", rows=(list[row_type], ...))  # type: ignore[valid-type]
    app = FastAPI()

    def one(row):  # type: ignore[no-untyped-def]
        found = float(score(np.array([[getattr(row, name) for name in columns]]))[0])
        return {"prediction": int(found > 0.5), "score": found}

    def many(rows):  # type: ignore[no-untyped-def]
        found = score(np.array([[getattr(row, name) for name in columns] for row in rows.rows])).tolist()
        return {"predictions": [{"prediction": int(each > 0.5), "score": each} for each in found]}

    async def one_in_loop(row):  # type: ignore[no-untyped-def]
        return one(row)

    async def many_in_loop(rows):  # type: ignore[no-untyped-def]
        return many(rows)

    single, several = (one, many) if handler == "def" else (one_in_loop, many_in_loop)
    single.__annotations__, several.__annotations__ = {"row": row_type}, {"rows": rows_type}
    app.post("/predict")(single)
    app.post("/predict_rows")(several)
    return app


if __name__ == "__main__":
    handler, _, runtime = sys.argv[3].partition("-")
    uvicorn.run(
        make_app(sys.argv[1], handler, runtime),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
