"""POST /api/<room>/<method> for every public service method, and the OpenAPI document that follows from signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlspine.core.errors import FAMILY, NotFound, closest
from mlspine.core.public import Surface, surface
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.remote import read_call


class RestApi:
    """The public methods of all rooms by path."""

    def __init__(self, services: Mapping[str, object]) -> None:
        self._calls: dict[str, tuple[Surface, Callable[..., Any]]] = {
            f"{room}/{method.name}": (method, getattr(service, method.name))
            for room, service in services.items()
            for method in surface(type(service))
        }

    def call(self, path: str, body: Any, actor: Actor) -> bytes:
        """Run one call and encode its result; raises the error family, NotFound for an unknown path.

        The one place every call passes: what the actor's role and scope do not allow is refused here.
        """
        if path not in self._calls:
            near = closest(path, self._calls)
            raise NotFound(
                f"no method /api/{path}",
                hint=f"did you mean /api/{near}?" if near else "see GET /openapi.json",
            )
        method, bound = self._calls[path]
        access.authorise(actor, path, method.permission)
        arguments = read_call(method, body)
        access.limit(actor, path, arguments)
        if method.takes_actor:
            arguments["actor"] = actor
        return msgspec.json.encode(bound(**arguments))

    def openapi(self, version: str) -> dict[str, Any]:
        """The OpenAPI 3.1 document of exactly these methods."""
        kinds = [kind for method, _ in self._calls.values() for kind, _default in method.parameters.values()]
        kinds += [method.returns for method, _ in self._calls.values()]
        schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
        stream = iter(schemas)
        bodies = {path: {name: next(stream) for name in method.parameters} for path, (method, _) in self._calls.items()}
        returns = {path: next(stream) for path in self._calls}
        components["Error"] = _ERROR_SCHEMA
        return {
            "openapi": "3.1.0",
            "info": {"title": "mlspine control API", "version": version},
            "security": [{"token": []}],
            "paths": {
                f"/api/{path}": {"post": _operation(path, method, bodies[path], returns[path])}
                for path, (method, _) in sorted(self._calls.items())
            },
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }


_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "details": {"type": "array", "items": {"type": "string"}},
            },
        }
    },
}


def _operation(path: str, method: Surface, body: dict[str, Any], returns: dict[str, Any]) -> dict[str, Any]:
    required = [name for name, (_, default) in method.parameters.items() if default is inspect.Parameter.empty]
    failure = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    statuses = sorted({kind.http_status for kind in FAMILY.values()} | {500})
    return {
        "operationId": path.replace("/", "_"),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": body,
                        "required": required,
                        "additionalProperties": False,
                    }
                }
            },
        },
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": returns}}},
            **{str(status): {"description": "refused or failed", **failure} for status in statuses},
        },
    }
