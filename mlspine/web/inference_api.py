"""The ASGI app of the inference process: routes by exact path, every wire on the same few steps.

The routes are rebuilt whenever what is served changes, in the same step as the endpoints themselves, so that
finding a route is one dictionary look-up however many endpoints there are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mlspine import __version__
from mlspine.core.errors import Invalid, MlspineError, NotFound, closest
from mlspine.core.ids import now_ms
from mlspine.serving.batcher import Request
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.request_id import new_request_id, read_request_id
from mlspine.serving.service import Serving
from mlspine.web import inference_docs
from mlspine.web.exchange import (
    Header,
    HungUp,
    Receive,
    Refused,
    Reply,
    Scope,
    Send,
    json_reply,
    read_body,
    read_event_time,
    send_reply,
    text_reply,
)
from mlspine.web.wires.kserve_v1 import KserveV1Wire
from mlspine.web.wires.mlflow_scoring import MlflowScoringWire
from mlspine.web.wires.rows import RowsWire
from mlspine.web.wires.speaker import Speaker, Told
from mlspine.web.wires.v2 import V2Wire

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024 * 1024
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
HTTP_CODES = {405: "method_not_allowed", 408: "timeout", 413: "too_large", 415: "unsupported_media_type"}
RETRY_AFTER = (b"retry-after", b"1")

Handler = Callable[[], Awaitable[Reply]]


class Page(NamedTuple):
    """A path that is read: what answers, and in which wire's shape its errors are told."""

    answer: Handler
    wire: type[Speaker]
    method: str = "GET"


class Predict(NamedTuple):
    """A path that predicts. `speaker` is None for an endpoint that cannot answer."""

    endpoint: ServedEndpoint | SilentEndpoint
    wire: type[Speaker]
    speaker: Speaker | None
    headers: tuple[Header, ...]
    method: str = "POST"


class InferenceApi:
    """The ASGI application."""

    def __init__(
        self,
        serving: Serving,
        *,
        base_url: str,
        max_body_bytes: int = MAX_BODY_BYTES,
        timer: Callable[[], float] = time.perf_counter,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._serving = serving
        self._base_url = base_url
        self._max_body_bytes = max_body_bytes
        self._timer = timer
        self._clock = clock
        self._routes: dict[str, Page | Predict] = {}
        serving.on_change.append(self.rebuild)
        self.rebuild()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # neither web sockets nor lifespan are spoken
        began_s = self._timer()
        route = self._routes.get(scope["path"])
        try:
            if type(route) is Predict and scope["method"] == "POST":
                reply = await self._predict(route, scope, receive, began_s)
            else:
                reply = await self._read(route, scope)
        except HungUp:
            return
        await send_reply(send, reply)

    # ------------------------------------------------------------ predicting

    async def _predict(self, route: Predict, scope: Scope, receive: Receive, began_s: float) -> Reply:
        request_id = ""
        try:
            body = await read_body(scope, receive, self._max_body_bytes)
            # Looked up again: while a slow body arrived, another release may have taken over.
            found = self._routes.get(scope["path"])
            route = found if type(found) is Predict else route
            at_ms = self._clock()
            request_id, event_at_ms, key = identify(scope, at_ms)
            speaker = route.speaker
            if speaker is None or isinstance(route.endpoint, SilentEndpoint):
                raise _silence(route.endpoint)
            table, context = speaker.read(body, scope)
            answer = await route.endpoint.submit(
                Request(table, request_id, received_at_ms=at_ms, began_s=began_s, event_at_ms=event_at_ms, key=key)
            )
            reply = speaker.write(request_id, answer, context)
        except HungUp:
            raise
        except Exception as exc:  # noqa: BLE001 (told() logs what nobody foresaw)
            reply = told(exc, route.wire, scope)
            request_id = request_id or new_request_id(self._clock())
            if isinstance(exc, Invalid) and isinstance(route.endpoint, ServedEndpoint):
                route.endpoint.meter.refused(exc.details, route.endpoint.codec.schema.names)
        reply.headers.append((b"mlspine-request-id", request_id.encode()))
        reply.headers.extend(route.headers)
        route.endpoint.meter.answered(reply.status, self._timer() - began_s)
        if route.endpoint.planned.live is None:
            route.endpoint.meter.unanswerable += reply.status == 503
        return reply

    # ------------------------------------------------------------ reading

    async def _read(self, route: Page | Predict | None, scope: Scope) -> Reply:
        wire: type[Speaker] = _wire_of(scope["path"]) if route is None else route.wire
        try:
            if route is None:
                raise self._no_route(scope["path"])
            if scope["method"] not in _methods(route):
                allowed = ", ".join(_methods(route))
                raise Refused(
                    405,
                    f"{scope['method']} is not allowed on {scope['path']}",
                    hint=f"allowed: {allowed}",
                    headers=((b"allow", allowed.encode()),),
                )
            assert isinstance(route, Page)
            if scope["path"] == "/metrics":
                self._serving.scraped(_user_agent(scope))
            return await route.answer()
        except Exception as exc:  # noqa: BLE001 (told() logs what nobody foresaw)
            return told(exc, wire, scope)

    def _no_route(self, path: str) -> NotFound:
        canonical = [known for known in self._routes if known.startswith("/endpoints/") and known.endswith("/predict")]
        near = closest(path, self._routes)
        listed = f"routes that predict: {', '.join(canonical[:10]) or 'none yet'}; all routes: /docs"
        return NotFound(f"nothing answers at {path[:200]}", hint=f"did you mean {near}? {listed}" if near else listed)

    # ------------------------------------------------------------ routes

    def rebuild(self) -> None:
        """Make the routes match what is served."""
        endpoints = self._serving.endpoints
        routes: dict[str, Page | Predict] = {
            "/": Page(self._home, RowsWire),
            "/endpoints": Page(self._list, RowsWire),
            "/docs": Page(self._docs, RowsWire),
            "/openapi.json": Page(self._openapi, RowsWire),
            "/metrics": Page(self._metrics, RowsWire),
            "/health/live": Page(self._live, RowsWire),
            "/health/ready": Page(self._ready, RowsWire),
            "/v1/models": Page(self._v1_models, KserveV1Wire),
            "/v2": Page(self._v2_server, V2Wire),
            "/v2/": Page(self._v2_server, V2Wire),
            "/v2/health/live": Page(self._live, V2Wire),
            "/v2/health/ready": Page(self._ready, V2Wire),
            "/v2/models": Page(self._v2_models, V2Wire),
            "/v2/repository/index": Page(self._v2_index, V2Wire, "POST"),
        }
        for name, endpoint in endpoints.items():
            routes |= self._endpoint_routes(name, endpoint)
        if len(endpoints) == 1:
            name = next(iter(endpoints))
            routes["/invocations"] = routes[f"/endpoints/{name}/invocations"]
            routes["/ping"] = routes["/health"] = Page(self._ping, MlflowScoringWire)
            routes["/version"] = Page(self._version, MlflowScoringWire)
        self._routes = routes

    def _endpoint_routes(self, name: str, endpoint: ServedEndpoint | SilentEndpoint) -> Mapping[str, Page | Predict]:
        routes: dict[str, Page | Predict] = {
            f"/endpoints/{name}": Page(lambda: self._describe(endpoint), RowsWire),
            f"/endpoints/{name}/predict": _route(endpoint, RowsWire),
            f"/endpoints/{name}/invocations": _route(endpoint, MlflowScoringWire),
            f"/v1/models/{name}": Page(lambda: self._v1_ready(name), KserveV1Wire),
            f"/v1/models/{name}:predict": _route(endpoint, KserveV1Wire),
        }
        infer = _route(endpoint, V2Wire)
        bases = [f"/v2/models/{name}"]
        if isinstance(endpoint, ServedEndpoint):
            bases.append(f"/v2/models/{name}/versions/{endpoint.version}")
        for base in bases:
            routes[base] = Page(lambda: self._v2_metadata(endpoint), V2Wire)
            routes[f"{base}/ready"] = Page(lambda: self._v2_ready(name), V2Wire)
            routes[f"{base}/infer"] = infer
        return routes

    # ------------------------------------------------------------ pages

    async def _home(self) -> Reply:
        return json_reply(
            {
                "name": "mlspine",
                "version": __version__,
                "endpoints": sorted(self._serving.endpoints),
                "docs": "/docs",
                "openapi": "/openapi.json",
                "metrics": "/metrics",
            }
        )

    async def _list(self) -> Reply:
        return json_reply({"endpoints": [inference_docs.summary(each) for each in self._serving.endpoints.values()]})

    async def _describe(self, endpoint: ServedEndpoint | SilentEndpoint) -> Reply:
        return json_reply(inference_docs.description(endpoint, self._base_url))

    async def _docs(self) -> Reply:
        page = inference_docs.page(self._serving.endpoints.values(), self._base_url, __version__)
        return text_reply(page, content_type=b"text/html; charset=utf-8")

    async def _openapi(self) -> Reply:
        return json_reply(
            inference_docs.openapi(self._serving.endpoints.values(), self._base_url, __version__, self._max_body_bytes)
        )

    async def _metrics(self) -> Reply:
        return text_reply(self._serving.metrics(), content_type=METRICS_TYPE)

    async def _live(self) -> Reply:
        return json_reply({"live": True})

    async def _ready(self) -> Reply:
        why = await self._serving.why_process_not_ready()
        return json_reply({"ready": False, "reason": why}, 503) if why else json_reply({"ready": True})

    async def _ping(self) -> Reply:
        why = await self._serving.why_process_not_ready()
        return text_reply(f"{why}\n", 503) if why else text_reply("\n")

    async def _version(self) -> Reply:
        return text_reply(__version__)

    async def _v1_models(self) -> Reply:
        return json_reply({"models": sorted(self._serving.endpoints)})

    async def _v1_ready(self, name: str) -> Reply:
        why = await self._serving.why_not_ready(name)
        return json_reply({"name": name, "ready": not why}, 503 if why else 200)

    async def _v2_server(self) -> Reply:
        return json_reply({"name": "mlspine", "version": __version__, "extensions": []})

    async def _v2_models(self) -> Reply:
        return json_reply({"models": sorted(self._serving.endpoints)})

    async def _v2_index(self) -> Reply:
        models = []
        for name, endpoint in self._serving.endpoints.items():
            why = await self._serving.why_not_ready(name)
            version = str(endpoint.version) if isinstance(endpoint, ServedEndpoint) else ""
            state = "UNAVAILABLE" if why else "READY"
            models.append({"name": name, "version": version, "state": state, "reason": why})
        return json_reply(models)

    async def _v2_metadata(self, endpoint: ServedEndpoint | SilentEndpoint) -> Reply:
        if isinstance(endpoint, SilentEndpoint):
            raise endpoint.refusal()
        return json_reply(V2Wire(endpoint).metadata())

    async def _v2_ready(self, name: str) -> Reply:
        why = await self._serving.why_not_ready(name)
        if why:
            return json_reply({"name": name, "ready": False, "error": why}, 503)
        return json_reply({"name": name, "ready": True})


def identify(scope: Scope, at_ms: int) -> tuple[str, int | None, str | None]:
    """Request id (the caller's own or a new one), event time and key of a request, by its headers."""
    request_id, event_at_ms, key = "", None, None
    for name, value in scope["headers"]:
        if name[:8] == b"mlspine-":
            if name == b"mlspine-request-id":
                request_id = read_request_id(value)
            elif name == b"mlspine-event-time":
                event_at_ms = read_event_time(value)
            elif name == b"mlspine-key":
                key = value.decode("utf-8", "replace").strip()
    return request_id or new_request_id(at_ms), event_at_ms, key or None


def told(exc: Exception, wire: type[Speaker], scope: Scope) -> Reply:
    """Any failure in the words and shape of a wire; what nobody foresaw is logged, and told in outline."""
    if isinstance(exc, MlspineError):
        status = wire.ERRORS.get(exc.code, 500)
        reply = wire.error(Told(status, exc.code, exc.message, exc.hint, exc.details))
        if status == 503:
            reply.headers.append(RETRY_AFTER)
        return reply
    if isinstance(exc, Refused):
        reply = wire.error(Told(exc.status, HTTP_CODES.get(exc.status, "refused"), exc.message, exc.hint))
        reply.headers.extend(exc.headers)
        return reply
    log.error("unexpected error while answering", exc_info=exc, extra={"path": scope["path"][:200]})
    message = f"an unexpected {type(exc).__name__} happened inside mlspine"
    return wire.error(Told(500, "error", message, "the full account is in its log"))


def _route(endpoint: ServedEndpoint | SilentEndpoint, wire: Any) -> Predict:
    if isinstance(endpoint, SilentEndpoint):
        return Predict(endpoint, wire, None, ((b"mlspine-path", endpoint.path.encode()),))
    headers = (
        (b"mlspine-release", endpoint.release_hash.encode()),
        (b"mlspine-version", str(endpoint.version).encode()),
        (b"mlspine-path", endpoint.path.encode()),
    )
    return Predict(endpoint, wire, wire(endpoint), headers)


def _silence(endpoint: ServedEndpoint | SilentEndpoint) -> MlspineError:
    assert isinstance(endpoint, SilentEndpoint)
    return endpoint.refusal()


def _methods(route: Page | Predict) -> tuple[str, ...]:
    return ("GET", "HEAD") if route.method == "GET" else (route.method,)


def _user_agent(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"user-agent"), "")


def _wire_of(path: str) -> type[Speaker]:
    """In whose words a path nobody answers is refused."""
    for prefix, wire in (("/v2", V2Wire), ("/v1", KserveV1Wire), ("/invocations", MlflowScoringWire)):
        if path.startswith(prefix):
            return wire
    return RowsWire
