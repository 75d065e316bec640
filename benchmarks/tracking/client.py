"""The MLflow client under the stopwatch: one question per line on stdin, one line of JSON back.

It runs in a client environment (`ENV/bin/python client.py`), so it imports MLflow and nothing of mlspine. The server
is what MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN name. Times are wall clock and include all the client does.
"""

from __future__ import annotations

import filecmp
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

KEY = "loss"
WARM_UP = 20
MEBIBYTE = 1 << 20
PATIENCE_S = 10.0  # a server that needs seconds for one answer is not asked many times
FORK = multiprocessing.get_context("fork")  # the import of mlflow is paid once for all loggers


def log_metric(*, calls: int, check: bool) -> dict[str, Any]:
    """One client, one point per call."""
    client = MlflowClient()
    run = new_run(client)
    for step in range(WARM_UP):
        client.log_metric(run, KEY, 0.5, step=step)
    times_ms = []
    for step in range(WARM_UP, WARM_UP + calls):
        began = time.perf_counter()
        client.log_metric(run, KEY, 0.5, step=step)
        times_ms.append((time.perf_counter() - began) * 1e3)
    lost = missing(client, run, set(range(WARM_UP + calls))) if check else 0
    return {
        "requests": WARM_UP + calls,
        "median_ms": statistics.median(times_ms),
        "p95_ms": statistics.quantiles(times_ms, n=20)[18],
        "lost": lost,
    }


def loggers(*, count: int, seconds: float, most: int, check: bool) -> dict[str, Any]:
    """`count` processes, each a client with a run of its own, log for `seconds` or `most` points each."""
    client = MlflowClient()
    runs = [new_run(client) for _ in range(count)]
    together = FORK.Barrier(count)
    pipes = [FORK.Pipe(duplex=False) for _ in runs]
    writers = [
        FORK.Process(target=log_until, args=(run, seconds, most, together, sender))
        for run, (_, sender) in zip(runs, pipes, strict=True)
    ]
    for writer in writers:
        writer.start()
    told = [receiver.recv() for receiver, _ in pipes]
    for writer in writers:
        writer.join()
    acknowledged = sum(len(each["steps"]) for each in told)
    spent_s = max(each["ended"] for each in told) - min(each["began"] for each in told)
    lost = sum(missing(client, run, set(each["steps"])) for run, each in zip(runs, told, strict=True)) if check else 0
    return {
        "requests": acknowledged,
        "per_s": acknowledged / spent_s,
        "lost": lost,
        "refused": sum(len(each["errors"]) for each in told),
        "errors": sorted({error for each in told for error in each["errors"]})[:3],
    }


def log_until(run: str, seconds: float, most: int, together: Any, sender: Any) -> None:
    """Log point after point, and tell which steps were acknowledged."""
    client = MlflowClient()
    client.get_run(run)  # the connection stands before the clock starts
    steps, errors = [], []
    together.wait(timeout=120)
    began = time.monotonic()
    for step in range(most):
        try:
            client.log_metric(run, KEY, step / most, step=step)
            steps.append(step)
        except MlflowException as exc:
            errors.append(f"{type(exc).__name__}: {str(exc)[:200]}")
        if time.monotonic() - began > seconds:
            break
    sender.send({"steps": steps, "errors": errors, "began": began, "ended": time.monotonic()})
    sender.close()


def search(*, experiment: str, order_by: list[str], where: str, calls: int) -> dict[str, Any]:
    """One page of 100 runs: with all the client does, and the server's answer alone, unread."""
    client = MlflowClient()

    def page() -> list[str]:
        found = client.search_runs([experiment], filter_string=where, order_by=order_by, max_results=100)
        return [run.info.run_id for run in found]

    body: dict[str, Any] = {"experiment_ids": [experiment], "filter": where, "order_by": order_by, "max_results": 100}
    session = new_session()
    url = f"{mlflow.get_tracking_uri()}/api/2.0/mlflow/runs/search"
    return {
        "ids": page(),
        "median_ms": median_ms(page, calls),
        "answer_ms": median_ms(lambda: session.post(url, json=body, timeout=120).raise_for_status(), calls),
    }


def history(*, run: str, calls: int) -> dict[str, Any]:
    """Every point of one key."""
    client = MlflowClient()
    points = client.get_metric_history(run, KEY)
    return {
        "median_ms": median_ms(lambda: client.get_metric_history(run, KEY), calls),
        "points": len(points),
        "sum_of_steps": sum(point.step for point in points),
    }


def sampled(*, run: str, points: int, calls: int) -> dict[str, Any]:
    """What a chart asks for: at most `points` of one key, parsed."""
    session = new_session()

    def chart() -> list[Any]:
        answer = session.get(
            f"{mlflow.get_tracking_uri()}/api/2.0/mlflow/metrics/get-history-bulk-interval",
            params={"run_ids": run, "metric_key": KEY, "max_results": str(points)},
            timeout=120,
        )
        answer.raise_for_status()
        found: list[Any] = answer.json().get("metrics", [])
        return found

    steps = [int(point.get("step", 0)) for point in chart()]
    return {"median_ms": median_ms(chart, calls), "points": len(steps), "ends": [min(steps), max(steps)]}


def artifact(*, mebibytes: int, calls: int, folder: str) -> dict[str, Any]:
    """A file of fresh random bytes up and down through the server, compared afterwards."""
    client, up_s, down_s = MlflowClient(), [], []
    for _ in range(calls):
        run, source = new_run(client), Path(folder) / "bytes.bin"
        with source.open("wb") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(MEBIBYTE))
        began = time.perf_counter()
        client.log_artifact(run, str(source))
        up_s.append(time.perf_counter() - began)
        target = Path(folder) / "down"
        target.mkdir()
        began = time.perf_counter()
        came = client.download_artifacts(run, source.name, str(target))
        down_s.append(time.perf_counter() - began)
        if not filecmp.cmp(source, came, shallow=False):
            raise RuntimeError("the bytes that came back differ from those that were sent")
        shutil.rmtree(target)
        source.unlink()
    return {"up_s": statistics.median(up_s), "down_s": statistics.median(down_s)}


def versions() -> dict[str, Any]:
    """What this environment holds."""
    return {
        "mlflow": mlflow.__version__,
        "requests": importlib.metadata.version("requests"),
        "python": sys.version.split()[0],
    }


def new_run(client: MlflowClient) -> str:
    found: str = client.create_run("0").info.run_id
    return found


def new_session() -> requests.Session:
    """Plain HTTP with the client's own token."""
    session, token = requests.Session(), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def missing(client: MlflowClient, run: str, steps: set[int]) -> int:
    """How many of these steps the server does not hold."""
    return len(steps - {point.step for point in client.get_metric_history(run, KEY)})


def median_ms(call: Any, calls: int) -> float:
    """The median of so many calls, or of those that fit into PATIENCE_S."""
    times_ms: list[float] = []
    while len(times_ms) < calls and sum(times_ms) < PATIENCE_S * 1e3:
        began = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times_ms)


QUESTIONS = {each.__name__: each for each in (log_metric, loggers, search, history, sampled, artifact, versions)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = QUESTIONS[question.pop("ask")](**question)
        except (MlflowException, requests.RequestException, RuntimeError, OSError) as exc:
            answer = {"error": f"{type(exc).__name__}: {str(exc)[:500]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
