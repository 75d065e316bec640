"""A fitted model of scikit-learn: logged, loaded, registered, loaded by alias and by stage."""

from __future__ import annotations

from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression
from step import salted, step

FIRST_OF_THREE = not mlflow.__version__.startswith("2.")


def data() -> tuple[pd.DataFrame, np.ndarray]:
    dice = np.random.default_rng(0)
    X = pd.DataFrame(dice.normal(size=(60, 2)), columns=["a", "b"])
    return X, (X["a"] + X["b"] > 0).astype(int).to_numpy()


def main() -> None:
    client = MlflowClient()
    mlflow.set_experiment(salted("sklearn"))
    X, y = data()
    model = LogisticRegression().fit(X, y)
    name = salted("fitted")
    with mlflow.start_run(run_name="fit") as run:
        how: dict[str, Any] = {
            "signature": infer_signature(X, y),
            "input_example": X.head(2),
            "registered_model_name": name,
        }
        place = {"name": "model"} if FIRST_OF_THREE else {"artifact_path": "model"}
        step(
            "log and register",
            lambda: (
                mlflow.sklearn.log_model(model, **place, **how, pip_requirements=["scikit-learn"])
                .flavors["sklearn"]
                .get("code")
            ),
        )
    step("the run", lambda: sorted(client.get_run(run.info.run_id).data.tags))
    step("files of the run", client.list_artifacts, run.info.run_id)
    step("the version", client.get_model_version, name, "1")
    step("alias", client.set_registered_model_alias, name, "champion", "1")
    step("stage", client.transition_model_version_stage, name, "1", "Production")
    step("load from the run", predicts, f"runs:/{run.info.run_id}/model", X)
    for which in ("/1", "@champion", "/Production", "/latest"):
        step(f"load {which}", predicts, f"models:/{name}{which}", X)
    step("register once more", lambda: mlflow.register_model(f"runs:/{run.info.run_id}/model", name).version)
    step("the second version", client.get_model_version, name, "2")
    step("load the second", predicts, f"models:/{name}/2", X)
    step("load what is absent", predicts, f"models:/{name}/9", X)
    step("load by an absent alias", predicts, f"models:/{name}@nobody", X)


def predicts(uri: str, X: pd.DataFrame) -> Any:
    by_function = mlflow.pyfunc.load_model(uri)
    by_flavor = mlflow.sklearn.load_model(uri)
    return [by_function.predict(X.head(5)).tolist(), by_flavor.predict(X.tail(5)).tolist()]


if __name__ == "__main__":
    main()
