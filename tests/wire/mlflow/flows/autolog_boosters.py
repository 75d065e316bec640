"""`mlflow.autolog` around LightGBM and XGBoost, early stopping among it, and Optuna's callback."""

from __future__ import annotations

from typing import Any

import lightgbm
import mlflow
import mlflow.lightgbm
import mlflow.xgboost
import numpy as np
import optuna
import xgboost
from autolog import left_behind
from mlflow.tracking import MlflowClient
from optuna_integration import MLflowCallback
from step import salted, step, unrecorded


def main() -> None:
    client = MlflowClient()
    experiment = mlflow.set_experiment(salted("boosters")).experiment_id
    dice = np.random.default_rng(0)
    X = dice.normal(size=(200, 3))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)

    def boost() -> None:
        mlflow.lightgbm.autolog(log_models=False, silent=True)
        with mlflow.start_run(run_name="lightgbm"):
            train = lightgbm.Dataset(X[:150], y[:150])
            lightgbm.train(
                {"objective": "binary", "verbose": -1, "num_threads": 1, "deterministic": True},
                train,
                num_boost_round=30,
                valid_sets=[lightgbm.Dataset(X[150:], y[150:], reference=train)],
                callbacks=[lightgbm.early_stopping(3, verbose=False)],
            )
        mlflow.lightgbm.autolog(disable=True)
        mlflow.xgboost.autolog(log_models=False, silent=True)
        with mlflow.start_run(run_name="xgboost"):
            xgboost.train(
                {"objective": "binary:logistic", "nthread": 1},
                xgboost.DMatrix(X[:150], y[:150]),
                num_boost_round=10,
                evals=[(xgboost.DMatrix(X[150:], y[150:]), "held")],
                early_stopping_rounds=3,
                verbose_eval=False,
            )
        mlflow.xgboost.autolog(disable=True)

    def tune() -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(study_name=salted("tuning"), sampler=optuna.samplers.RandomSampler(seed=0))
        callback = MLflowCallback(mlflow.get_tracking_uri(), metric_name="loss")
        study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=4, callbacks=[callback])

    found: list[Any] = []
    unrecorded(boost)
    unrecorded(lambda: found.extend(client.search_runs([experiment])))
    for name in ("lightgbm", "xgboost"):
        seen: list[Any] = []
        unrecorded(lambda: seen.extend(left_behind(client, run) for run in found if run.info.run_name == name))  # noqa: B023
        step(f"left behind by {name}", lambda: seen)  # noqa: B023
        histories: dict[str, Any] = {}
        unrecorded(lambda: histories.update(_histories(client, [run for run in found if run.info.run_name == name][0])))  # noqa: B023, RUF015
        step(f"histories of {name}", lambda: histories)  # noqa: B023
    trials: list[Any] = []
    unrecorded(tune)
    unrecorded(lambda: trials.extend(_trials(client)))
    step("trials", lambda: trials)


def _histories(client: MlflowClient, run: Any) -> dict[str, Any]:
    keys = [key for key in run.data.metrics if "time" not in key]
    return {
        key: [(point.step, round(point.value, 6)) for point in client.get_metric_history(run.info.run_id, key)]
        for key in keys
    }


def _trials(client: MlflowClient) -> list[Any]:
    experiment = client.get_experiment_by_name(salted("tuning"))
    runs = client.search_runs([experiment.experiment_id], order_by=["metrics.loss ASC"])
    return [(run.data.params, run.data.metrics, run.info.status, run.data.tags.get("direction")) for run in runs]


if __name__ == "__main__":
    main()
