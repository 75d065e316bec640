"""The least a server can do: an ASGI app that answers a tracking client at once and keeps nothing.

    python -m benchmarks.tracking.echo PORT

What a client measures against it is what the client itself, HTTP and uvicorn cost. Settings are those of our control.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import parse_qs

import uvicorn

POINTS, PAGE, SAMPLED = 100_000, 25_000, "max_results"
INFO = {
    "run_id": "0" * 32,
    "run_uuid": "0" * 32,
    "run_name": "echo",
    "experiment_id": "0",
    "user_id": "echo",
    "status": "RUNNING",
    "start_time": 1,
    "artifact_uri": "mlflow-artifacts:/0/" + "0" * 32 + "/artifacts",
    "lifecycle_stage": "active",
}


def found_run(number: int) -> dict[str, Any]:
    """A run of the size that the filled stores hold."""
    metrics = [{"key": f"m{i}", "value": 0.123456789, "timestamp": 1, "step": 19, "run_id": "0" * 32} for i in range(5)]
    params = [{"key": f"p{i}", "value": str(i)} for i in range(5)]
    tags = [{"key": key, "value": "echo"} for key in ("mlflow.runName", "mlflow.user", "mlflow.source.name")]
    info = {**INFO, "run_id": f"{number:032x}", "run_uuid": f"{number:032x}"}
    return {"info": info, "data": {"metrics": metrics, "params": params, "tags": tags}}


def history_page(number: int) -> bytes:
    """One page of a long history."""
    first = number * PAGE
    metrics = [
        {"key": "loss", "value": 1.0 / (step + 1), "timestamp": step, "step": step}
        for step in range(first, first + PAGE)
    ]
    rest = {"next_page_token": str(number + 1)} if first + PAGE < POINTS else {}
    return json.dumps({"metrics": metrics, **rest}).encode()


def sampled_points(count: int) -> bytes:
    run = INFO["run_id"]
    steps = range(0, POINTS, -(-POINTS // count))
    metrics = [{"key": "loss", "value": 1.0 / (s + 1), "timestamp": s, "step": s, "run_id": run} for s in steps]
    return json.dumps({"metrics": metrics}).encode()


class Echo:
    """Ready answers by the end of the path; `{}` for everything else."""

    def __init__(self) -> None:
        run = json.dumps({"run": {"info": INFO, "data": {}}}).encode()
        self._answers = {
            "/health": b"OK",
            "/version": b"3.18.0",
            "/runs/create": run,
            "/runs/get": run,
            "/runs/search": json.dumps({"runs": [found_run(i) for i in range(100)]}).encode(),
        }
        self._history = [history_page(number) for number in range(POINTS // PAGE)]
        self._sampled = {count: sampled_points(count) for count in (320, 2500)}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        body = self._answer(scope["path"], scope["query_string"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, query: bytes) -> bytes:
        if path.endswith("/metrics/get-history"):
            return self._history[int(parse_qs(query).get(b"page_token", [b"0"])[0])]
        if path.endswith("/metrics/get-history-bulk-interval"):
            return self._sampled[int(parse_qs(query)[SAMPLED.encode()][0])]
        for end, body in self._answers.items():
            if path.endswith(end):
                return body
        return b"{}"


def main() -> None:
    uvicorn.run(Echo(), host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
