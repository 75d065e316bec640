"""The MLflow wire without a server: a call is answered in the caller's own thread, out of the store itself."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from mlspine.core.errors import MlspineError
from mlspine.core.types import Actor
from mlspine.folder import this_actor
from mlspine.web.mlflow.app import ROUTES
from mlspine.web.mlflow.messages import Message
from mlspine.web.mlflow.route import Route
from mlspine.web.mlflow.table import BUG, Table, told
from mlspine.workspace import Workspace

log = logging.getLogger(__name__)


class DirectWire:
    """Answers what the control port would, by the same routes. Whoever can open the store's folder is its owner."""

    def __init__(self, directory: Path) -> None:
        self.workspace = Workspace.open(directory)
        self._actor: Actor = this_actor()
        self._table = Table(ROUTES)

    def call(self, method: str, path: str, *, query: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """Status and JSON body of the answer to a path such as "/api/2.0/mlflow/runs/get"."""
        try:
            return 200, msgspec.json.encode(self.answer(method, path, query=query, body=body))
        except MlspineError as exc:
            return told(exc)
        except Exception:
            log.exception("unexpected error", extra={"path": path})
            return 500, BUG

    def answer(self, method: str, path: str, *, query: str = "", body: bytes = b"") -> Message:
        """The same as a message; what goes wrong is raised as the member of the family it is."""
        served, names = self._table.find(method, path.removeprefix("/api/"))
        reader = served.reader
        asked = reader.from_query(query, names) if method == "GET" else reader.from_body(body, names)
        return self._answer(served.route, asked)

    def _answer(self, route: Route, asked: Message) -> Message:
        if route.way in ("read", "alone"):
            return route.answer(self.workspace, asked, self._actor)
        with self.workspace.db.write(synced=route.way == "synced"):
            return route.answer(self.workspace, asked, self._actor)

    def close(self) -> None:
        self.workspace.close()
