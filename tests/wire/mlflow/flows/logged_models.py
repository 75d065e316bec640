"""Logged models of the 3.x clients: made, filled, finished, measured, registered, deleted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModelOutput, LoggedModelParameter, Metric
from mlflow.entities.logged_model_input import LoggedModelInput
from mlflow.tracking import MlflowClient
from step import salted, step

T0 = 1_600_000_000_000
ABSENT = "m-" + "0" * 32


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("logged models"))
    run = client.create_run(experiment, start_time=T0, run_name="trains").info.run_id
    model = step("create", client.create_logged_model, experiment, "tree", run, {"a": "b"}, {"depth": "3"}, "sklearn")
    if model is None:
        return
    made = model.model_id
    step("create bare", client.create_logged_model, experiment)
    step("create in an absent experiment", client.create_logged_model, "999999", "x")
    step("create with a bad name", client.create_logged_model, experiment, "a/b:c")
    step("create with an empty name", client.create_logged_model, experiment, "")
    step("create of an absent run", client.create_logged_model, experiment, "orphan", "0" * 32)
    step("get", client.get_logged_model, made)
    step("get an absent one", client.get_logged_model, ABSENT)
    step("more params", client.log_model_params, made, {"width": "7", "text": "words"})
    step("the same params", client.log_model_params, made, {"width": "7"})
    step("changed params", client.log_model_params, made, {"width": "8"})
    step("params of an absent one", client.log_model_params, ABSENT, {"a": "b"})
    step("tags", client.set_logged_model_tags, made, {"a": "c", "d": 5})
    step("tags of an absent one", client.set_logged_model_tags, ABSENT, {"a": "c"})
    step("delete a tag", client.delete_logged_model_tag, made, "d")
    step("delete an absent tag", client.delete_logged_model_tag, made, "d")
    step("output of a run", client.log_outputs, run, [LoggedModelOutput(made, 2)])
    step("output again", client.log_outputs, run, [LoggedModelOutput(made, 2)])
    step("input of a run", client.log_inputs, run, models=[LoggedModelInput(made)])
    step("the run", client.get_run, run)
    files(client, made)
    step("finish", client.finalize_logged_model, made, "READY")
    step("finished", client.get_logged_model, made)
    step("finish as failed", client.finalize_logged_model, made, "FAILED")
    step("finish an absent one", client.finalize_logged_model, ABSENT, "READY")
    measured(client, run, made)
    registered(client, made)
    step("delete", client.delete_logged_model, made)
    step("get deleted", client.get_logged_model, made)
    step("delete again", client.delete_logged_model, made)
    step("delete an absent one", client.delete_logged_model, ABSENT)
    step("found after deletion", client.search_logged_models, [experiment], "name IN ('tree', 'orphan')")


def files(client: MlflowClient, model: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("flavors: {}\n")
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "x.txt").write_text("x")
        step("up", client.log_model_artifacts, model, folder)
        step("up one", client.log_model_artifact, model, str(Path(folder) / "MLmodel"))
        step("list", client.list_logged_model_artifacts, model)
        step("list deeper", client.list_logged_model_artifacts, model, "data")
        step(
            "down",
            lambda: sorted(
                each.name for each in Path(mlflow.artifacts.download_artifacts(f"models:/{model}")).iterdir()
            ),
        )


def measured(client: MlflowClient, run: str, model: str) -> None:
    step("metric of the model", client.log_metric, run, "auc", 0.5, timestamp=T0, step=1, model_id=model)
    step("a later one", client.log_metric, run, "auc", 0.75, timestamp=T0, step=2, model_id=model)
    step("an earlier one", client.log_metric, run, "auc", 0.25, timestamp=T0, step=0, model_id=model)
    step(
        "on a dataset",
        client.log_metric,
        run,
        "f1",
        0.5,
        timestamp=T0,
        step=1,
        model_id=model,
        dataset_name="flights",
        dataset_digest="abc",
    )
    step("in a batch", client.log_batch, run, metrics=[Metric("rmse", 2.0, T0, 1, model_id=model)])
    step("of an absent model", client.log_metric, run, "auc", 0.5, timestamp=T0, step=1, model_id=ABSENT)
    step("the measured model", client.get_logged_model, model)
    step("the run that measured", client.get_run, run)
    step("history with models", client.get_metric_history, run, "auc")
    step("params object", lambda: LoggedModelParameter("a", "b").key)


def registered(client: MlflowClient, model: str) -> None:
    name = salted("from logged")
    step("register", lambda: mlflow.register_model(f"models:/{model}", name))
    step("register a second time", lambda: mlflow.register_model(f"models:/{model}", name))
    step("register an absent one", lambda: mlflow.register_model(f"models:/{ABSENT}", name))
    step("the version", client.get_model_version, name, "1")
    step("its download uri", client.get_model_version_download_uri, name, "1")
    step("the registered model", client.get_logged_model, model)
    step(
        "down by version",
        lambda: sorted(each.name for each in Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1")).iterdir()),
    )
    step("alias it", client.set_registered_model_alias, name, "champion", "2")
    step(
        "down by alias",
        lambda: sorted(
            each.name for each in Path(mlflow.artifacts.download_artifacts(f"models:/{name}@champion")).iterdir()
        ),
    )
    step("the latest", client.get_latest_versions, name)


if __name__ == "__main__":
    main()
