"""Params and metrics: written once, the latest, whole histories, numbers that are none, batches and their limits."""

from __future__ import annotations

import math

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from step import plain, salted, step, unrecorded

T0 = 1_600_000_000_000
NOBODY = "0" * 32


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("metrics"))

    def new(name: str) -> str:
        return client.create_run(experiment, start_time=T0, run_name=name).info.run_id

    params(client, new("params"))
    points(client, new("points"))
    batches(client, new("batches"))
    step("metric of an absent run", client.log_metric, NOBODY, "m", 1.0, timestamp=T0)
    step("param of an absent run", client.log_param, NOBODY, "p", 1)
    step("batch of an absent run", client.log_batch, NOBODY, metrics=[Metric("m", 1.0, T0, 0)])
    step("history of an absent run", client.get_metric_history, NOBODY, "m")
    later(client, new("later"))


def params(client: MlflowClient, run: str) -> None:
    step("param", client.log_param, run, "alpha", 0.1)
    step("param again", client.log_param, run, "alpha", 0.1)
    step("param changed", client.log_param, run, "alpha", 0.2)
    step("param empty", client.log_param, run, "empty", "")
    step("param with a path", client.log_param, run, "model/depth of.tree-1_2:3", "é 日本 'quoted' \"twice\"\n")
    step("param with a bad key", client.log_param, run, "a?b", 1)
    step("param with a path that leads up", client.log_param, run, "../x", 1)
    step("param with no key", client.log_param, run, "", 1)
    step("param with a long key", client.log_param, run, "k" * 250, 1)
    step("param with a longer key", client.log_param, run, "k" * 251, 1)
    step("param long", client.log_param, run, "long", "v" * 6000)
    step("param longer", client.log_param, run, "longer", "v" * 6001)
    step("all params", lambda: {key: len(value) for key, value in client.get_run(run).data.params.items()})


def points(client: MlflowClient, run: str) -> None:
    def log(name: str, key: str, value: float, ms: int, at: int) -> None:
        step(name, client.log_metric, run, key, value, timestamp=T0 + ms, step=at)

    log("metric", "loss", 0.5, 0, 0)
    log("the same point again", "loss", 0.5, 0, 0)
    log("another value at the same step and time", "loss", 0.75, 0, 0)
    log("a smaller value at the same step and time", "loss", 0.25, 0, 0)
    log("a later step", "loss", 0.125, 10, 5)
    log("an earlier step written later", "loss", 9.0, 20, 3)
    log("a negative step", "loss", 7.0, 30, -2)
    log("an earlier time at the last step", "loss", 8.0, 5, 5)
    step("the latest", lambda: client.get_run(run).data.metrics)
    step("the history", client.get_metric_history, run, "loss")
    step("the history of a metric nobody logged", client.get_metric_history, run, "gain")

    for number, value in enumerate((math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 0.1 + 0.2, 2**53 + 2)):
        log(f"the number {value}", f"number {number}", value, 0, 0)
    log("no number first", "mixed", math.nan, 0, 1)
    log("then a number at the same place", "mixed", -5.0, 0, 1)
    log("a number first", "other", -5.0, 0, 1)
    log("then no number at the same place", "other", math.nan, 0, 1)
    log("no number later", "last", 1.0, 0, 1)
    log("no number at a later step", "last", math.nan, 0, 2)
    log("no number twice", "last", math.nan, 0, 2)
    step("all the latest", lambda: client.get_run(run).data.metrics)
    for key in ("number 0", "number 1", "number 2", "mixed", "other", "last"):
        step(f"history of {key}", client.get_metric_history, run, key)
    log("a far step", "far", 1.0, 0, 2**53)
    log("a key with a path", "train/loss:a b.c-d_e", 1.0, 0, 0)
    log("a bad key", "a?b", 1.0, 0, 0)
    log("a long key", "k" * 250, 1.0, 0, 0)
    log("a longer key", "k" * 251, 1.0, 0, 0)
    step("not a number", client.log_metric, run, "text", "abc", timestamp=T0, step=0)
    step("a number as text", client.log_metric, run, "text", "1.5", timestamp=T0, step=0)
    step("whole numbers", client.log_metric, run, "whole", 3, timestamp=T0, step=0)
    step("no time given", lambda: client.log_metric(run, "timed", 1.0))
    step("the time was now", lambda: client.get_metric_history(run, "timed")[0].timestamp > T0)
    step("the run", client.get_run, run)


def batches(client: MlflowClient, run: str) -> None:
    step(
        "batch",
        client.log_batch,
        run,
        metrics=[Metric("m", 1.0, T0, 0), Metric("m", 2.0, T0 + 1, 1), Metric("n", math.nan, T0, 0)],
        params=[Param("p", "1"), Param("q", "two")],
        tags=[RunTag("t", "1"), RunTag("mlflow.runName", "named in a batch")],
    )
    step("after the batch", client.get_run, run)
    step("an empty batch", client.log_batch, run)
    step("the same batch again", client.log_batch, run, metrics=[Metric("m", 1.0, T0, 0)], params=[Param("p", "1")])
    step(
        "a batch that changes a param",
        client.log_batch,
        run,
        metrics=[Metric("lost", 1.0, T0, 0)],
        params=[Param("r", "3"), Param("p", "other")],
        tags=[RunTag("lost", "1")],
    )
    step("nothing of it was kept", client.get_run, run)
    step("one param twice, the same", client.log_batch, run, params=[Param("s", "1"), Param("s", "1")])
    step("one param twice, changed", client.log_batch, run, params=[Param("u", "1"), Param("u", "2")])
    step("one tag twice", client.log_batch, run, tags=[RunTag("twice", "1"), RunTag("twice", "2")])
    step("one point twice", client.log_batch, run, metrics=[Metric("twice", 1.0, T0, 0), Metric("twice", 1.0, T0, 0)])
    step(
        "points out of order",
        client.log_batch,
        run,
        metrics=[Metric("mess", float(n), T0 + n % 3, n % 5) for n in range(12)],
    )
    step("history out of order", client.get_metric_history, run, "mess")
    step(
        "a bad key among good ones",
        client.log_batch,
        run,
        metrics=[Metric("ok", 1.0, T0, 0), Metric("b?d", 1.0, T0, 0)],
    )
    step("1000 points", client.log_batch, run, metrics=[Metric("many", float(n), T0 + n, n) for n in range(1000)])
    step("1001 points", client.log_batch, run, metrics=[Metric("more", float(n), T0 + n, n) for n in range(1001)])
    step("100 params", client.log_batch, run, params=[Param(f"p{n}", "v") for n in range(100)])
    step("101 params", client.log_batch, run, params=[Param(f"x{n}", "v") for n in range(101)])
    step("100 tags", client.log_batch, run, tags=[RunTag(f"t{n}", "v") for n in range(100)])
    step("101 tags", client.log_batch, run, tags=[RunTag(f"y{n}", "v") for n in range(101)])
    step("how many points", lambda: [len(client.get_metric_history(run, key)) for key in ("many", "more")])
    step("after all batches", lambda: sorted(plain(client.get_run(run).data.params)))


def later(client: MlflowClient, run: str) -> None:
    def send() -> None:
        waits = [
            client.log_metric(run, "slow", float(n), timestamp=T0 + n, step=n, synchronous=False) for n in range(5)
        ]
        waits.append(client.log_param(run, "slow", "yes", synchronous=False))
        waits.append(client.set_tag(run, "slow", "yes", synchronous=False))
        for each in waits:
            each.wait()
        mlflow.flush_async_logging()

    # How many requests this becomes is chance, so only what was stored is compared.
    unrecorded(send)
    step("what was sent later", client.get_run, run)
    step("its history", client.get_metric_history, run, "slow")


if __name__ == "__main__":
    main()
