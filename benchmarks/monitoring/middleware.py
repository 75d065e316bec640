"""What the middleware costs a FastAPI app: requests per second with and without it, interleaved, with intervals.

    python benchmarks/monitoring/middleware.py --rounds 10 --seconds 4

Both apps run under uvicorn, one process each, on this machine, and answer the same model-free arithmetic, so that the
share of the middleware is as large as it can be. One keep-alive client per app sends one row after the other; rounds
alternate in random order. The ratio is per round, its interval a bootstrap over rounds. At the end every row that was
answered must be in the spool: a middleware that is fast because it drops would be none.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

APP = """
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
if {monitored}:
    from mlspine.middleware import Monitor
    app.add_middleware(Monitor, endpoint="m", path="/predict", workspace="{workspace}")

class Row(BaseModel):
    a: float
    b: float
    c: float
    d: float
    e: str

@app.post("/predict")
async def predict(row: Row) -> dict:
    score = 1 / (1 + abs(row.a + row.b - row.c * row.d))
    return {{"prediction": int(score > 0.5), "score": score}}
"""
ROW = json.dumps({"a": 1.5, "b": 2.5, "c": 0.5, "d": 1.0, "e": "de"})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        _watch(folder)
        servers = {name: _serve(folder, name) for name in ("plain", "monitored")}
        try:
            told = _measure(folder, servers, given.rounds, given.seconds)
        finally:
            for server, _ in servers.values():
                server.send_signal(signal.SIGTERM)
                server.wait(30)
        told["kept"] = _kept(folder)
    lines = _report(told, given.rounds, given.seconds)
    print("\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


def _watch(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({name: rng.normal(size=2000) for name in "abcd"})
    rows = rows.assign(e=rng.choice(["de", "fr"], 2000), prediction=rng.integers(0, 2, 2000), score=rng.random(2000))
    rows.to_parquet(folder / "train.parquet")
    words = [sys.executable, "-m", "mlspine", "watch", "m", "--reference", "train.parquet"]
    env = {**os.environ, "MLSPINE_WORKSPACE": str(folder / ".mlspine")}
    subprocess.run(words, cwd=folder, env=env, check=True, capture_output=True)
    # The control process writes this file; here nothing of it runs beside what is measured.
    assert (folder / ".mlspine" / "run" / "watched" / "m.json").is_file()


def _serve(folder: Path, name: str) -> tuple[subprocess.Popen[bytes], int]:
    module = f"app_{name}"
    (folder / f"{module}.py").write_text(APP.format(monitored=name == "monitored", workspace=folder / ".mlspine"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(words, cwd=folder)
    for _ in range(300):
        try:
            _asked(port, 0.01)
            return server, port
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{name} does not answer")


def _asked(port: int, seconds: float) -> tuple[int, list[float]]:
    """Requests answered within that time, and how long each took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json"}
    took, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        connection.request("POST", "/predict", ROW, headers)
        reply = connection.getresponse()
        body = reply.read()
        assert reply.status == 200, body
        took.append(time.perf_counter() - began)
    connection.close()
    return len(took), took


def _measure(
    folder: Path, servers: dict[str, tuple[subprocess.Popen[bytes], int]], rounds: int, seconds: float
) -> dict[str, object]:
    rng = np.random.default_rng(1)
    for _, port in servers.values():
        _asked(port, 1.0)
    before = _kept(folder)
    rates: dict[str, list[float]] = {"plain": [], "monitored": []}
    median: dict[str, list[float]] = {"plain": [], "monitored": []}
    cpu_us: dict[str, list[float]] = {"plain": [], "monitored": []}
    answered = 0
    for _ in range(rounds):
        for name in rng.permutation(list(rates)).tolist():
            server, port = servers[name]
            spent_s = _cpu_s(server.pid)
            count, took = _asked(port, seconds)
            cpu_us[name].append((_cpu_s(server.pid) - spent_s) / count * 1e6)
            rates[name].append(count / seconds)
            median[name].append(float(np.median(took)))
            answered += count if name == "monitored" else 0
    deadline = time.monotonic() + 20
    while _kept(folder) - before < answered and time.monotonic() < deadline:
        time.sleep(0.25)
    return {
        "rates": rates,
        "median": median,
        "cpu_us": cpu_us,
        "answered": answered,
        "in_spool": _kept(folder) - before,
    }


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far, its threads included: what it costs whatever else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kept(folder: Path) -> int:
    from mlspine.predictions.spool import read_frames, spool_files

    files = spool_files(folder / ".mlspine" / "run" / "spool")
    return sum(batch.rows for file in files for frame in read_frames(file) for batch in frame.batches)


def _report(told: dict[str, object], rounds: int, seconds: float) -> list[str]:
    rates, median, cpu_us = told["rates"], told["median"], told["cpu_us"]
    assert isinstance(rates, dict)
    assert isinstance(median, dict)
    assert isinstance(cpu_us, dict)
    added_cpu_us = np.array(cpu_us["monitored"]) - np.array(cpu_us["plain"])
    ratio = np.array(rates["monitored"]) / np.array(rates["plain"])
    added_us = (np.array(median["monitored"]) - np.array(median["plain"])) * 1e6
    return [
        f"FastAPI with and without the middleware, {rounds} rounds of {seconds:g} s, one client, one row a request",
        *(f"{name:<10} {_rate(rates[name], median[name])}" for name in ("plain", "monitored")),
        f"ratio of throughput {_with_interval(ratio, '.3f')}",
        f"added to the median request {_with_interval(added_us, '.0f')} us",
        f"CPU per request {np.mean(cpu_us['plain']):.0f} us, added {_with_interval(added_cpu_us, '.0f')} us",
        f"load of the machine meanwhile {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores",
        f"rows answered {told['answered']:,}, in the spool {told['in_spool']:,}",
    ]


def _rate(rates: list[float], median: list[float]) -> str:
    return f"{np.mean(rates):8,.0f} requests/s, median {np.mean(median) * 1e6:6.0f} us"


def _with_interval(values: np.ndarray, spec: str) -> str:
    rng = np.random.default_rng(2)
    means = [rng.choice(values, len(values)).mean() for _ in range(2000)]
    lo, hi = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():{spec}} [{lo:{spec}}, {hi:{spec}}]"


if __name__ == "__main__":
    main()
