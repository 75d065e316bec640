"""Ray Serve, one replica, with its batching; its node on loopback. `python ray_app.py FOLDER PORT RUNTIME-WAIT_S`"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request


def application(folder: str, here: str, runtime: str, wait_s: float) -> Any:
    @serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
    class Model:
        def __init__(self) -> None:
            sys.path.insert(0, here)
            from booster import load, names

            self.columns, self.score = names(folder), load(folder, runtime)

        @serve.batch(max_batch_size=64, batch_wait_timeout_s=wait_s)
        async def scores(self, rows: list[Any]) -> list[float]:
            return self.score(np.array(rows)).tolist()  # type: ignore[no-any-return]

        async def __call__(self, request: Request) -> dict[str, Any]:
            row = await request.json()
            found = await self.scores([row[name] for name in self.columns])
            return {"prediction": int(found > 0.5), "score": found}

    return Model.bind()


if __name__ == "__main__":
    from pathlib import Path

    runtime, _, wait = sys.argv[3].partition("-")
    ray.init(
        num_cpus=2,
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200 * 1024 * 1024,
        _temp_dir=f"/tmp/ray-{sys.argv[2]}",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    here = str(Path(__file__).parent)
    serve.run(application(sys.argv[1], here, runtime, float(wait)), name="bench", route_prefix="/predict")
    threading.Event().wait()
