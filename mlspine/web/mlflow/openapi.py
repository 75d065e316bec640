"""The MLflow wire as OpenAPI: one operation for each route, its message as query or body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from mlspine.web.mlflow.route import Route

_ERROR = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}
_FAILURES = {"400": "refused", "401": "no valid token", "403": "not allowed", "404": "not there", "409": "conflict"}


def described(routes: Iterable[Route]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Paths and component schemas of some routes."""
    listed = list(routes)
    schemas, components = msgspec.json.schema_components(
        [route.takes for route in listed], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route, schema in zip(listed, schemas, strict=True):
        message = components[schema["$ref"].rpartition("/")[2]]
        paths.setdefault(f"/api/{route.path}", {})[route.method.lower()] = _operation(route, schema, message)
    return paths, {**components, "MlflowError": _ERROR}


def _operation(route: Route, schema: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", route.path)
    operation: dict[str, Any] = {
        "operationId": f"mlflow_{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower())}",
        "tags": ["MLflow"],
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}},
            **{status: _failure(why) for status, why in _FAILURES.items()},
        },
    }
    if route.method == "GET":
        required = set(message.get("required", ()))
        operation["parameters"] += [
            {"name": name, "in": "query", "required": name in required, "schema": each}
            for name, each in message.get("properties", {}).items()
            if name not in names
        ]
    else:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _failure(why: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/MlflowError"}
    return {"description": why, "content": {"application/json": {"schema": schema}}}
