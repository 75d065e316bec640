"""What an endpoint does at three times its capacity: answers in time, refusals at once, and how soon it is well again.

`python -m benchmarks.overload` serves three models one after the other, finds what each can answer with 256 clients
that wait for their answers, then sends three times as much for 10 s whether or not answers come (an open loop over
2,000 connections), then a third of the capacity. Every time is counted from when a request was due. One that finds all
connections waiting for answers is not sent, as by a caller with a pool of its own, and is counted. `--only NAME`,
`--seconds`, `--deadline`; results as JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import pandas as pd

CLIENTS, CONNECTIONS = 256, 2_000
CAPACITY_S, CALM_S = 4.0, 4.0
TICK_S = 0.002
PORT, CONTROL_PORT = 18_411, 18_412

T = TypeVar("T")
Heard = Callable[[int, float, float], None]  # status, when due, when answered


class Spinning:
    """A model that takes as long as it is told; defined here so that it travels by value."""

    def __init__(self, call_ms: float, row_ms: float) -> None:
        self.call_ms, self.row_ms = call_ms, row_ms

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        ends = time.perf_counter() + (self.call_ms + self.row_ms * len(X)) / 1e3
        while time.perf_counter() < ends:
            pass
        values: np.ndarray = X.iloc[:, 0].to_numpy(dtype=float) * 2.0
        return values


MODELS: dict[str, Callable[[], Any]] = {
    "1 ms per row": lambda: Spinning(0.2, 1.0),
    "20 ms per call and 0.2 ms per row": lambda: Spinning(20.0, 0.2),
    "logistic regression": lambda: None,
}


def http_messages(path: str, bodies: list[bytes]) -> list[bytes]:
    """Complete HTTP requests, head and body in one."""
    head = "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [(head % (path, len(body))).encode() + body for body in bodies]


class Connection(asyncio.Protocol):
    """One connection; asks when it is told to and says when the answer is there."""

    def __init__(self, heard: Heard, free: Callable[[Connection], None]) -> None:
        self._heard, self._free = heard, free
        self._received = b""
        self._due_s = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._free(self)

    def ask(self, message: bytes, due_s: float) -> None:
        self._due_s = due_s
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._received.lower().find(b"content-length: ") + 16
        length = int(self._received[start : self._received.find(b"\r", start)])
        if len(self._received) < head + 4 + length:
            return
        status = int(self._received[9:12])
        self._received = b""
        self._heard(status, self._due_s, time.perf_counter())
        self._free(self)


class Answers(NamedTuple):
    """Everything that was heard: statuses, when each was due and when it came."""

    status: list[int]
    due_s: list[float]
    came_s: list[float]

    def hear(self, status: int, due_s: float, came_s: float) -> None:
        self.status.append(status)
        self.due_s.append(due_s)
        self.came_s.append(came_s)


async def capacity(port: int, messages: list[bytes]) -> float:
    """Answers per second to clients that wait for theirs."""
    answers, sent, ends = Answers([], [], []), 0, time.perf_counter() + CAPACITY_S

    def again(connection: Connection) -> None:
        nonlocal sent
        if time.perf_counter() < ends:
            sent += 1
            connection.ask(messages[sent % len(messages)], time.perf_counter())

    loop = asyncio.get_running_loop()
    made = [loop.create_connection(lambda: Connection(answers.hear, again), "127.0.0.1", port) for _ in range(CLIENTS)]
    pairs = await asyncio.gather(*made)
    await asyncio.sleep(CAPACITY_S + 2.0)
    for transport, _ in pairs:
        transport.close()
    came = np.array(answers.came_s)[np.array(answers.status) == 200]
    later = came[came > ends - CAPACITY_S / 2]
    return len(later[later < ends]) / (CAPACITY_S / 2)


async def overload(port: int, messages: list[bytes], per_s: float, seconds: float) -> tuple[Answers, float, int]:
    """Three times `per_s` for so long, then a third of it: what was heard, when the load ended, how much found
    all connections waiting and was not sent."""
    answers, free = Answers([], [], []), deque[Connection]()
    sent = unsent = 0
    loop = asyncio.get_running_loop()
    pairs = []
    for _ in range(0, CONNECTIONS, 100):
        made = [
            loop.create_connection(lambda: Connection(answers.hear, free.append), "127.0.0.1", port) for _ in range(100)
        ]
        pairs += await asyncio.gather(*made)
    began = time.perf_counter()
    ends, due = began + seconds, began
    while (now := time.perf_counter()) < ends + CALM_S:
        while due <= now:
            if free:
                sent += 1
                free.popleft().ask(messages[sent % len(messages)], due)
            else:
                unsent += due < ends
            due += 1.0 / (3.0 * per_s if due < ends else per_s / 3.0)
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(1.0)
    for transport, _ in pairs:
        transport.close()
    return answers, ends, unsent


def told(
    answers: Answers, ends: float, *, unsent: int, per_s: float, seconds: float, deadline_s: float
) -> dict[str, Any]:
    """The figures of one run."""
    status, due_s, came_s = (np.array(each) for each in answers)
    took = came_s - due_s
    good = (status == 200) & (took <= deadline_s)
    during = came_s < ends
    refused = (status == 503) & during
    trouble = came_s[(due_s >= ends) & ((status != 200) | (took > 0.1))]
    return {
        "capacity_per_s": round(per_s),
        "due": round(3 * per_s * seconds),
        "unsent": unsent,
        "goodput_of_capacity": round(float((good & during).sum()) / seconds / per_s, 3),
        "statuses": {str(code): count for code, count in sorted(Counter(status[during].tolist()).items())},
        "late": int(((status == 200) & (took > deadline_s)).sum()),
        "answered_ms": _quantiles(took[(status == 200) & during]),
        "refused_ms": _quantiles(took[refused]),
        "well_after_s": round(float(trouble.max() - ends), 3) if len(trouble) else 0.0,
    }


def _quantiles(seconds: np.ndarray) -> dict[str, float]:
    if not len(seconds):
        return {}
    p50, p99, most = np.quantile(seconds, (0.5, 0.99, 1.0)) * 1e3
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1), "max": round(float(most), 1)}


def ship(model: Any) -> None:
    """Into the workspace of the environment, as "model"."""
    import cloudpickle

    import mlspine

    draw = np.random.default_rng(0)
    X = pd.DataFrame(draw.normal(size=(400, 30)), columns=[f"f{i}" for i in range(30)])
    if model is None:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit(X, X["f0"] > 0)
    else:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
    mlspine.ship(model, X, name="model", owner="bench@example.org")
    bodies = [json.dumps({"rows": [row]}).encode() for row in X.head(200).to_dict("records")]
    (Path(os.environ["MLSPINE_WORKSPACE"]) / "bodies").write_bytes(b"\n".join(bodies))


def run(name: str, *, seconds: float, deadline_s: float, guard: bool) -> dict[str, Any]:
    """Serve one model in a workspace of its own, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MLSPINE_WORKSPACE": f"{folder}/.mlspine", "XDG_STATE_HOME": folder}
        Path(f"{folder}/.mlspine").mkdir()

        def type_line(*words: str) -> None:
            subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)

        mlspine = (sys.executable, "-m", "mlspine")
        type_line(sys.executable, "-m", "benchmarks.overload", "--ship", name)
        try:
            ports = ("--port", str(PORT), "--control-port", str(CONTROL_PORT))
            type_line(*mlspine, "serve", "model", *ports)
            bodies = Path(f"{folder}/.mlspine/bodies").read_bytes().splitlines()
            messages = http_messages("/endpoints/model/predict", bodies)
            per_s = _in_loop(lambda: capacity(PORT, messages))
            if guard:
                type_line(*mlspine, "guards", "model", "--deadline", str(deadline_s))
            answers, ends, unsent = _in_loop(lambda: overload(PORT, messages, per_s, seconds))
            figures = told(answers, ends, unsent=unsent, per_s=per_s, seconds=seconds, deadline_s=deadline_s)
            return {"model": name, "deadline_s": deadline_s, **figures}
        finally:
            type_line(*mlspine, "down")


def _in_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run(work())
    return asyncio.run(work())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--deadline", type=float, default=0.5, help="declared with `mlspine guards`; 0: the default")
    parser.add_argument("--ship", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ship:
        ship(MODELS[options.ship]())
        return
    for name in [options.only] if options.only else MODELS:
        deadline_s = options.deadline or 10.0
        result = run(name, seconds=options.seconds, deadline_s=deadline_s, guard=bool(options.deadline))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
