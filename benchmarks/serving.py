"""Single rows over HTTP: mlspine with recording on, against the same model behind hand-written FastAPI.

    python -m benchmarks.serving [--requests 40000] [--runs 5] [--write]

LightGBM, 100 trees, 30 features; 64 connections; rows rotate; one server process each; runs alternate;
medians. Client and server share the machine, so read the ratio rather than the absolute figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pandas as pd

from mlspine.predictions.spool import read_frames, spool_files
from tests.serving_harness import endpoint, free_port, inference, make_release

ROWS, FEATURES, BODIES = 20_000, 30, 1_000
KEYS = ("per_s", "p50_ms", "p99_ms", "cpu_us")
RESULT = Path(__file__).parent / "results" / "serving.txt"
SERVERS = ("mlspine, recording on", "FastAPI, async def")
PACKAGES = ("lightgbm", "uvicorn", "uvloop", "httptools", "msgspec", "fastapi", "pydantic", "numpy")


def fitted() -> tuple[lightgbm.LGBMClassifier, pd.DataFrame]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, FEATURES)), columns=[f"f{i}" for i in range(FEATURES)])
    y = (X["f0"] * X["f1"] + X["f2"] + rng.normal(size=ROWS) > 0).astype(int)
    return lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, n_jobs=1).fit(X, y), X


@contextlib.contextmanager
def fastapi_server(model: lightgbm.LGBMClassifier, folder: Path) -> Iterator[Server]:
    file, port = folder / "model.txt", free_port()
    model.booster_.save_model(str(file))
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.fastapi_server", str(file), str(port)])
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield Server(port, "/predict", process.pid)
    finally:
        process.terminate()
        process.wait()


class Server(NamedTuple):
    """Where a server answers, and its process."""

    port: int
    path: str
    pid: int


def run_load(server: Server, bodies: Path, requests: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port), "--path", server.path]
    command += ["--bodies", str(bodies), "--requests", str(requests)]
    before_s = cpu_s(server.pid)
    done = subprocess.run(command, check=True, capture_output=True)
    result: dict[str, float] = json.loads(done.stdout)
    if result["failed"]:
        raise RuntimeError(f"{result['failed']} requests to {server.path} failed")
    return result | {"cpu_us": (cpu_s(server.pid) - before_s) / requests * 1e6}


def cpu_s(pid: int) -> float:
    """Processor time of a process so far: it hardly minds what else the machine does, unlike req/s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(requests: int, runs: int) -> str:
    model, X = fitted()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        rows = [row.to_dict() for _, row in X.head(BODIES).iterrows()]
        bodies = {name: folder / f"{i}.jsonl" for i, name in enumerate(SERVERS)}
        bodies[SERVERS[0]].write_text("\n".join(json.dumps({"rows": [row]}) for row in rows))
        bodies[SERVERS[1]].write_text("\n".join(json.dumps(row) for row in rows))
        release = make_release(folder, model, X.head(500))
        with inference(folder, endpoint("bench", release)) as ours, fastapi_server(model, folder) as theirs:
            servers = {
                SERVERS[0]: Server(ours.port, "/endpoints/bench/predict", ours.process.pid),
                SERVERS[1]: theirs,
            }
            for name, server in servers.items():
                run_load(server, bodies[name], 2_000)
            for _ in range(runs):
                for name, server in servers.items():
                    results[name].append(run_load(server, bodies[name], requests))
            state = ours.command("observe")
            ours.command("flush")
            frames = [frame for file in spool_files(folder / "run" / "spool") for frame in read_frames(file)]
            logged = sum(batch.rows for frame in frames for batch in frame.batches)
    return report(results, requests, runs, state, logged)


def report(results: dict[str, list[dict[str, float]]], requests: int, runs: int, state: Any, logged: int) -> str:
    medians = {
        name: {key: statistics.median(each[key] for each in found) for key in KEYS} for name, found in results.items()
    }
    ours, theirs = (medians[name] for name in SERVERS)
    counters = state["endpoints"]["bench"]
    lines = [
        "Single rows over HTTP, 64 connections, one server process each, LightGBM 100 trees x 30 features",
        f"machine   {machine()}",
        f"versions  Python {platform.python_version()}, "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        f"runs      {runs} x {requests:,} requests each, alternating, client on the same machine; medians",
        "",
        f"{'server':<24}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU us/req':>12}   all runs, req/s",
    ]
    for name, found in results.items():
        each = medians[name]
        runs_text = " ".join(f"{one['per_s']:,.0f}" for one in found)
        figures = f"{each['per_s']:>10,.0f}{each['p50_ms']:>10.2f}{each['p99_ms']:>10.2f}{each['cpu_us']:>12.1f}"
        lines.append(f"{name:<24}{figures}   {runs_text}")
    lines += [
        "",
        f"ratio     {ours['per_s'] / theirs['per_s']:.2f} times the requests per second, "
        f"{theirs['cpu_us'] / ours['cpu_us']:.2f} times less processor time per request",
        f"recorded  {logged:,} rows in the spool of {counters['requests']:,} answered; "
        f"{counters['rows'] / counters['model_calls']:.1f} rows per model call",
    ]
    return "\n".join(lines)


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = found[0].partition(":")[2].strip() if found else model
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.machine()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULT.name}")
    options = parser.parse_args()
    text = measure(options.requests, options.runs)
    print(text)
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
