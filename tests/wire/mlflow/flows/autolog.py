"""`mlflow.autolog` around scikit-learn: one fit, one search over a grid."""

from __future__ import annotations

from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from step import salted, step, unrecorded


def main() -> None:
    client = MlflowClient()
    experiment = mlflow.set_experiment(salted("autolog")).experiment_id
    dice = np.random.default_rng(0)
    X = pd.DataFrame(dice.normal(size=(60, 2)), columns=["a", "b"])
    y = (X["a"] + X["b"] > 0).astype(int)

    def fit() -> None:
        mlflow.sklearn.autolog(log_models=False, silent=True)
        with mlflow.start_run(run_name="one fit"):
            LogisticRegression().fit(X, y)
        with mlflow.start_run(run_name="a grid"):
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, y)
        mlflow.sklearn.autolog(disable=True)

    # Threads send what autologging gathers, and times lie in the answers: only what was left behind is compared.
    found: list[Any] = []
    unrecorded(fit)
    unrecorded(lambda: found.extend(client.search_runs([experiment])))
    step("how many runs", lambda: len(found))
    for name in ("one fit", "a grid"):
        seen: list[Any] = []
        unrecorded(lambda: seen.extend(left_behind(client, run) for run in found if run.info.run_name == name))  # noqa: B023
        step(f"left behind by {name}", lambda: seen)  # noqa: B023
    step("children", lambda: sum("mlflow.parentRunId" in run.data.tags for run in found))


def left_behind(client: MlflowClient, run: Any) -> Any:
    metrics = {key: round(value, 6) for key, value in run.data.metrics.items() if "time" not in key}
    files = [each.path for each in client.list_artifacts(run.info.run_id)]
    datasets = [(each.dataset.name, each.dataset.digest, each.tags[0].value) for each in run.inputs.dataset_inputs]
    return {
        "params": run.data.params,
        "metrics": metrics,
        "files": files,
        "datasets": datasets,
        "status": run.info.status,
    }


if __name__ == "__main__":
    main()
