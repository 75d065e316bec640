"""Writing to a run as no client does: numbers as text, replays, limits, batches that are half wrong."""

from __future__ import annotations

from typing import Any

from step import ask, salted

V2 = "/api/2.0/mlflow"
T0 = 1_600_000_000_000
VALUES: dict[str, Any] = {
    "a number": 1.5,
    "a whole number": 2,
    "text of a number": "2.5",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "nan": "nan",
    "a word": "high",
    "nothing": None,
    "true": True,
    "a list": [1],
    "1e400 as text": "1e400",
    "empty text": "",
}


def main() -> None:
    experiment = (ask("experiment", "POST", f"{V2}/experiments/create", {"name": salted("writing")}) or {}).get(
        "experiment_id", ""
    )
    for part in (points, params_and_tags, batches, inputs, ending):
        made = ask(
            f"run for {part.__name__}",
            "POST",
            f"{V2}/runs/create",
            {"experiment_id": experiment, "start_time": T0, "run_name": "w"},
        )
        part(made["run"]["info"]["run_id"] if made and "run" in made else "0" * 32)


def points(run: str) -> None:
    def log(name: str, **fields: Any) -> None:
        point = {"run_id": run, "key": "m", "value": 1.0, "timestamp": T0, "step": 0, **fields}
        ask(name, "POST", f"{V2}/runs/log-metric", point)

    for number, (name, value) in enumerate(VALUES.items()):
        log(f"value: {name}", key=f"m{number:02d}", value=value)
    log("step as text", step="3")
    log("step with a fraction", step=3.5)
    log("step with an even fraction", step=3.0)
    log("step that is a word", step="three")
    log("step beyond 64 bits", step=2**63)
    log("step of nothing", step=None)
    log("time as text", timestamp=str(T0 + 1))
    log("time of zero", timestamp=0)
    log("a negative time", timestamp=-1)
    log("time that is a word", timestamp="noon")
    log("by the old name", run_id=None, run_uuid=run, key="old")
    log("by both names", run_uuid=run, key="both")
    for key in ("", " ", "a/b", "a//b", "a/", "/a", "..", "a/..", ".", "a b", "a:b", "a;b", "a\nb", "ü", "k" * 251):
        log(f"key {key!r}", key=key)
    ask("the points", "GET", f"{V2}/runs/get", query=[("run_id", run)])


def params_and_tags(run: str) -> None:
    for route, what in (("log-parameter", "param"), ("set-tag", "tag")):
        for name, value in {"a number": 5, "true": True, "nothing": None, "a list": ["a"], "empty text": ""}.items():
            ask(
                f"{what}: {name}",
                "POST",
                f"{V2}/runs/{route}",
                {"run_id": run, "key": f"{what} {name}", "value": value},
            )
        for key in ("", "a//b", "..", "a&b", "ü", "k" * 251):
            ask(f"{what} key {key!r}", "POST", f"{V2}/runs/{route}", {"run_id": run, "key": key, "value": "x"})
    ask("param by the old name", "POST", f"{V2}/runs/log-parameter", {"run_uuid": run, "key": "old", "value": "1"})
    ask("name by a tag", "POST", f"{V2}/runs/set-tag", {"run_id": run, "key": "mlflow.runName", "value": "tagged"})
    ask("empty name by a tag", "POST", f"{V2}/runs/set-tag", {"run_id": run, "key": "mlflow.runName", "value": ""})
    ask("delete the tag of the name", "POST", f"{V2}/runs/delete-tag", {"run_id": run, "key": "mlflow.runName"})
    ask("after params and tags", "GET", f"{V2}/runs/get", query=[("run_id", run)])
    ask(
        "the history of models",
        "POST",
        f"{V2}/runs/log-model",
        {"run_id": run, "model_json": '{"run_id": "x", "artifact_path": "m", "utc_time_created": "y", "flavors": {}}'},
    )
    ask(
        "one more",
        "POST",
        f"{V2}/runs/log-model",
        {"run_id": run, "model_json": '{"run_id": "x", "artifact_path": "n", "utc_time_created": "y", "flavors": {}}'},
    )
    ask("not JSON", "POST", f"{V2}/runs/log-model", {"run_id": run, "model_json": "{"})
    ask("not a model", "POST", f"{V2}/runs/log-model", {"run_id": run, "model_json": "{}"})
    ask("after models", "GET", f"{V2}/runs/get", query=[("run_id", run)])


def batches(run: str) -> None:
    def batch(name: str, **parts: Any) -> None:
        ask(name, "POST", f"{V2}/runs/log-batch", {"run_id": run, **parts})

    def metrics(count: int) -> list[dict[str, Any]]:
        return [{"key": "b", "value": float(n), "timestamp": T0 + n, "step": n} for n in range(count)]

    def pairs(count: int) -> list[dict[str, str]]:
        return [{"key": f"k{n}", "value": "v"} for n in range(count)]

    batch("an empty batch")
    batch("a point without a value", metrics=[{"key": "x", "timestamp": T0, "step": 0}])
    batch("a point without a time", metrics=[{"key": "x", "value": 1.0, "step": 0}])
    batch("a point without a step", metrics=[{"key": "stepless", "value": 1.0, "timestamp": T0}])
    batch("a point without a key", metrics=[{"value": 1.0, "timestamp": T0, "step": 0}])
    batch("a point that is NaN", metrics=[{"key": "nan", "value": "NaN", "timestamp": T0, "step": 0}])
    batch("a point that is a word", metrics=[{"key": "x", "value": "high", "timestamp": T0, "step": 0}])
    batch("a param without a value", params=[{"key": "valueless"}])
    batch("a param without a key", params=[{"value": "x"}])
    batch("a param of a number", params=[{"key": "x", "value": 3}])
    batch("a tag without a value", tags=[{"key": "valueless"}])
    batch("text for params", params="x")
    batch("a word among params", params=["x"])
    batch(
        "good metrics and a bad tag",
        metrics=[{"key": "lost", "value": 1.0, "timestamp": T0, "step": 0}],
        tags=[{"key": "a&b", "value": "x"}],
    )
    batch("1001 metrics", metrics=metrics(1001))
    batch("101 params", params=pairs(101))
    batch("101 tags", tags=pairs(101))
    batch("900 metrics, 100 params", metrics=metrics(900), params=pairs(100))
    batch("900 metrics, 100 params, a tag", metrics=metrics(900), params=pairs(100), tags=pairs(1))
    batch(
        "more than a megabyte",
        run_id="0" * 32,
        params=[{"key": f"long {n}", "value": "v" * 6000} for n in range(100)],
        tags=[{"key": f"l{n}", "value": "v" * 5000} for n in range(100)],
    )
    batch(
        "long values",
        params=[{"key": "six thousand", "value": "v" * 6001}],
        tags=[{"key": "eight thousand", "value": "v" * 8001}],
    )
    ask("after batches", "GET", f"{V2}/runs/get", query=[("run_id", run)])


def inputs(run: str) -> None:
    def log(name: str, *datasets: Any) -> None:
        ask(name, "POST", f"{V2}/runs/log-inputs", {"run_id": run, "datasets": list(datasets)})

    full = {"name": "d", "digest": "1", "source_type": "local", "source": "here"}
    log("a dataset", {"dataset": full})
    log("nothing of a dataset", {})
    for field in full:
        log(f"a dataset without {field}", {"dataset": {name: value for name, value in full.items() if name != field}})
    log("tags without values", {"dataset": full, "tags": [{"key": "a"}]})
    log("the same twice at once", {"dataset": {**full, "name": "f"}}, {"dataset": {**full, "name": "f"}})
    log("a long schema", {"dataset": {**full, "name": "g", "schema": "s" * (1 << 20)}})
    log("a longer schema", {"dataset": {**full, "name": "h", "schema": "s" * 1048577}})
    log("a longer source", {"dataset": {**full, "name": "i", "source": "s" * 65537}})
    ask("inputs in the end", "GET", f"{V2}/runs/get", query=[("run_id", run)])
    log(
        "a tag twice",
        {"dataset": {**full, "name": "e"}, "tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
    )


def ending(run: str) -> None:
    for status in ("FINISHED", "finished", "DONE", "", 3, None):
        ask(f"status {status!r}", "POST", f"{V2}/runs/update", {"run_id": run, "status": status})
    ask("end time as text", "POST", f"{V2}/runs/update", {"run_id": run, "end_time": str(T0 + 9)})
    ask("end before the start", "POST", f"{V2}/runs/update", {"run_id": run, "status": "FAILED", "end_time": 5})
    ask("nothing to update", "POST", f"{V2}/runs/update", {"run_id": run})
    ask("running again", "POST", f"{V2}/runs/update", {"run_id": run, "status": "RUNNING"})
    ask("in the end", "GET", f"{V2}/runs/get", query=[("run_id", run)])


if __name__ == "__main__":
    main()
