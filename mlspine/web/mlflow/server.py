"""What MLflow's clients and its pages ask about the server itself, and the pages' downloads."""

from __future__ import annotations

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Actor
from mlspine.tracking.experiment import DEFAULT
from mlspine.tracking.service import ARTIFACTS
from mlspine.web.mlflow.messages import Message, experiment_number
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace

DATASETS_SHOWN = 1_000


class Nothing(Message, kw_only=True):
    pass


class ServerInfo(Message, kw_only=True, omit_defaults=False):
    """What this server can do beyond the first protocol."""

    store_type: str = "SqlStore"
    workspaces_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    artifact_serving_enabled: bool = True


class Telemetry(Message, kw_only=True, omit_defaults=False):
    """What MLflow's pages may tell MLflow's makers of their user: nothing, from here."""

    disable_ui_telemetry: bool = True
    disable_ui_events: list[str] = []
    ui_rollout_percentage: int = 0


class Gateway(Message, kw_only=True, omit_defaults=False):
    """What a gateway to language models offers: there is none, and MLflow's pages of runs show an error for a 404."""

    endpoints: list[str] = []


class Listing(Message, kw_only=True):
    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None


class FileInfo(Message, kw_only=True):
    path: str
    is_dir: bool
    file_size: int = 0  # left out where it is 0, as MLflow does


class Listed(Message, kw_only=True):
    root_uri: str
    files: list[FileInfo] = []


class Experiments(Message, kw_only=True):
    experiment_ids: list[str] = []


class DatasetSummary(Message, kw_only=True):
    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class Datasets(Message, kw_only=True):
    dataset_summaries: list[DatasetSummary] = []


def info(_: Workspace, __: Nothing, ___: Actor | None) -> Message:
    return ServerInfo()


def telemetry(_: Workspace, __: Nothing, ___: Actor | None) -> Message:
    return Telemetry()


def gateway(_: Workspace, __: Nothing, ___: Actor | None) -> Message:
    return Gateway()


def list_artifacts(workspace: Workspace, asked: Listing, _: Actor | None) -> Message:
    run_id = asked.run_id or asked.run_uuid
    if not run_id:
        raise Invalid("Missing value for required parameter 'run_id'.")
    root = workspace.tracking.run(run_id).artifact_uri
    return Listed(root_uri=root, files=files_in(workspace, root, asked.path or ""))


def files_in(workspace: Workspace, root_uri: str, path: str) -> list[FileInfo]:
    """What lies in a directory of an artifact root, by paths relative to the root, as MLflow's pages want them."""
    inside = path.strip("/")
    directory = "/".join(part for part in (held_path(root_uri), inside) if part)
    return [
        FileInfo(
            path="/".join(part for part in (inside, entry.name) if part),
            is_dir=entry.is_dir,
            file_size=entry.size_bytes,
        )
        for entry in workspace.artifacts.list(directory)
    ]


def held_path(uri: str) -> str:
    """Where files of an artifact uri lie in our store; NotFound for files that are somewhere else."""
    if not uri.startswith(ARTIFACTS):
        raise NotFound(f"the files of {uri} are not held here", hint="open them where they are")
    return uri.removeprefix(ARTIFACTS).strip("/")


def search_datasets(workspace: Workspace, asked: Experiments, _: Actor | None) -> Message:
    numbers = [experiment_number(text) for text in asked.experiment_ids or [str(DEFAULT)]]
    found = workspace.tracking.datasets_in(numbers, limit=DATASETS_SHOWN)
    return Datasets(
        dataset_summaries=[
            DatasetSummary(
                experiment_id=str(row["experiment_id"]), name=row["name"], digest=row["digest"], context=row["context"]
            )
            for row in found
        ]
    )


ROUTES = (
    Route("GET", "3.0/mlflow/server-info", Nothing, info),
    Route("GET", "3.0/mlflow/ui-telemetry", Nothing, telemetry),
    Route("GET", "2.0/mlflow/gateway-proxy", Nothing, gateway),
    Route("GET", "2.0/mlflow/artifacts/list", Listing, list_artifacts),
    Route("POST", "2.0/mlflow/experiments/search-datasets", Experiments, search_datasets),
)
