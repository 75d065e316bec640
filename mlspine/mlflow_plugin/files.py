"""The files of runs and models for a client with an `mlspine:` URI."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.rest_utils import MlflowHostCreds

from mlspine.artifacts import Artifacts
from mlspine.core.errors import MlspineError, NotFound
from mlspine.mlflow_plugin.place import SCHEME, Address, Place
from mlspine.mlflow_plugin.spelling import SEEN

_PROXY = "api/2.0/mlflow-artifacts/artifacts"


class _Proxied(HttpArtifactRepository):  # type: ignore[misc]
    """MLflow's own client of an artifact proxy, with the token of this workspace."""

    def __init__(self, address: Address, root: str) -> None:
        self._token = address.token
        super().__init__(f"{address.url}/{_PROXY}/{root}")

    @property
    def _host_creds(self) -> MlflowHostCreds:
        return MlflowHostCreds(self.artifact_uri, token=self._token)


class SpineFiles(ArtifactRepository):  # type: ignore[misc]
    """Files below one `mlspine-artifacts:` URI: in the store, or through the server that has it open."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri)
        uri = tracking_uri or mlflow.get_tracking_uri()
        self._root = artifact_uri.removeprefix(SEEN).strip("/")
        # A client that has turned to another tracking server meanwhile means the workspace found from here.
        self._place = Place(uri if uri.startswith(f"{SCHEME}:") else f"{SCHEME}:")

    def log_artifact(self, local_file: Any, artifact_path: str | None = None) -> None:
        verify_artifact_path(artifact_path)
        proxied = self._proxied()
        if proxied:
            proxied.log_artifact(local_file, artifact_path)
            return
        with _told():
            self._files().put(self._at(artifact_path, os.path.basename(local_file)), Path(local_file))

    def log_artifacts(self, local_dir: Any, artifact_path: str | None = None) -> None:
        folder = Path(local_dir).resolve()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                below = file.parent.relative_to(folder).as_posix()
                self.log_artifact(
                    file, posixpath.normpath(posixpath.join(artifact_path or "", below)).strip(".") or None
                )

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        proxied = self._proxied()
        if proxied:
            found: list[FileInfo] = proxied.list_artifacts(path)
            return found
        with _told():
            entries = self._files().list(self._at(path))
        return [
            FileInfo(posixpath.join(path or "", entry.name), entry.is_dir, None if entry.is_dir else entry.size_bytes)
            for entry in entries
        ]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        proxied = self._proxied()
        if proxied:
            proxied.delete_artifacts(artifact_path)
            return
        with _told():
            self._files().delete(self._at(artifact_path))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        proxied = self._proxied()
        if proxied:
            proxied._download_file(remote_file_path, local_path)
            return
        with _told(), self._files().open(self._at(remote_file_path)) as source, open(local_path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    # ------------------------------------------------------------ inside

    def _proxied(self) -> _Proxied | None:
        address = self._place.address()
        return _Proxied(address, self._root) if address else None

    def _files(self) -> Artifacts:
        return self._place.store().workspace.artifacts

    def _at(self, *parts: str | None) -> str:
        return posixpath.join(self._root, *(part for part in parts if part))


@contextmanager
def _told() -> Iterator[None]:
    """An error of ours as MLflow's own."""
    try:
        yield
    except NotFound as exc:
        raise MlflowException(str(exc), RESOURCE_DOES_NOT_EXIST) from exc
    except MlspineError as exc:
        raise MlflowException(str(exc), INVALID_PARAMETER_VALUE) from exc
