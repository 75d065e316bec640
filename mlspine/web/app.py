"""The control app: health, metrics, the API of the rooms. One table maps the error family to answers."""

from __future__ import annotations

import logging

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlspine import __version__
from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.types import Actor
from mlspine.web.auth import actor_of
from mlspine.web.metrics import control_metrics
from mlspine.web.rest_api import RestApi
from mlspine.workspace import ROOMS, Workspace

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024 * 1024  # label files travel in calls


def make_app(workspace: Workspace, *, token: str, owner: Actor) -> Starlette:
    """The ASGI app of the control process."""
    api = RestApi({room: getattr(workspace, room) for room in ROOMS})

    async def call(request: Request) -> Response:
        actor = actor_of(request.headers.get("authorization", ""), token=token, owner=owner)
        body = _parse(await _read(request))
        payload = await run_in_threadpool(api.call, request.path_params["path"], body, actor)
        return Response(payload, media_type="application/json")

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def openapi(_: Request) -> Response:
        return _json(api.openapi(__version__))

    async def metrics(_: Request) -> Response:
        text = await run_in_threadpool(control_metrics, workspace)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def home(_: Request) -> Response:
        routes = {"api": "/api/<room>/<method>", "openapi": "/openapi.json", "metrics": "/metrics"}
        return _json({"name": "mlspine", "version": __version__, "workspace": str(workspace.path), "routes": routes})

    return Starlette(
        routes=[
            Route("/", home),
            Route("/health/live", live),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            Route("/api/{path:path}", call, methods=["POST"]),
        ],
        exception_handlers={MlspineError: _family_answer, Exception: _bug_answer},
    )


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


async def _family_answer(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, MlspineError)
    told = {"code": exc.code, "message": exc.message, "hint": exc.hint, "details": list(exc.details)}
    return _json({"error": told}, exc.http_status)


async def _bug_answer(request: Request, exc: Exception) -> Response:
    log.error("unexpected error", exc_info=exc, extra={"path": request.url.path})
    told = {
        "code": "error",
        "message": f"an unexpected {type(exc).__name__} happened inside mlspine",
        "hint": "the full account is in .mlspine/run/control.log",
        "details": [],
    }
    return _json({"error": told}, 500)
