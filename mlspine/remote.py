"""The same services over HTTP: one generic proxy that follows the `@public` methods of each service class."""

from __future__ import annotations

import http.client
import inspect
import urllib.parse
from collections.abc import Callable
from typing import Any

import msgspec

from mlspine.core.errors import FAMILY, Invalid, MlspineError, Unavailable
from mlspine.core.public import Surface, surface

CALL_TIMEOUT_S = 600.0


class ApiClient:
    """Speaks to one control API with one token."""

    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._token = token
        self.url = url

    def post(self, path: str, body: dict[str, Any], *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The answer's body; an error answer is raised as the family member it names."""
        return self._request("POST", path, msgspec.json.encode(body), timeout_s)

    def get(self, path: str, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """The answer's body, errors as in `post`."""
        return self._request("GET", path, None, timeout_s)

    def _request(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise Unavailable(
                f"the control process at {self.url} did not answer: {exc}", hint="see: mlspine up"
            ) from exc
        finally:
            connection.close()
        if response.status >= 400:
            raise error_of(payload, response.status)
        return payload


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
        return Unavailable(f"the control process answered {status}: {payload[:200]!r}")


def read_call(method: Surface, body: Any) -> dict[str, Any]:
    """Arguments of one call out of a JSON body, every problem reported at once."""
    if not isinstance(body, dict):
        raise Invalid("the body must be a JSON object of arguments", hint=f"arguments: {', '.join(method.parameters)}")
    problems = [f"{name}: not an argument of {method.name}" for name in body if name not in method.parameters]
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
