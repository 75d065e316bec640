"""The page at the control port: routes, who may look, and what a browser is told about each answer.

It reads and never changes anything; the only forms sign in and out. A part of a page is what its script asks for
every few seconds (header `Mlspine-Part`), so that a page without a script shows the same.
"""

from __future__ import annotations

import datetime
import gzip
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mlspine import __version__
from mlspine.core.errors import Invalid, MlspineError, NotFound, Unidentified
from mlspine.core.ids import digest_bytes, now_ms
from mlspine.core.observed import since_ms
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.reporting.page import LOOK, page, style_digest
from mlspine.reporting.words import when
from mlspine.web.auth import Door, cookie_name, session_in
from mlspine.web.looking import Looking, visible
from mlspine.web.sessions import SESSION_LIFE_S, Sessions
from mlspine.web.showing import HERE, environment
from mlspine.workspace import Services

OPEN = ("/signin", "/signout", "/look/", "/static/")  # what is answered without a token
EVERY_MS = 4000
LONGEST_FORM_BYTES = 4096
SMALL_BYTES = 16_384
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_PAGE_PATH = re.compile(r"/(endpoints/[A-Za-z0-9._-]{1,63}(/report(\?[A-Za-z0-9=&:._%+-]{1,200})?)?|mlflow/)?\Z")

POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send forms without their origin
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Asset(NamedTuple):
    """A file of our own that a page brings along."""

    data: bytes
    kind: str


class Pages:
    """Home, one page per endpoint, and the way in."""

    def __init__(
        self,
        services: Services,
        *,
        door: Door,
        sessions: Sessions,
        has_mlflow: bool = False,
        clock: Callable[[], int] = now_ms,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._sessions = sessions
        self._has_mlflow = has_mlflow
        self._clock = clock
        self._looking = Looking(services, clock_s=clock_s)
        files = [*sorted((HERE / "static").iterdir()), LOOK]
        self._assets = {file.name: Asset(file.read_bytes(), KINDS[file.suffix]) for file in files}
        self._digest = digest_bytes(b"".join(asset.data for asset in self._assets.values()))[:12]

    def routes(self, *, home: Callable[[Request], Any]) -> list[Route]:
        """The routes of the page. home: what answers at `/` for programs, which ask for no HTML."""

        async def root(request: Request) -> Response:
            return await self._guarded(request, self._home) if wants_page(request) else await home(request)

        async def endpoint(request: Request) -> Response:
            return await self._guarded(request, self._endpoint)

        async def report(request: Request) -> Response:
            return await self._guarded(request, self._report)

        return [
            Route("/", root),
            Route("/endpoints/{name}", endpoint),
            Route("/endpoints/{name}/report", report),
            Route("/signin", self._signin_form),
            Route("/signin", self._signin, methods=["POST"]),
            Route("/signout", self._signout, methods=["POST"]),
            Route("/look", self._invite, methods=["POST"]),
            Route("/look/{code}", self._redeem),
            Route("/static/{name}", self._static),
        ]

    def problem(self, request: Request, exc: MlspineError) -> Response:
        """An error as a page: the way in for somebody unknown, else what happened and what mends it."""
        if isinstance(exc, Unidentified):
            return self._signin_page(request, 401)
        return self._page(request, "problem.html", exc.http_status, problem=exc)

    # ------------------------------------------------------------ pages

    async def _guarded(self, request: Request, show: Callable[[Request, Actor], Any]) -> Response:
        actor: Actor | None = request.state.actor
        if actor is None:
            return self._signin_page(request, 401)
        try:
            access.authorise(actor, "the page", "read")
            answer: Response = await show(request, actor)
        except MlspineError as exc:
            return self.problem(request, exc)
        return answer

    async def _home(self, request: Request, actor: Actor) -> Response:
        status = visible(await self._looking.status(), actor)
        advised = None if actor.scope else await self._looking.advised()
        since = since_ms(status.processes)
        return await self._live(request, actor, "home", status=status, since_at_ms=since, advised=advised)

    async def _endpoint(self, request: Request, actor: Actor) -> Response:
        name = request.path_params["name"]
        access.limit(actor, "the page", {"name": name})
        return await self._live(request, actor, "endpoint", detail=await self._looking.endpoint(name))

    async def _report(self, request: Request, actor: Actor) -> Response:
        """One judged window, the newest without `window`: where the link of an alert leads."""
        name = request.path_params["name"]
        access.limit(actor, "the page", {"name": name})
        asked = request.query_params
        at_ms, causes = _moment(asked.get("window", "")), asked.get("causes", "") == "1"
        document = await self._looking.document(name, at_ms, asked.get("release", ""), causes)
        text = await run_in_threadpool(page, document, back=f"../{name}")
        policy = POLICY.replace("style-src 'self'", f"style-src '{style_digest()}'")
        return _html(request, text, 200, {"Content-Security-Policy": policy})

    async def _live(self, request: Request, actor: Actor, page: str, **shown: Any) -> Response:
        part = "mlspine-part" in request.headers
        template = f"{page}_part.html" if part else f"{page}.html"
        return await run_in_threadpool(
            self._page, request, template, 200, actor=actor, live=True, now_ms=self._clock(), **shown
        )

    # ------------------------------------------------------------ the way in and out

    async def _invite(self, request: Request) -> Response:
        """A one-time link for whoever shows a token: what `mlspine look` opens."""
        secret = request.headers.get("authorization", "").partition(" ")[2].strip()
        if request.state.actor is None or not secret:
            raise Unidentified("a link to the page needs a token", hint="mlspine look")
        return Response(self._sessions.invite(secret), media_type="text/plain", headers=HEADERS | _NOT_KEPT)

    async def _redeem(self, request: Request) -> Response:
        if request.method == "HEAD":  # whoever previews a link does not use it up
            return self._signin_page(request, 200)
        try:
            session = self._sessions.redeem(request.path_params["code"])
        except Unidentified as exc:
            return self._signin_page(request, 401, f"{exc.message}; type again: {exc.hint}")
        # A page of our own leads on: on a redirect from a foreign page browsers would hold a Strict cookie back.
        answer = self._page(request, "welcome.html", 200, target=f"{_root(request)}{_next_of(request.query_params)}")
        return self._with_session(request, answer, session)

    async def _signin_form(self, request: Request) -> Response:
        return self._signin_page(request, 200)

    async def _signin(self, request: Request) -> Response:
        form = await _form(request)
        peer = request.client.host if request.client else ""
        try:
            await run_in_threadpool(self._door.actor_of, form.get("token", "").strip() or "-", peer)
        except Unidentified as exc:
            return self._signin_page(request, 401, exc.message)
        answer = RedirectResponse(f"./{_next_of(form)}", status_code=303, headers=HEADERS | _NOT_KEPT)
        return self._with_session(request, answer, self._sessions.open(form["token"].strip()))

    async def _signout(self, request: Request) -> Response:
        self._sessions.close(session_in(request.headers))
        answer = RedirectResponse("./signin", status_code=303, headers=HEADERS | _NOT_KEPT)
        answer.delete_cookie(cookie_name(request.headers), httponly=True, samesite="strict")
        return answer

    def _with_session(self, request: Request, answer: Response, session: str) -> Response:
        answer.set_cookie(
            cookie_name(request.headers),
            session,
            max_age=int(SESSION_LIFE_S),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    def _signin_page(self, request: Request, status: int, problem: str = "") -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        next_path = path if _PAGE_PATH.match(path) else "/"
        return self._page(request, "signin.html", status, problem=problem, next=next_path)

    # ------------------------------------------------------------ answers

    def _page(
        self, request: Request, template: str, http_status: int, *, actor: Actor | None = None, **shown: Any
    ) -> Response:
        read_at = when(self._clock(), seconds=True)
        frame = {
            "root": _root(request),
            "actor": actor,
            "live": False,
            "every_ms": EVERY_MS,
            "read_at": read_at,
            "assets": self._digest,
            "version": __version__,
            "has_mlflow": self._has_mlflow,
        }
        text = environment().get_template(template).render(frame | shown)
        return _html(request, text, http_status, {"Mlspine-Read-At": read_at})

    async def _static(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return self.problem(request, NotFound("there is no such file"))
        return Response(asset.data, headers=HEADERS | _KEPT, media_type=asset.kind)


_NOT_KEPT = {"Cache-Control": "no-store"}
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}  # its URL carries the digest of all of them


def _html(request: Request, text: str, http_status: int, more: dict[str, str]) -> Response:
    headers = HEADERS | _NOT_KEPT | more
    data = text.encode("utf-8", "replace")
    if "gzip" in request.headers.get("accept-encoding", "") and len(data) > SMALL_BYTES:
        # Nothing secret is in a page, and figures of many columns shrink to a twentieth.
        data = gzip.compress(data, compresslevel=1, mtime=0)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(data, http_status, headers, "text/html; charset=utf-8")


def _moment(text: str) -> int:
    """A time of a link, 0 for none; raises Invalid."""
    if not text:
        return 0
    try:
        found = datetime.datetime.fromisoformat(text.replace(" ", "+"))  # as forms spell a plus
    except ValueError as exc:
        raise Invalid(f"{text[:60]!r} is not a time", hint="leave ?window= out for the newest window") from exc
    return int((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, rather than a program."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def _root(request: Request) -> str:
    """The way from this page to home: relative, so that a proxy may put all of it under a path."""
    return "../" * (request.url.path.count("/") - 1)


def _next_of(form: Any) -> str:
    """Where to go after signing in, relative to home: a page of ours, whatever the form says."""
    wanted = str(form.get("next", ""))
    return wanted[1:] if _PAGE_PATH.match(wanted) else ""


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; none of a larger one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM_BYTES:
            return {}
    return dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
