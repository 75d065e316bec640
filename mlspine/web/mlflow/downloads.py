"""The files MLflow's pages ask for by run, logged model or version, and put beside a run."""

from __future__ import annotations

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from mlspine.core.errors import Invalid
from mlspine.web.mlflow.artifacts import ArtifactProxy, Handler
from mlspine.web.mlflow.server import held_path
from mlspine.web.mlflow.table import Table
from mlspine.workspace import Workspace

_VERSION_URI = ("GET", "2.0/mlflow/model-versions/get-download-uri")


class PageFiles:
    """Turns what a page names into a path of the store; `proxy` then says who may, and sends or takes the file."""

    def __init__(self, workspace: Workspace, *, proxy: ArtifactProxy, table: Table) -> None:
        self._workspace = workspace
        self._proxy = proxy
        self._table = table

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Who answers, by method and path below /ajax-api/ or /mlflow/; * stands for one part of a path."""
        return {
            ("GET", "get-artifact"): self.of_run,
            ("GET", "model-versions/get-artifact"): self.of_version,
            ("GET", "2.0/mlflow/logged-models/*/artifacts/files"): self.of_model,
            ("POST", "2.0/mlflow/upload-artifact"): self.upload,
        }

    async def of_run(self, request: Request, _: str) -> Response:
        """GET get-artifact?run_uuid=&path="""
        root = await run_in_threadpool(self._run_root, _run(request))
        return await self._proxy.get(request, _below(root, _asked(request, "path")))

    async def of_version(self, request: Request, _: str) -> Response:
        """GET model-versions/get-artifact?name=&version=&path="""
        _asked(request, "name"), _asked(request, "version")
        root = await run_in_threadpool(self._version_root, request.scope["query_string"].decode("latin-1"))
        return await self._proxy.get(request, _below(root, _asked(request, "path")))

    async def of_model(self, request: Request, model_id: str) -> Response:
        """GET logged-models/{model_id}/artifacts/files?artifact_file_path="""
        root = (await run_in_threadpool(self._workspace.models.get, model_id)).artifact_uri
        return await self._proxy.get(request, _below(root, _asked(request, "artifact_file_path")))

    async def upload(self, request: Request, _: str) -> Response:
        """POST upload-artifact?run_uuid=&path=: the body becomes a file of the run."""
        root = await run_in_threadpool(self._run_root, _run(request))
        return await self._proxy.put(request, _below(root, _asked(request, "path")))

    def _run_root(self, run_id: str) -> str:
        return self._workspace.tracking.run(run_id).artifact_uri

    def _version_root(self, query: str) -> str:
        served, _ = self._table.find(*_VERSION_URI)
        found = served.route.answer(self._workspace, served.reader.from_query(query, {}), None)
        return str(msgspec.to_builtins(found)["artifact_uri"])


def _below(root_uri: str, path: str) -> str:
    return f"{held_path(root_uri)}/{path}"


def _run(request: Request) -> str:
    return request.query_params.get("run_id") or _asked(request, "run_uuid")


def _asked(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise Invalid(f"Missing value for required parameter '{name}'.")
    return value
