"""The control app: health, metrics, the API of the rooms. One table maps the error family to answers."""

from __future__ import annotations

import logging

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mlspine import __version__
from mlspine.core.address import is_loopback, local_url
from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.ids import now_ms
from mlspine.core.public import Permission
from mlspine.core.types import Actor
from mlspine.folder import RELEASES
from mlspine.governance import access
from mlspine.remote import Whoami
from mlspine.web.auth import Admission, Door, actor_in
from mlspine.web.metrics import control_metrics
from mlspine.web.mlflow.app import ROUTES, SPOKEN, MlflowApp
from mlspine.web.mlflow.artifacts import ArtifactProxy
from mlspine.web.mlflow.openapi import described
from mlspine.web.mlflow.ui import MlflowPages
from mlspine.web.pages import OPEN, Pages, wants_page
from mlspine.web.recording import described as recording_described
from mlspine.web.recording import recording_routes
from mlspine.web.rest_api import RestApi
from mlspine.web.sessions import Sessions
from mlspine.web.uploads import Uploads, upload_routes
from mlspine.workspace import ROOMS, Workspace

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024 * 1024  # label files travel in calls


def make_app(workspace: Workspace, *, token: str, owner: Actor) -> ASGIApp:
    """The ASGI app of the control process. token: the workspace's own, which stands for its owner."""
    api = RestApi({room: getattr(workspace, room) for room in ROOMS})
    control = workspace.config.control
    door = Door(token=token, owner=owner, tokens=workspace.tokens, host=control.host, names=control.names)
    sessions = Sessions()
    mlflow_pages = MlflowPages(control.mlflow_ui)
    pages = Pages(workspace, door=door, sessions=sessions, has_mlflow=mlflow_pages.is_there)
    uploads = Uploads(
        folder=workspace.path / "run" / "uploads",
        releases_dir=workspace.path / RELEASES,
        max_bytes=control.max_release_bytes,
        clock=now_ms,
    )

    async def call(request: Request) -> Response:
        actor = actor_in(request)
        body = _parse(await _read(request))
        payload = await run_in_threadpool(api.call, request.path_params["path"], body, actor)
        return Response(payload, media_type="application/json")

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def openapi(_: Request) -> Response:
        document = api.openapi(__version__)
        paths, schemas = described(ROUTES)
        document["paths"] |= paths | recording_described()
        document["components"]["schemas"] |= schemas
        return _json(document)

    async def whoami(request: Request) -> Response:
        return _json(_whoami(workspace, actor_in(request)))

    async def metrics(request: Request) -> Response:
        if request.state.actor is not None:
            access.limit(request.state.actor, "metrics", {})
        text = await run_in_threadpool(control_metrics, workspace)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthy(_: Request) -> Response:
        return Response("OK", media_type="text/plain")

    async def spoken(_: Request) -> Response:
        return Response(SPOKEN, media_type="text/plain")

    async def home(request: Request) -> Response:
        if request.state.actor is not None:
            access.limit(request.state.actor, "home", {})
        routes = {"api": "/api/<room>/<method>", "openapi": "/openapi.json", "metrics": "/metrics"}
        return _json({"name": "mlspine", "version": __version__, "workspace": str(workspace.path), "routes": routes})

    def told(request: Request, exc: MlspineError) -> Response:
        return (pages.problem if wants_page(request) else _told)(request, exc)

    async def family_answer(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, MlspineError)
        return told(request, exc)

    rooms = Starlette(
        routes=[
            *pages.routes(home=home),
            *mlflow_pages.routes(),
            Route("/health/live", live),
            Route("/health", healthy),
            Route("/version", spoken),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            Route("/api/whoami", whoami),
            Route("/api/{path:path}", call, methods=["POST"]),
            *recording_routes(workspace.watching, authorise=_may_record),
            *upload_routes(uploads, authorise=lambda request: access.authorise(actor_in(request), "uploads", "ship")),
        ],
        exception_handlers={MlspineError: family_answer, Exception: _bug_answer},
    )
    files = ArtifactProxy(workspace.artifacts, max_bytes=control.max_release_bytes, authorise=_may)
    mlflow = MlflowApp(workspace, proxy=files)

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await (mlflow if scope["path"].startswith(mlflow.PREFIXES) else rooms)(scope, receive, send)

    def refuse(request: Request, exc: MlspineError) -> Response:
        if request.url.path.startswith(mlflow.PREFIXES):
            return mlflow.refuse(exc)
        return told(request, exc)

    return Admission(
        inside,
        door=door,
        refuse=refuse,
        token_of=sessions.token_of,
        without_token=("/health/live", "/health", "/version", *OPEN),
        neighbours=mlflow.PREFIXES,
        by_cookie=("/mlflow/",),
    )


def _may(request: Request, permission: Permission) -> None:
    """Raise for whoever may not; what is merely shown needs no token from this machine itself."""
    path = request.scope["path"]
    if permission == "read" and request.state.actor is None:
        return
    access.authorise(actor_in(request), path, permission)
    access.limit(actor_in(request), path, {})


def _may_record(request: Request, name: str) -> None:
    """Raise for whoever may not send rows that an endpoint answered elsewhere."""
    actor, path = actor_in(request), f"endpoints/{name}/predictions"
    access.authorise(actor, path, "label")
    access.limit(actor, path, {"endpoint": name})


async def _read(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Invalid(f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB", hint="send it in parts")
        chunks.append(chunk)
    return b"".join(chunks)


def _parse(body: bytes) -> object:
    try:
        return msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError as exc:
        raise Invalid(f"the body is not JSON: {exc}") from exc


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _whoami(workspace: Workspace, actor: Actor) -> Whoami:
    config = workspace.config
    return Whoami(
        name=actor.name,
        kind=actor.kind,
        role=actor.role,
        scope=actor.scope,
        version=__version__,
        workspace=str(workspace.path),
        predictions_url=local_url(config.serving.host, config.serving.port),
        predictions_everywhere=not is_loopback(config.serving.host),
        log=config.log,
    )


def _told(_: Request, exc: MlspineError) -> Response:
    told = {"code": exc.code, "message": exc.message, "hint": exc.hint, "details": list(exc.details)}
    answer = _json({"error": told}, exc.http_status)
    if exc.http_status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _bug_answer(request: Request, exc: Exception) -> Response:
    log.error("unexpected error", exc_info=exc, extra={"path": request.url.path})
    told = {
        "code": "error",
        "message": f"an unexpected {type(exc).__name__} happened inside mlspine",
        "hint": "the full account is in .mlspine/run/control.log",
        "details": [],
    }
    return _json({"error": told}, 500)
