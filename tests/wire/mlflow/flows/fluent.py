"""What notebooks type: `mlflow.start_run` and its company."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient
from step import salted, step

T0 = 1_600_000_000_000


def lasting(run: Any) -> dict[str, Any]:
    """A run without what the client's own surroundings put into it."""
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.source")}
    return {"info": dict(run.info), "params": run.data.params, "metrics": run.data.metrics, "tags": tags}


def main() -> None:
    client = MlflowClient()
    step("set a new experiment", lambda: mlflow.set_experiment(salted("fluent")))
    step("set it again", lambda: mlflow.set_experiment(salted("fluent")))
    step("tag the experiment", mlflow.set_experiment_tag, "team", "fraud")
    outer, inner = nested()
    step("the outer run", client.get_run, outer, show=lasting)
    step("the inner run", client.get_run, inner, show=lasting)
    step("resume", resume, outer)
    step("resumed", client.get_run, outer, show=lasting)
    step("a run that raises", failing)
    step("the failed one", lambda: lasting(mlflow.last_active_run())["info"])
    step("a frame of runs", frame)
    step("as objects", lambda: [each.info.run_name for each in found(order_by=["attributes.run_name DESC"])])
    step("by the parent", lambda: [each.info.run_name for each in found(f"tags.mlflow.parentRunId = '{outer}'")])
    step("files", files)
    step("set a deleted experiment", deleted)
    step("set by id", lambda: mlflow.set_experiment(experiment_id="0").name)
    step("delete a run", lambda: mlflow.delete_run(inner))
    step("start a deleted run", lambda: mlflow.start_run(inner))
    mlflow.end_run()
    step("start in an absent experiment", lambda: mlflow.start_run(experiment_id="999999"))
    mlflow.end_run()


def nested() -> tuple[str, str]:
    def work() -> tuple[str, str]:
        with mlflow.start_run(run_name="outer", description="two words", tags={"a": "b"}) as outer:
            mlflow.log_param("depth", 3)
            mlflow.log_params({"rate": 0.1, "kind": "tree"})
            mlflow.log_metric("loss", 0.5, step=1, timestamp=T0)
            mlflow.log_metrics({"auc": 0.75, "f1": 0.5}, step=2, timestamp=T0)
            mlflow.set_tag("stage", "one")
            mlflow.set_tags({"x": 1, "y": 2})
            mlflow.delete_tag("y")
            with mlflow.start_run(run_name="inner", nested=True) as inner:
                mlflow.log_metric("loss", 0.25, timestamp=T0)
        return outer.info.run_id, inner.info.run_id

    return step("nested runs", work)


def resume(run_id: str) -> None:
    with mlflow.start_run(run_id):
        mlflow.log_metric("loss", 0.1, step=3, timestamp=T0)
        mlflow.set_tag("mlflow.note.content", "resumed")


def failing() -> None:
    with mlflow.start_run(run_name="fails"):
        raise RuntimeError("on purpose")


def found(text: str = "", **how: Any) -> Any:
    return mlflow.search_runs(experiment_names=[salted("fluent")], filter_string=text, output_format="list", **how)


def frame() -> Any:
    runs = mlflow.search_runs(experiment_names=[salted("fluent")], order_by=["attributes.run_name ASC"])
    columns = sorted(each for each in runs.columns if each.startswith(("params.", "metrics.")))
    return runs[["tags.mlflow.runName", *columns]].astype(str).to_dict("records")


def files() -> Any:
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_name="files") as run:
        path = Path(folder) / "a.txt"
        path.write_text("hello")
        mlflow.log_artifact(str(path))
        mlflow.log_artifact(str(path), "deep/er")
        mlflow.log_artifacts(folder, "all")
        mlflow.log_text("words", "texts/words.txt")
        mlflow.log_dict({"a": 1}, "dict.json")
        mlflow.log_table({"x": [1, 2], "y": ["a", "b"]}, "table.json")
        read = [
            mlflow.artifacts.load_text(mlflow.get_artifact_uri("texts/words.txt")),
            mlflow.artifacts.load_dict(mlflow.get_artifact_uri("dict.json")),
        ]
        brought = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(Path(folder) / "down"))
        return [*read, sorted(os.listdir(brought)), mlflow.get_artifact_uri("x")]


def deleted() -> Any:
    experiment = mlflow.create_experiment(salted("gone"))
    mlflow.delete_experiment(experiment)
    return mlflow.set_experiment(salted("gone"))


if __name__ == "__main__":
    main()
