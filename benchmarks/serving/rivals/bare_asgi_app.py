"""What ASGI itself allows: a bare app on uvicorn (uvloop, httptools), one model call for the requests of a loop turn.

`python bare_asgi_app.py FOLDER PORT lightgbm|onnx`: no checks, no log, no metrics.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import numpy as np
import uvicorn
from booster import load, names


def make_app(folder: str, runtime: str) -> Any:
    score = load(folder, runtime)
    decode = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float) for name in names(folder)])).decode
    values = msgspec.structs.astuple
    waiting: list[tuple[Any, asyncio.Future[float]]] = []

    def answer() -> None:
        taken = waiting[:]
        waiting.clear()
        for (_, future), found in zip(taken, score(np.array([row for row, _ in taken])).tolist(), strict=True):
            future.set_result(found)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[float] = loop.create_future()
        if not waiting:
            loop.call_soon(answer)
        waiting.append((values(decode(body)), future))
        found = await future
        said = b'{"prediction":%d,"score":%r}' % (found > 0.5, found)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[1], sys.argv[3]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
