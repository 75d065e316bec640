"""The MLflow wire of the control port: /api/2.0/, /api/3.0/ and the same below /ajax-api/, as an ASGI app.

MLflow's pages ask below /mlflow/: the same again, files and GraphQL.

Writes of many clients share transactions (`tracking/committer.py`); reads run in threads. Whatever goes wrong is
answered in MLflow's error shape, also for routes nobody serves.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlspine.core.errors import Invalid, MlspineError, Unidentified
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.tracking.committer import Committer
from mlspine.web.mlflow import experiments, logged_models, model_versions, registered_models, runs, server
from mlspine.web.mlflow.artifacts import ArtifactProxy, Handler
from mlspine.web.mlflow.downloads import PageFiles
from mlspine.web.mlflow.graph import Graph
from mlspine.web.mlflow.messages import Message
from mlspine.web.mlflow.route import Route
from mlspine.web.mlflow.table import BUG, Served, Table, told
from mlspine.workspace import Workspace

log = logging.getLogger(__name__)

SPOKEN = "3.18.0"  # the MLflow whose protocol this is: clients decide by it what they may ask for
READERS = 8
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_BATCH_BYTES = 1_000_000
ROUTES: tuple[Route, ...] = (
    *(*experiments.ROUTES, *runs.ROUTES, *logged_models.ROUTES, *server.ROUTES),
    *(*registered_models.ROUTES, *model_versions.ROUTES),
)

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mlspine"'}
_JSON = (b"content-type", b"application/json")


class MlflowApp:
    """Answers what begins with one of PREFIXES.

    proxy: who sends and takes files, the artifact proxy.
    """

    PREFIXES = (
        *("/api/2.0/", "/api/3.0/", "/ajax-api/", "/get-artifact", "/model-versions/get-artifact"),
        *("/mlflow/ajax-api/", "/mlflow/graphql", "/mlflow/get-artifact", "/mlflow/model-versions/get-artifact"),
    )

    def __init__(self, workspace: Workspace, *, proxy: ArtifactProxy) -> None:
        self._workspace = workspace
        self._committer = Committer(workspace.db)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="mlflow")
        rest = Table(ROUTES)
        self._table = Table((*ROUTES, Graph(rest).route()))
        files = {**proxy.routes(), **PageFiles(workspace, proxy=proxy, table=rest).routes()}
        self._streamed = [(method, _pattern(path), answer) for (method, path), answer in files.items()]

    def refuse(self, exc: MlspineError) -> Response:
        """The answer to whoever was not let in."""
        status, body = told(exc)
        return Response(body, status, _CHALLENGE if status == 401 else None, "application/json")

    def close(self) -> None:
        """Store what waits, and end the threads."""
        self._committer.close()
        self._threads.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        below = _below(path)
        answer: ASGIApp
        try:
            stream = self._stream(scope["method"], below)
            if stream is not None:
                answer = await stream[0](Request(scope, receive), stream[1])
            else:
                answer = _Json(200, msgspec.json.encode(await self._message(below, scope, receive)))
        except MlspineError as exc:
            answer = _Json(*told(exc))
        except Exception:
            log.exception("unexpected error", extra={"path": path})
            answer = _Json(500, BUG)
        await answer(scope, receive, send)

    async def _message(self, below: str, scope: Scope, receive: Receive) -> Message:
        served, names = self._table.find(scope["method"], below)
        actor: Actor | None = scope["state"]["actor"]
        route = served.route
        if actor is not None or route.permission != "read":
            actor = _known(actor)
            access.authorise(actor, below, route.permission)
        asked = await self._asked(served, names, scope, receive)
        if actor is not None:
            about = {"name": getattr(asked, route.about)} if route.about else {}
            access.limit(actor, below, about)
        return await self._answer(route, asked, actor)

    def _stream(self, method: str, below: str) -> tuple[Handler, str] | None:
        for wanted, pattern, answer in self._streamed:
            found = pattern.fullmatch(below) if method == wanted else None
            if found:
                return answer, found[1]
        return None

    async def _asked(self, served: Served, names: dict[str, str], scope: Scope, receive: Receive) -> Message:
        if scope["method"] in ("GET", "HEAD"):
            return served.reader.from_query(scope["query_string"].decode("latin-1"), names)
        if scope["method"] in ("POST", "PUT"):
            _check_kind(scope)
        limit = MAX_BATCH_BYTES if served.route.path.endswith("/log-batch") else MAX_BODY_BYTES
        return served.reader.from_body(await _read(receive, limit), names)

    async def _answer(self, route: Route, asked: Message, actor: Actor | None) -> Message:
        loop = asyncio.get_running_loop()
        work = functools.partial(route.answer, self._workspace, asked, actor)
        if route.way in ("read", "alone"):
            return await loop.run_in_executor(self._threads, work)
        answered: asyncio.Future[Message] = loop.create_future()

        def tell(result: Message, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_settle, answered, result, error)

        self._committer.submit(work, tell, synced=route.way == "synced")
        return await answered


def _below(path: str) -> str:
    """
    >>> _below("/api/2.0/mlflow/runs/get"), _below("/mlflow/ajax-api/2.0/mlflow/runs/get"), _below("/mlflow/graphql")
    ('2.0/mlflow/runs/get', '2.0/mlflow/runs/get', 'graphql')
    """
    path = path.removeprefix("/mlflow")
    return path.removeprefix("/api/").removeprefix("/ajax-api/").removeprefix("/")


def _pattern(path: str) -> re.Pattern[str]:
    """What matches this path; one that ends in "/" with what follows, and with one part in the place of a *."""
    before, star, after = path.partition("*")
    rest = "([^/]+)" if star else "(.*)" if path.endswith("/") else "()"
    return re.compile(re.escape(before) + rest + re.escape(after), re.DOTALL)


def _known(actor: Actor | None) -> Actor:
    if actor is None:
        raise Unidentified(
            "this needs a token",
            hint="export MLFLOW_TRACKING_TOKEN=...; an admin makes one: mlspine tokens create NAME --role developer",
        )
    return actor


def _check_kind(scope: Scope) -> None:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"").partition(b";")[0]
    if kind.strip().lower() != b"application/json":
        raise Invalid(f"Content-Type {kind.decode('latin-1')!r} is not taken", hint="send application/json")


async def _read(receive: Receive, limit: int) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the request ended before its body did")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise Invalid(f"the body is larger than {limit} bytes", hint="send it in parts")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _settle(answered: asyncio.Future[Message], result: Any, error: BaseException | None) -> None:
    if answered.cancelled():
        return  # the client left; what it sent is stored all the same
    if error is None:
        answered.set_result(result)
    else:
        answered.set_exception(error)


class _Json:
    """An answer of one piece, without what a Starlette response does around it."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._body = body

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        headers = [_JSON, (b"content-length", str(len(self._body)).encode())]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})
