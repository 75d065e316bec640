"""HTTP to an MLflow server: kept-alive connections, retries, its error shape as the error family."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, cast

import msgspec

from mlspine.core.errors import AlreadyExists, Denied, Invalid, MlspineError, NotFound, Unavailable, Unidentified

TIMEOUT_S = 120.0
ATTEMPTS = 6
LONGEST_WAIT_S = 20.0
# Nothing was done yet, or doing it again does no harm.
_TRY_ANY_AGAIN = frozenset({408, 429})
_TRY_HARMLESS_AGAIN = frozenset({500, 502, 503, 504})
_LOST = (OSError, http.client.HTTPException)
_CREDENTIALS = "give the token in MLFLOW_TRACKING_TOKEN, or the name and password in the URL: http://NAME:PASSWORD@HOST"

Query = Mapping[str, str | int]


class Connection:
    """One server, for any number of threads; each keeps a connection of its own.

    url: may carry `user:password@`; else MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or
    MLFLOW_TRACKING_TOKEN, of `environment` are sent. `url` of the object has nothing secret in it.
    """

    def __init__(
        self,
        url: str,
        *,
        environment: Mapping[str, str] = os.environ,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = _split(url)
        self.url = f"{parts.scheme}://{_address(parts)}{parts.path.rstrip('/')}"
        self._parts = parts
        self._base = parts.path.rstrip("/")
        self._headers = {"User-Agent": "mlspine", **_authorization(parts, environment)}
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._here = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def get(self, path: str, query: Query | None = None) -> bytes:
        """The body of an answer to GET; NotFound, Invalid, Denied, Unavailable by the server's word."""
        return self.call("GET", _with_query(path, query), harmless=True)

    def send(self, method: str, path: str, body: object, *, harmless: bool = True) -> bytes:
        """Send JSON. harmless: may be done twice; otherwise it is not sent again once it may have arrived."""
        return self.call(
            method, path, msgspec.json.encode(body), {"Content-Type": "application/json"}, harmless=harmless
        )

    def put(self, path: str, file: BinaryIO, size_bytes: int) -> None:
        """Stream a file up."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        self.call("PUT", path, file, headers, harmless=True)

    @contextlib.contextmanager
    def download(self, path: str, query: Query | None = None) -> Iterator[BinaryIO]:
        """The body of an answer as a file; raises like `get`, and Unavailable when it breaks off."""
        answer = self._answered("GET", _with_query(path, query), None, {}, harmless=True)
        try:
            yield cast(BinaryIO, _Whole(answer))
        except _LOST as exc:
            raise Unavailable(f"{self.url}{path} broke off: {exc}", hint="run the same command again") from exc
        finally:
            if not answer.isclosed():
                self._drop()

    def call(
        self, method: str, path: str, body: bytes | BinaryIO | None = None, headers: Mapping[str, str] | None = None,
        *, harmless: bool,
    ) -> bytes:  # fmt: skip
        answer = self._answered(method, path, body, headers or {}, harmless=harmless)
        try:
            return answer.read()
        except _LOST as exc:
            self._drop()
            raise Unavailable(f"{self.url}{path} broke off: {exc}", hint="run the same command again") from exc

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()

    # ------------------------------------------------------------ inside

    def _answered(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: Mapping[str, str], *, harmless: bool
    ) -> http.client.HTTPResponse:
        for attempt in range(1, ATTEMPTS + 1):
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
            try:
                answer = self._once(method, path, body, headers, fresh=not harmless)
            except _LOST as exc:
                self._drop()
                if not harmless or attempt == ATTEMPTS:
                    raise self._unreachable(exc) from exc
            else:
                if answer.status < 300:
                    return answer
                again = answer.status in _TRY_ANY_AGAIN or (harmless and answer.status in _TRY_HARMLESS_AGAIN)
                error = _error(method, path, answer.status, self._text_of(answer))
                if not again or attempt == ATTEMPTS:
                    raise error
            self._sleep(min(LONGEST_WAIT_S, 0.25 * 2**attempt) * random.uniform(0.5, 1))
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: Mapping[str, str], *, fresh: bool
    ) -> http.client.HTTPResponse:
        if fresh:
            # The server may just be closing an idle connection: then nobody knows whether the call arrived.
            self._drop()
        connection = self._connection()
        connection.request(method, self._base + path, body=body, headers={**self._headers, **headers})
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        held: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if held is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            held = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout_s)
            self._here.connection = held
            self._open.append(held)
        return held

    def _drop(self) -> None:
        held: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if held is not None:
            held.close()
            self._open.remove(held)
            self._here.connection = None

    def _text_of(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read()
        except _LOST:
            self._drop()
            return b""

    def _unreachable(self, exc: BaseException) -> Unavailable:
        return Unavailable(
            f"{self.url} does not answer: {exc or type(exc).__name__}",
            hint=f"see whether it runs (curl {self.url}/health) and run the same command again",
        )


class _Whole:
    """The body of an answer; a connection that is cut off is an error here, where http.client takes it for the end."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self._answer.read()  # which looks for the end itself
        data = self._answer.read(size)
        if size and not data and self._answer.length:
            raise http.client.IncompleteRead(b"", self._answer.length)
        return data


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment:
        raise Invalid(f"{url!r} is no MLflow server's URL", hint="for instance http://127.0.0.1:5000")
    return parts


def _address(parts: urllib.parse.SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port}" if parts.port else str(host)


def _authorization(parts: urllib.parse.SplitResult, environment: Mapping[str, str]) -> dict[str, str]:
    user, password, token = (
        environment.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    if parts.username:
        user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _with_query(path: str, query: Query | None) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


class _Refusal(msgspec.Struct):
    error_code: str = ""
    message: str = ""


def _error(method: str, path: str, status: int, body: bytes) -> MlspineError:
    """What the server refused, as the error family says it."""
    try:
        said = msgspec.json.decode(body, type=_Refusal)
    except msgspec.MsgspecError:
        said = _Refusal()
    text = f"{method} {path.partition('?')[0]} was answered {status} {said.error_code}: {said.message}".rstrip(": ")
    if said.error_code == "RESOURCE_ALREADY_EXISTS" or status == 409:
        return AlreadyExists(text)
    if status == 404:
        return NotFound(text, hint="" if said.error_code else "see whether the URL is that of an MLflow server")
    if status == 401:
        return Unidentified(text, hint=_CREDENTIALS)
    if status == 403:
        return Denied(text, hint=_CREDENTIALS)
    if status in (408, 429) or status >= 500:
        return Unavailable(text, hint="run the same command again later")
    return Invalid(text)
