"""The door of the control port: who asks, and from which page.

Two things are asked of every request before anything else sees it.

- *Did it come here on purpose?* A web page elsewhere can make a browser send requests to this machine, also under
  a name of its own that resolves to 127.0.0.1. So while control listens on loopback the Host must be this machine
  or one of `control.names`, and an Origin, which browsers add, must be the very host that is asked.
- *Who is it?* By `Authorization: Bearer TOKEN`, or the token as the password of `Basic`, or, where something is only
  read, by the cookie of a page that was signed in; on the paths of `by_cookie` the cookie also counts for changes,
  if the browser says that a page of this very host asks. Without a token only what `without_token` lists is answered;
  from this machine itself also everything that is merely shown. On the paths of `neighbours`, whose clients have no
  place for a token of ours, a process of the very user who runs control is that user.

What comes through carries `request.state.actor`, None for somebody who showed no token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlspine.core.address import is_loopback
from mlspine.core.errors import Denied, MlspineError, Unidentified
from mlspine.core.types import Actor
from mlspine.governance.tokens import Tokens
from mlspine.web.neighbour import is_same_user

log = logging.getLogger(__name__)

COOKIE = "mlspine_session"
FAILURES_PER_MINUTE = 100  # a peer that fails more often is not looked up until the minute is over
PEERS_COUNTED = 1024
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\Z")


class Door:
    """Names whoever asks, by the workspace's own token or one of `tokens`."""

    def __init__(
        self,
        *,
        token: str,
        owner: Actor,
        tokens: Tokens,
        host: str = "127.0.0.1",
        names: tuple[str, ...] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = token
        self._owner = owner
        self._tokens = tokens
        self._local = is_loopback(host)
        self._names = frozenset(name.lower() for name in names)
        self._failures = Failures(clock_s)

    def owner_by(self, secret: str) -> Actor | None:
        """The owner, when this is the workspace's own token: asks no store."""
        return self._owner if hmac.compare_digest(secret.encode(), self._token.encode()) else None

    def actor_of(self, secret: str, peer: str = "") -> Actor:
        """Who holds this token; raises Unidentified for anything but a valid one."""
        owner = self.owner_by(secret)
        if owner is not None:
            return owner
        if self._failures.too_many(peer):
            raise Unidentified("too many wrong tokens came from your address", hint="wait a minute, then try again")
        try:
            return self._tokens.verify(secret)
        except Unidentified:
            self._failures.add(peer)
            raise

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raise Denied for a request that some page elsewhere made a browser send."""
        host = headers.get("host", "")
        name = _hostname(host)
        if not _HOST.match(host):
            raise Denied("the Host of this request names no host", hint="ask by name or address, and port")
        if self._local and not is_loopback(name) and name not in self._names:
            raise Denied(
                f"this is not {name or 'the host that was asked for'}",
                hint=f'behind a proxy, in mlspine.toml: [control] names = ["{name}"]',
            )
        origin = headers.get("origin")
        if origin is not None and not _is_page_of(origin, host):
            raise Denied(f"a page of {origin} may not ask {host}", hint="open this server's own page")

    def neighbour(self, scope: Scope) -> Actor | None:
        """The owner, when a process of the owner's on this machine asks; None for anybody else."""
        client, server = scope.get("client"), scope.get("server")
        if not client or not server or server[1] is None or not is_loopback(client[0]):
            return None
        return self._owner if is_same_user((client[0], client[1]), (server[0], server[1])) else None

    def is_local(self, headers: Mapping[str, str]) -> bool:
        """Whether the request comes from this machine itself, not through a proxy on it."""
        forwarded = "forwarded" in headers or "x-forwarded-for" in headers
        return self._local and is_loopback(_hostname(headers.get("host", ""))) and not forwarded


class Failures:
    """Wrong tokens by peer within the running minute. Bounded: at PEERS_COUNTED all counts begin anew."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._minute = 0
        self._counts: dict[str, int] = {}

    def add(self, peer: str) -> None:
        self._turn()
        if len(self._counts) >= PEERS_COUNTED:
            self._counts.clear()
        self._counts[peer] = self._counts.get(peer, 0) + 1
        if self._counts[peer] == FAILURES_PER_MINUTE:
            log.warning("many wrong tokens", extra={"peer": peer})

    def too_many(self, peer: str) -> bool:
        self._turn()
        return self._counts.get(peer, 0) >= FAILURES_PER_MINUTE

    def _turn(self) -> None:
        minute = int(self._clock_s() // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()


class Admission:
    """ASGI middleware around the whole control app.

    token_of: the token behind the session a page's cookie names, "" for none.
    without_token: paths that everybody may ask for; one ending in "/" stands for all below it.
    neighbours: beginnings of paths on which a process of the owner's own user needs no token.
    by_cookie: beginnings of paths whose pages change things, with nothing to show but the cookie.
    refuse: the answer for an error of the family.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        refuse: Callable[[Request, MlspineError], Response],
        token_of: Callable[[str], str] = lambda _: "",
        without_token: tuple[str, ...] = ("/health/live",),
        neighbours: tuple[str, ...] = (),
        by_cookie: tuple[str, ...] = (),
    ) -> None:
        self._app = app
        self._door = door
        self._refuse = refuse
        self._token_of = token_of
        self._without_token = without_token
        self._neighbours = neighbours
        self._by_cookie = by_cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # neither websockets nor a lifespan are served
        request = Request(scope)
        try:
            self._door.check_origin(request.headers)
            request.state.actor = await self._identify(request)
        except MlspineError as exc:
            await self._refuse(request, exc)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _identify(self, request: Request) -> Actor | None:
        secret, from_cookie = self._secret_of(request)
        peer = request.client.host if request.client else ""
        if self._is_open(request.scope["path"]):  # what is routed by; request.url is made of the Host too
            return None
        if secret:
            try:
                owner = self._door.owner_by(secret)
                return owner or await run_in_threadpool(self._door.actor_of, secret, peer)
            except Unidentified:
                if not from_cookie:
                    raise  # a page's session may just have outlived its token
        if self._door.is_local(request.headers):
            by_neighbours = request.scope["path"].startswith(self._neighbours)
            return self._door.neighbour(request.scope) if by_neighbours else None
        raise _no_token()

    def _secret_of(self, request: Request) -> tuple[str, bool]:
        """The token a request shows, and whether a cookie brought it; "" for none."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return given.strip() or "-", False
        if scheme.lower() == "basic":
            return _password(given) or "-", False
        return (self._token_of(session_in(request.headers)) if self._cookie_counts(request) else ""), True

    def _cookie_counts(self, request: Request) -> bool:
        """A browser sends the cookie along whoever's page asks; which page that is, it says by the Origin.

        The Origin was checked already: one that is there is this very host.
        """
        if request.method in ("GET", "HEAD"):
            return True
        return "origin" in request.headers and request.scope["path"].startswith(self._by_cookie)

    def _is_open(self, path: str) -> bool:
        return any(path == each or (each.endswith("/") and path.startswith(each)) for each in self._without_token)


def actor_in(request: Request) -> Actor:
    """Who asks; raises Unidentified when nobody showed a token."""
    actor: Actor | None = request.state.actor
    if actor is None:
        raise _no_token()
    return actor


def _no_token() -> Unidentified:
    return Unidentified(
        "this needs a token",
        hint="mlspine login URL; over HTTP: Authorization: Bearer TOKEN; an admin makes one: mlspine tokens create"
        " NAME --role ROLE",
    )


def session_in(headers: Mapping[str, str]) -> str:
    """The session a page's cookie names, "" for none."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name(headers))
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def cookie_name(headers: Mapping[str, str]) -> str:
    """One name per port: browsers keep cookies by host alone, and a person may look at two workspaces."""
    port = _netloc(f"http://{headers.get('host', '')}")[1]
    return f"{COOKIE}_{port}"


def _password(given: str) -> str:
    """The password of a Basic authorization, "" for none."""
    try:
        return base64.b64decode(given.strip()).decode().partition(":")[2].strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_page_of(origin: str, host: str) -> bool:
    """Whether an Origin is the host that is asked; "null", which a sandboxed page sends, is nobody's."""
    scheme, slashes, _ = origin.partition("://")
    return bool(slashes) and scheme in ("http", "https") and _netloc(origin) == _netloc(f"{scheme}://{host}")


def _hostname(host: str) -> str:
    try:
        return (urllib.parse.urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _netloc(url: str) -> tuple[str, int | None]:
    """Host and port, with the port the scheme implies."""
    try:
        parts = urllib.parse.urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None
