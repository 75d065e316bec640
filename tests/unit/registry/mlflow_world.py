"""A workspace into which models arrive as MLflow clients send them: logged files first, then a registration."""

from __future__ import annotations

import json
from pathlib import Path

from mlspine.core.types import Actor
from mlspine.registry.catalogue import Entry
from mlspine.tracking.run import DatasetInput
from mlspine.workspace import Workspace

ANN, BEN = Actor(name="ann"), Actor(name="ben")
SIGNATURE = json.dumps([{"type": "double", "name": "charge", "required": True}, {"type": "long", "name": "visits"}])
MLMODEL = f"""flavors:
  python_function:
    loader_module: mlflow.sklearn
    model_path: model.pkl
  sklearn:
    code: null
    pickled_model: model.pkl
    serialization_format: cloudpickle
signature:
  inputs: '{SIGNATURE[:40]}
    {SIGNATURE[40:].lstrip()}'
  params: null
"""


def open_workspace(folder: Path) -> Workspace:
    return Workspace.open(folder / ".mlspine")


def log_run(workspace: Workspace, *, pickle: bytes = b"a pickle nobody opens") -> tuple[str, str]:
    """A run with a model in its artifacts, as an MLflow 2 client leaves it; returns its id and the model's URI."""
    tags = [("mlflow.source.git.commit", "c0ffee"), ("mlflow.source.git.repoURL", "git@example.org:churn.git")]
    run = workspace.tracking.create_run(0, tags=tags)
    dataset = DatasetInput(name="people", digest="d1", source_type="local", source="people.csv")
    workspace.tracking.log_inputs(run.id, datasets=[dataset])
    uri = f"{run.artifact_uri}/model"
    put_model(workspace, uri, pickle=pickle)
    return run.id, uri


def put_model(workspace: Workspace, uri: str, *, pickle: bytes = b"a pickle nobody opens") -> None:
    path = uri.removeprefix("mlflow-artifacts:/")
    for name, content in {
        "MLmodel": MLMODEL.encode(),
        "requirements.txt": b"mlflow==3.18.0\nscikit-learn==1.5.0\n# a note\nnumpy\n",
        "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==23.2.1\n",
        "model.pkl": pickle,
    }.items():
        workspace.artifacts.put(f"{path}/{name}", content)


def register(workspace: Workspace, name: str = "churn", *, pickle: bytes = b"a pickle nobody opens") -> Entry:
    """A version of `name` from a run of its own."""
    run_id, uri = log_run(workspace, pickle=pickle)
    if all(each.name != name for each in workspace.catalogue.search().models):
        workspace.catalogue.create(name, actor=ANN)
    return workspace.catalogue.create_version(name, source=uri, run_id=run_id, actor=ANN)
