"""The ASGI app of the inference process: routes by exact path, every wire on the same few steps.

The routes are rebuilt whenever what is served changes, in the same step as the endpoints themselves, so that
finding a route is one dictionary look-up however many endpoints there are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from mlspine import __version__
from mlspine.core.errors import Invalid, MlspineError, NotFound, Unavailable, closest
from mlspine.core.ids import now_ms
from mlspine.serving.arm import Arm
from mlspine.serving.endpoint import CANNOT_ANSWER, ServedEndpoint, SilentEndpoint
from mlspine.serving.request import Answer, Request
from mlspine.serving.request_id import new_request_id, read_request_id
from mlspine.serving.service import Serving
from mlspine.web import inference_docs
from mlspine.web.exchange import (
    HungUp,
    Marks,
    Receive,
    Refused,
    Reply,
    Scope,
    Send,
    decoded,
    json_reply,
    read_body,
    read_event_time,
    send_reply,
    text_reply,
)
from mlspine.web.wires import kserve_v1, v2_repository
from mlspine.web.wires.kserve_v1 import KserveV1Wire
from mlspine.web.wires.mlflow_scoring import MlflowScoringWire
from mlspine.web.wires.rows import RowsWire
from mlspine.web.wires.speaker import Speaker, Told
from mlspine.web.wires.v2 import EXTENSIONS as V2_EXTENSIONS
from mlspine.web.wires.v2 import V2Wire

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024 * 1024
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
HTTP_CODES = {405: "method_not_allowed", 408: "timeout", 413: "too_large", 415: "unsupported_media_type"}

Handler = Callable[..., Awaitable[Reply]]


class Page(NamedTuple):
    """A path that is read: what answers, and in which wire's shape its errors are told. with_body: `answer` takes the
    body of the request."""

    answer: Handler
    wire: type[Speaker]
    method: str = "GET"
    with_body: bool = False


class Spoken(NamedTuple):
    """How one arm's answers are written on one wire, and what their headers say of it."""

    speaker: Speaker
    marks: Marks


class Predict(NamedTuple):
    """A path that predicts. `live` is None for an endpoint that cannot answer; `arms` are by `id` of the arm."""

    endpoint: ServedEndpoint | SilentEndpoint
    wire: type[Speaker]
    live: Spoken | None
    arms: Mapping[int, Spoken]
    marks: Marks  # of what the caller is to blame for
    unanswered: Marks
    rereads: bool = False
    method: str = "POST"


class Done(Protocol):
    """Takes the reply to a request, once. request_id: "" for what is no prediction."""

    def __call__(self, reply: Reply, marks: Marks, request_id: str, /) -> None: ...


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
        metrics: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._all_metrics = metrics
        self._serving = serving
        self._base_url = base_url
        self._max_body_bytes = max_body_bytes
        self._timer = timer
        self._clock = clock
        self._routes: dict[str, Page | Predict] = {}
        serving.on_change.append(self.rebuild)
        self.rebuild()

    @property
    def routes(self) -> Mapping[str, Page | Predict]:
        """What answers at each path; another mapping whenever what is served changes."""
        return self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # neither web sockets nor lifespan are spoken
        began_s = self._timer()
        route = self._routes.get(scope["path"])
        try:
            if type(route) is Predict and scope["method"] == "POST":
                reply = await self._predict(route, scope, receive, began_s)
            else:
                reply = await self._read_page(route, scope, receive)
        except HungUp:
            return
        await send_reply(send, reply)

    # ------------------------------------------------------------ predicting

    def predict(self, route: Predict, scope: Scope, body: bytes, began_s: float, done: Done) -> None:
        """Answer one request: `done` hears the reply, now or in a later turn of the loop. Never raises."""
        at_ms = self._clock()
        request_id = ""
        try:
            if scope.get("plain"):
                request_id, event_at_ms, key = new_request_id(at_ms), None, None
            else:
                request_id, event_at_ms, key = identify(scope, at_ms)
                body = decoded(scope, body, self._max_body_bytes)
            if route.live is None:
                raise _silence(route.endpoint)
            table, context = route.live.speaker.read(body, scope)
            request = Request(
                table, request_id, received_at_ms=at_ms, began_s=began_s, event_at_ms=event_at_ms, key=key
            )
            request.context = (route, context, scope, done)
            request.deliver = self._deliver
            if route.rereads:
                request.reread = lambda arm: route.arms[id(arm)].speaker.read(body, scope)[0]
            assert isinstance(route.endpoint, ServedEndpoint)
            route.endpoint.enter(request)
        except Exception as exc:  # noqa: BLE001 (told() logs what nobody foresaw)
            self.refuse(route, scope, exc, request_id, began_s, done)

    def refuse(self, route: Predict, scope: Scope, exc: Exception, request_id: str, began_s: float, done: Done) -> None:
        """Tell the caller of a predicting path why there is no answer, and count it."""
        reply = told(exc, route.wire, scope)
        meter = route.endpoint.meter
        if isinstance(exc, Invalid) and isinstance(route.endpoint, ServedEndpoint):
            meter.refused(exc.details, route.endpoint.codec.schema.names)
        meter.answered(reply.status, self._timer() - began_s)
        if route.endpoint.planned.live is None:
            meter.unanswerable += reply.status == 503
        marks = route.unanswered if reply.status == 503 else route.marks
        done(reply, marks, request_id or new_request_id(self._clock()))

    def _deliver(self, request: Request, answer: Answer | None, exc: Exception | None) -> None:
        route, context, scope, done = request.context
        if answer is None:
            failure = exc or RuntimeError("neither an answer nor an error")
            self.refuse(route, scope, failure, request.request_id, request.began_s, done)
            return
        try:
            spoken = route.arms[id(answer.call.arm)]
            reply = spoken.speaker.write(request.request_id, answer, context)
        except Exception as odd:  # noqa: BLE001 (an answer that no wire can write is told as such)
            self.refuse(route, scope, odd, request.request_id, request.began_s, done)
        else:
            done(reply, spoken.marks, request.request_id)

    async def _predict(self, route: Predict, scope: Scope, receive: Receive, began_s: float) -> Reply:
        replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply, marks: Marks, request_id: str) -> None:
            reply.headers.append((b"mlspine-request-id", request_id.encode()))
            reply.headers.extend(marks.headers)
            if not replied.done():  # its caller may have hung up
                replied.set_result(reply)

        try:
            body = await read_body(scope, receive, self._max_body_bytes)
        except (Refused, MlspineError) as exc:
            self.refuse(route, scope, exc, "", began_s, done)
            return await replied
        # Looked up again: while a slow body arrived, another release may have taken over.
        found = self._routes.get(scope["path"])
        self.predict(found if type(found) is Predict else route, scope, body, began_s, done)
        return await replied

    # ------------------------------------------------------------ reading

    async def _read_page(self, route: Page | Predict | None, scope: Scope, receive: Receive) -> Reply:
        body = b""
        if type(route) is Page and route.with_body and scope["method"] == route.method:
            try:
                body = await read_body(scope, receive, self._max_body_bytes)
            except (Refused, MlspineError) as exc:
                return told(exc, route.wire, scope)
        return await self.read(route, scope, body)

    async def read(self, route: Page | Predict | None, scope: Scope, body: bytes = b"") -> Reply:
        """The reply to anything but a prediction; `route` is what was found at the path, None for nothing."""
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
            if route.with_body:
                return await route.answer(decoded(scope, body, self._max_body_bytes))
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
            "/v2/repository/index": Page(self._v2_index, V2Wire, "POST", with_body=True),
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
            f"/v1/models/{name}:explain": Page(kserve_v1.explain, KserveV1Wire, "POST"),
            f"/v2/repository/models/{name}/load": Page(lambda: self._v2_load(name), V2Wire, "POST"),
            f"/v2/repository/models/{name}/unload": Page(v2_repository.unload, V2Wire, "POST"),
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
        text = await self._all_metrics() if self._all_metrics else self._serving.metrics()
        return text_reply(text, content_type=METRICS_TYPE)

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
        return json_reply({"name": "mlspine", "version": __version__, "extensions": V2_EXTENSIONS})

    async def _v2_models(self) -> Reply:
        return json_reply({"models": sorted(self._serving.endpoints)})

    async def _v2_index(self, body: bytes) -> Reply:
        ready_only = v2_repository.read_ready(body)
        models = []
        for name, endpoint in self._serving.endpoints.items():
            why = await self._serving.why_not_ready(name)
            version = str(endpoint.version) if isinstance(endpoint, ServedEndpoint) else ""
            if why and ready_only:
                continue
            state = "UNAVAILABLE" if why else "READY"
            models.append({"name": name, "version": version, "state": state, "reason": why})
        return json_reply(models)

    async def _v2_load(self, name: str) -> Reply:
        why = await self._serving.why_not_ready(name)
        if why:
            raise Unavailable(
                f"model {name} is not ready: {why}", hint="releases are brought in by: mlspine serve NAME"
            )
        return json_reply({})

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
            reply.headers.append((b"retry-after", str(getattr(exc, "retry_after", 1)).encode()))
        return reply
    if isinstance(exc, Refused):
        reply = wire.error(Told(exc.status, HTTP_CODES.get(exc.status, "refused"), exc.message, exc.hint))
        reply.headers.extend(exc.headers)
        return reply
    log.error("unexpected error while answering", exc_info=exc, extra={"path": scope["path"][:200]})
    message = f"an unexpected {type(exc).__name__} happened inside mlspine"
    return wire.error(Told(500, "error", message, "the full account is in its log"))


def _route(endpoint: ServedEndpoint | SilentEndpoint, wire: Any) -> Predict:
    path = Marks(((b"mlspine-path", endpoint.path.encode()),))
    if isinstance(endpoint, SilentEndpoint):
        return Predict(endpoint, wire, None, {}, path, path)
    arms = {id(arm): Spoken(wire(arm), _marks(arm)) for arm in endpoint.arms}
    live = arms[id(endpoint.arm)]
    unanswered = _marks(endpoint.arm, path=CANNOT_ANSWER)
    return Predict(endpoint, wire, live, arms, live.marks, unanswered, endpoint.rereads)


def _marks(arm: Arm, *, path: str = "") -> Marks:
    return Marks(
        (
            (b"mlspine-release", arm.release_hash.encode()),
            (b"mlspine-version", str(arm.version).encode()),
            (b"mlspine-path", (path or arm.path).encode()),
        )
    )


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
