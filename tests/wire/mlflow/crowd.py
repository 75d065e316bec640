"""Several real clients of one server, as threads of this process: `python crowd.py URL THREADS SECONDS NAME`.

Begins when a line comes on stdin, so that several of these begin together. Prints what was acknowledged as JSON.
Plain MLflow, nothing of ours: it runs in the environment of the client.
"""

import json
import sys
import threading
import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

BATCH = 20


def work(client, name, until, told, failed):
    experiment = "0"
    try:
        turn = 0
        while time.monotonic() < until:
            run = client.create_run(experiment, run_name=f"{name}-{turn}").info.run_id
            seen = told[run] = {"points": 0, "params": [], "tags": [], "ended": False}
            client.log_param(run, "lr", name)
            seen["params"].append("lr")
            for batch in range(3):
                steps = range(batch * BATCH, (batch + 1) * BATCH)
                points = [Metric("loss", step / 7, step, step) for step in steps]
                client.log_batch(run, points, [Param(f"p{batch}", name)], [RunTag(f"t{batch}", name)])
                seen["points"] += BATCH
                seen["params"].append(f"p{batch}")
                seen["tags"].append(f"t{batch}")
            for step in range(3 * BATCH, 3 * BATCH + 5):
                client.log_metric(run, "loss", step / 7, timestamp=step, step=step)
                seen["points"] += 1
            client.set_terminated(run)
            seen["ended"] = True
            turn += 1
    except Exception as exc:
        failed.append(f"{name}: {exc!r}")


def main(url, threads, seconds, name):
    told, failed = {}, []
    client = MlflowClient(url)
    client.search_experiments(max_results=1)  # what a client asks for once
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + float(seconds)
    crowd = [
        threading.Thread(target=work, args=(MlflowClient(url), f"{name}-{n}", until, told, failed))
        for n in range(int(threads))
    ]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    print(json.dumps({"told": told, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
