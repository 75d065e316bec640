"""Fills the server named by MLFLOW_TRACKING_URI with one of everything; for an interpreter that has mlflow."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric, Param

T0 = 1_700_000_000_000


def fill():
    churn = client.create_experiment("churn", tags={"team": "risk", "mlflow.note.content": "who leaves"})
    gone = client.create_experiment("gone")
    parent = run(churn, "parent", 0)
    child = run(churn, "child", 1, parent=parent)
    failed = client.create_run(churn, start_time=T0 + 2, run_name="failed")
    client.log_metric(failed.info.run_id, "loss", math.nan, timestamp=T0, step=0)
    client.set_terminated(failed.info.run_id, status="FAILED", end_time=T0 + 50)
    open_run = client.create_run(churn, start_time=T0 + 3, run_name="still running")
    client.log_param(open_run.info.run_id, "p", "1")
    deleted = run(churn, "deleted", 4)
    client.delete_run(deleted)
    run("0", "in default", 5)
    run(gone, "under gone", 6)
    client.delete_experiment(gone)
    models(churn, parent, child)


def run(experiment, name, number, parent=None):
    tags = {"mlflow.user": "maria", "mlflow.source.git.commit": "a" * 40, "ünï cödé": "wért", "empty": ""}
    if parent:
        tags["mlflow.parentRunId"] = parent
    made = client.create_run(experiment, start_time=T0 + number, tags=tags, run_name=name)
    run_id = made.info.run_id
    points = [Metric("loss", 1 / (1 + step), T0 + step, step) for step in range(2500)]
    points += [Metric("odd", value, T0 + at, at) for at, value in enumerate([math.nan, math.inf, -math.inf, 0.1, -0.0])]
    points += [Metric("same step", value, T0, 3) for value in (1.0, 2.0, math.nan)]
    points += [Metric("negative step", 7.0, T0, -2), Metric("a/b c", 1e-300, T0, 0)]
    params = [Param(f"p{n}", f"v{n}") for n in range(150)] + [Param("long", "x" * 6000), Param("blank", "")]
    client.log_batch(run_id, metrics=points[:1000], params=params[:90])
    for start in range(1000, len(points), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000])
    client.log_batch(run_id, params=params[90:])
    data = Dataset(
        name="train",
        digest="abc123",
        source_type="local",
        source='{"uri": "x.csv"}',
        schema='{"c": 1}',
        profile='{"rows": 3}',
    )
    held = Dataset(name="held", digest="def456", source_type="http", source="{}")
    client.log_inputs(
        run_id,
        [
            DatasetInput(data, [InputTag("mlflow.data.context", "training"), InputTag("x", "y")]),
            DatasetInput(held, []),
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sub").mkdir()
        (Path(folder) / "sub" / "deep file.txt").write_text(f"deep {name}")
        (Path(folder) / "ünï %41.bin").write_bytes(bytes(range(256)) * 20)
        (Path(folder) / "empty.txt").write_bytes(b"")
        client.log_artifacts(run_id, folder)
        client.log_artifacts(run_id, folder, "model")
    client.set_terminated(run_id, end_time=T0 + 1000 + number)
    return run_id


def models(experiment, parent, child):
    logged = client.create_logged_model(
        experiment, name="forest", source_run_id=parent, model_type="classifier", tags={"t": "1"}, params={"depth": "3"}
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("flavors: {}\n")
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "model.bin").write_bytes(b"\0" * 5000)
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(parent, [LoggedModelOutput(logged.model_id, 4)])
    client.log_inputs(child, models=[LoggedModelInput(logged.model_id)])
    client.log_metric(
        parent, "auc", 0.8, timestamp=T0, step=1, model_id=logged.model_id, dataset_name="held", dataset_digest="def456"
    )
    client.log_metric(
        parent,
        "auc",
        0.9,
        timestamp=T0 + 1,
        step=2,
        model_id=logged.model_id,
        dataset_name="held",
        dataset_digest="def456",
    )
    client.log_metric(parent, "f1", 0.7, timestamp=T0, step=1, model_id=logged.model_id)
    broken = client.create_logged_model(experiment, name="broken", source_run_id=parent)
    client.finalize_logged_model(broken.model_id, "FAILED")
    client.create_registered_model("forest", tags={"owner": "maria"}, description="the forest")
    client.create_registered_model("bare")
    client.create_model_version(
        "forest",
        f"models:/{logged.model_id}",
        run_id=parent,
        model_id=logged.model_id,
        description="first",
        tags={"a": "b"},
    )
    client.create_model_version(
        "forest", client.get_run(child).info.artifact_uri + "/model", run_id=child, run_link="http://x/y"
    )
    doomed = client.create_model_version("forest", client.get_run(parent).info.artifact_uri + "/model", run_id=parent)
    client.create_model_version("forest", client.get_run(parent).info.artifact_uri + "/model", run_id=parent)
    client.delete_model_version("forest", doomed.version)
    client.transition_model_version_stage("forest", "1", "Production")
    client.transition_model_version_stage("forest", "2", "Archived")
    client.set_registered_model_alias("forest", "champion", "1")
    client.set_registered_model_alias("forest", "challenger", "4")
    client.set_model_version_tag("forest", "4", "gate", "passed")


if __name__ == "__main__":
    client = MlflowClient()
    fill()
