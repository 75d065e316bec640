"""The MLflow wire for our own programs: to the control process or server when there is one, else into the store."""

from __future__ import annotations

import threading
import urllib.parse
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlspine import login
from mlspine.folder import locate
from mlspine.remote import ApiClient
from mlspine.running import running_control
from mlspine.web.mlflow.direct import DirectWire

_MLFLOW = "/api/2.0/mlflow/"
_FILES = "/api/2.0/mlflow-artifacts/artifacts/"


class Line(Protocol):
    """Asks one workspace. Errors are raised as members of the family. `where`: its folder, or its server's URL."""

    where: str

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        """What is answered to a question such as "runs/get"."""
        ...

    def post(self, path: str, **asked: Any) -> dict[str, Any]:
        """What is answered to a request such as "runs/create"."""
        ...

    def put_file(self, uri: str, data: bytes | Path) -> None:
        """Store a file under its full artifact URI, `mlflow-artifacts:/...`."""
        ...

    def read_file(self, uri: str) -> bytes:
        """A file's bytes; raises NotFound."""
        ...

    def close(self) -> None: ...


def open_line(workspace: str | Path | None = None) -> Line:
    """A line to a folder or URL; by default to what commands act on."""
    server = login.server(workspace)
    if server is not None:
        return ServerLine(server.url, server.token)
    return FolderLine(Path(workspace).resolve() if workspace is not None else locate())


class FolderLine:
    """To a workspace of this machine, by whichever way is the right one at each call: control may start and stop."""

    def __init__(self, directory: Path) -> None:
        self.where = str(directory)
        self._directory = directory
        self._store: StoreLine | None = None
        self._opening = threading.Lock()

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        return self._line().get(path, **asked)

    def post(self, path: str, **asked: Any) -> dict[str, Any]:
        return self._line().post(path, **asked)

    def put_file(self, uri: str, data: bytes | Path) -> None:
        self._line().put_file(uri, data)

    def read_file(self, uri: str) -> bytes:
        return self._line().read_file(uri)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _line(self) -> Line:
        control = running_control(self._directory)
        if control is not None:
            return ServerLine(control.url, control.token)
        with self._opening:
            if self._store is None:
                self._store = StoreLine(self._directory)
            return self._store


class StoreLine:
    """Into the store of a folder, in this process."""

    def __init__(self, directory: Path) -> None:
        self.where = str(directory)
        self._wire = DirectWire(directory)

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        return _plain(self._wire.answer("GET", _MLFLOW + path, query=_query(asked)))

    def post(self, path: str, **asked: Any) -> dict[str, Any]:
        return _plain(self._wire.answer("POST", _MLFLOW + path, body=msgspec.json.encode(asked)))

    def put_file(self, uri: str, data: bytes | Path) -> None:
        self._wire.workspace.artifacts.put(_path_of(uri), data)

    def read_file(self, uri: str) -> bytes:
        with self._wire.workspace.artifacts.open(_path_of(uri)) as source:
            return source.read()

    def close(self) -> None:
        self._wire.close()


class ServerLine:
    """To whoever answers at a URL."""

    def __init__(self, url: str, token: str) -> None:
        self.where = url
        self._client = ApiClient(url, token)

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self._client.get(f"{_MLFLOW}{path}?{_query(asked)}"))
        return found

    def post(self, path: str, **asked: Any) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self._client.post(_MLFLOW + path, asked))
        return found

    def put_file(self, uri: str, data: bytes | Path) -> None:
        target = _FILES + urllib.parse.quote(_path_of(uri))
        if isinstance(data, Path):
            self._client.put_file(target, data)
        else:
            self._client.put(target, data)

    def read_file(self, uri: str) -> bytes:
        return self._client.get(_FILES + urllib.parse.quote(_path_of(uri)))

    def close(self) -> None:
        """Nothing is held open between calls."""


def _path_of(uri: str) -> str:
    return uri.removeprefix("mlflow-artifacts:").lstrip("/")


def _query(asked: dict[str, Any]) -> str:
    return urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None}, doseq=True)


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    return plain
