"""The table of routes, and MLflow's words for what goes wrong: the same behind HTTP and without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from mlspine.core.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    Denied,
    Invalid,
    MissingExtra,
    MlspineError,
    NotFound,
    Unavailable,
    Unidentified,
)
from mlspine.tracking.committer import TooMany
from mlspine.web.mlflow.route import Reader, Route

# MLflow's word and status for each of ours; the first that fits counts.
_ERRORS: tuple[tuple[type[MlspineError], str, int], ...] = (
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (AlreadyExists, "RESOURCE_ALREADY_EXISTS", 400),
    (Conflict, "RESOURCE_CONFLICT", 409),
    (Invalid, "INVALID_PARAMETER_VALUE", 400),
    (Unidentified, "UNAUTHENTICATED", 401),
    (Denied, "PERMISSION_DENIED", 403),
    (MissingExtra, "NOT_IMPLEMENTED", 501),
    (Corrupt, "DATA_LOSS", 500),
    (TooMany, "REQUEST_LIMIT_EXCEEDED", 429),  # the one that clients take back for every call, creates too
    (Unavailable, "TEMPORARILY_UNAVAILABLE", 503),
)
BUG = msgspec.json.encode({"error_code": "INTERNAL_ERROR", "message": "an unexpected error happened inside mlspine"})


class Served(NamedTuple):
    route: Route
    reader: Reader


class NoRoute(NotFound):
    """Nobody answers this; `allowed` are the methods that somebody answers."""

    def __init__(self, method: str, path: str, allowed: list[str]) -> None:
        also = f"; it answers {', '.join(allowed)}" if allowed else ""
        super().__init__(f"No endpoint {method} /api/{path} here{also}", hint="mlspine speaks MLflow's REST API 2.0")
        self.allowed = allowed


class Table:
    """Routes by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[tuple[str, str], Served] = {}
        self._open: list[tuple[list[str], Served]] = []
        for route in routes:
            served = Served(route, Reader(route.takes))
            if "{" in route.path:
                self._open.append((route.path.split("/"), served))
            else:
                self._fixed[route.method, route.path] = served

    def find(self, method: str, below: str) -> tuple[Served, dict[str, str]]:
        """Who answers a path below /api/, percent signs decoded, and the parameters in it; NoRoute otherwise."""
        served = self._fixed.get((method, below))
        if served is not None:
            return served, {}
        parts = below.split("/")
        others = {each for each, path in self._fixed if path == below}
        for template, served in self._open:
            names = _fits(template, parts)
            if names is not None:
                if served.route.method == method:
                    return served, names
                others.add(served.route.method)
        raise NoRoute(method, below, sorted(others))


def told(exc: MlspineError) -> tuple[int, bytes]:
    """Status and body of MLflow's error shape for an error of ours."""
    if isinstance(exc, NoRoute):
        code, status = "ENDPOINT_NOT_FOUND", 405 if exc.allowed else 404
    else:
        code, status = next((code, status) for kind, code, status in _ERRORS if isinstance(exc, kind))
    return status, msgspec.json.encode({"error_code": code, "message": str(exc)})


def _fits(template: list[str], parts: list[str]) -> dict[str, str] | None:
    """The parameters of a path, None when it is another one."""
    if len(template) != len(parts):
        return None
    names = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            names[wanted.strip("{}")] = part
        elif wanted != part:
            return None
    return names
