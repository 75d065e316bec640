"""The same services over HTTP: one generic proxy that follows the `@public` methods of each service class."""

from __future__ import annotations

import http.client
import inspect
import os
import ssl
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from mlspine.core.address import is_loopback
from mlspine.core.config import LogConfig
from mlspine.core.errors import (
    FAMILY,
    Conflict,
    Denied,
    Invalid,
    MissingExtra,
    MlspineError,
    NotFound,
    Unavailable,
    Unidentified,
)
from mlspine.core.public import Surface, surface
from mlspine.core.types import Role, Struct

CALL_TIMEOUT_S = 600.0
WHOAMI_TIMEOUT_S = 30.0


# What MLflow's statuses mean; its body names no member of the family.
_KINDS: dict[int, type[MlspineError]] = {
    400: Invalid,
    401: Unidentified,
    403: Denied,
    404: NotFound,
    409: Conflict,
    501: MissingExtra,
}


class Whoami(Struct, frozen=True, kw_only=True):
    """What a server says to whoever asks with a token: `GET /api/whoami`."""

    name: str
    kind: str
    role: Role
    scope: tuple[str, ...]
    version: str
    workspace: str
    predictions_url: str  # as the server itself reaches it
    predictions_everywhere: bool  # whether other machines reach it too
    log: LogConfig


class Held(Struct, frozen=True, kw_only=True):
    """How far an upload is: bytes held by digest of each part; complete when the release is in its place."""

    hash: str
    complete: bool
    bytes: dict[str, int]


class ApiClient:
    """Speaks to one control API with one token."""

    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self.url = url

    def post(self, path: str, body: dict[str, Any], *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The answer's body; an error answer is raised as the family member it names."""
        return self._request("POST", path, msgspec.json.encode(body), timeout_s)

    def put(self, path: str, data: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The answer's body, errors as in `post`."""
        return self._request("PUT", path, data, timeout_s, kind="application/octet-stream")

    def put_file(self, path: str, file: Path, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """Send a file without holding it in memory; answer and errors as in `post`."""
        with file.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            return self._request("PUT", path, source, timeout_s, kind="application/octet-stream", size_bytes=size)

    def get(self, path: str, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The answer's body, errors as in `post`."""
        return self._request("GET", path, None, timeout_s)

    def whoami(self) -> Whoami:
        """Who the token stands for there."""
        try:
            return msgspec.json.decode(self.get("/api/whoami", timeout_s=WHOAMI_TIMEOUT_S), type=Whoami)
        except msgspec.MsgspecError as exc:
            raise Unavailable(
                f"{self.url} answers, but not as mlspine does", hint="it must be the address of the control API"
            ) from exc

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        timeout_s: float,
        kind: str = "application/json",
        size_bytes: int | None = None,
    ) -> bytes:
        connection, target = self._connection(self._prefix + path, timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        try:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc
        finally:
            connection.close()
        if response.status >= 400:
            raise error_of(payload, response.status)
        if response.status >= 300:
            raise Unavailable(
                f"{self.url} sends elsewhere, to {response.headers.get('Location', '?')}",
                hint="log in to that address: mlspine login URL",
            )
        return payload

    def _connection(self, path: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
        """A connection, through the proxy of the environment where there is one, and what to ask for on it."""
        connect = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        proxy = "" if is_loopback(self._host) else _proxy_for(self._host, "https" if self._secure else "http")
        if not proxy:
            return connect(self._host, self._port, timeout=timeout_s), path
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        connection = connect(parts.hostname or "", parts.port or 80, timeout=timeout_s)
        if self._secure:
            connection.set_tunnel(self._host, self._port)
            return connection, path
        return connection, f"http://{self._host}:{self._port}{path}"

    def _unreachable(self, exc: Exception) -> Unavailable:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return Unavailable(
                f"the certificate of {self._host} is not accepted: {exc.verify_message}",
                hint="for an authority of your own: SSL_CERT_FILE=authority.pem mlspine ...",
            )
        if isinstance(exc, ssl.SSLError):
            return Unavailable(
                f"{self._host}:{self._port} speaks no TLS that fits: {exc.reason or exc}",
                hint=f"if it speaks plain HTTP: mlspine login http://{self._host}:{self._port}",
            )
        if is_loopback(self._host):
            return Unavailable(f"the control process at {self.url} did not answer: {exc}", hint="see: mlspine up")
        return Unavailable(
            f"{self.url} did not answer: {exc or type(exc).__name__}",
            hint="on the server: mlspine status; is its port open to this machine? Does it speak https?",
        )


def _proxy_for(host: str, scheme: str) -> str:
    """The proxy that the environment (or the system) names for a host, "" for none."""
    import urllib.request

    return "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme, "")


class Proxy:
    """Stands for one service: `proxy.method(...)` is `POST /api/<room>/<method>`."""

    def __init__(self, room: str, service: type, client: ApiClient) -> None:
        self._room = room
        self._client = client
        self._methods = {method.name: method for method in surface(service)}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._methods.get(name)
        if method is None:
            raise AttributeError(f"{self._room}.{name} is not offered over HTTP")

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(method, args, kwargs)

        return call

    def _call(self, method: Surface, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        body = dict(zip(method.parameters, args, strict=False)) | kwargs
        body.pop("actor", None)  # the token says who asks, never the body
        payload = self._client.post(f"/api/{self._room}/{method.name}", msgspec.to_builtins(body))
        return msgspec.json.decode(payload, type=method.returns)


def error_of(payload: bytes, status: int) -> MlspineError:
    """The error an API answer carries, as the member of the family it was raised as.

    >>> error_of(b'{"error": {"code": "not_found", "message": "no endpoint", "hint": "", "details": []}}', 404)
    NotFound('no endpoint')
    """
    try:
        told = msgspec.json.decode(payload)["error"]
        kind = FAMILY.get(told["code"], MlspineError)
        return kind(told["message"], hint=told.get("hint", ""), details=told.get("details", ()))
    except (msgspec.DecodeError, KeyError, TypeError):
        return _told_as_mlflow(payload, status)


def _told_as_mlflow(payload: bytes, status: int) -> MlspineError:
    """The error of an answer in MLflow's shape; any other body is said as it is."""
    try:
        text = str(msgspec.json.decode(payload)["message"])
        kind = _KINDS[status]
    except (msgspec.DecodeError, KeyError, TypeError):
        return Unavailable(f"the control process answered {status}: {payload[:200]!r}")
    message, _, hint = text.partition("\n")
    return kind(message, hint=hint.strip())


def read_call(method: Surface, body: Any) -> dict[str, Any]:
    """Arguments of one call out of a JSON body, every problem reported at once."""
    if not isinstance(body, dict):
        raise Invalid("the body must be a JSON object of arguments", hint=f"arguments: {', '.join(method.parameters)}")
    problems = [f"{name}: not an argument of {method.name}" for name in body if name not in method.parameters]
    problems += [f"{name}: a whole number of more than 64 bits" for name, value in body.items() if _is_too_long(value)]
    arguments: dict[str, Any] = {}
    for name, (kind, default) in method.parameters.items():
        if name not in body:
            if default is inspect.Parameter.empty:
                problems.append(f"{name}: missing")
            continue
        try:
            arguments[name] = msgspec.convert(body[name], type=kind)
        except msgspec.ValidationError as exc:
            problems.append(f"{name}: {exc}")
    if problems:
        raise Invalid(f"{method.name} was called wrongly", details=problems)
    return arguments


def _is_too_long(value: Any) -> bool:
    """Whether a number in a JSON value is one that no store can hold.

    >>> _is_too_long({"a": [1, {"b": 2**63}]}), _is_too_long(2**63 - 1), _is_too_long(1e300)
    (True, False, False)
    """
    if isinstance(value, dict | list):
        return any(_is_too_long(each) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63
