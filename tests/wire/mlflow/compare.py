"""Where two recordings of the same flows part: field by field, request by request. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

ABSENT = "(absent)"
REMEMBERED = "/api/3.0/mlflow/server-info"  # by clients for a minute: when they ask is a matter of their speed
# Words of MLflow's messages that clients or popular code look for; the rest of a message is free.
PHRASES = (
    "Changing param values is not allowed",
    "already exists",
    "not found",
    "must be in the 'active' state",
    "Invalid clause(s) in filter string",
    "Missing value for required parameter",
)


class Difference(NamedTuple):
    """One place where the answers part. where: a dotted path, in an exchange after its method and route."""

    client: str
    flow: str
    step: str
    where: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        place = f"{self.client} {self.flow} / {self.step}\n  {self.where}"
        return f"{place}\n    theirs: {_short(self.theirs)}\n    ours:   {_short(self.ours)}"


def compare(theirs: list[dict[str, Any]], ours: list[dict[str, Any]], *, client: str) -> list[Difference]:
    """Every difference between two normalised recordings of the same flows, in the order of the flows."""
    by_step = {(each["flow"], each["step"]): each for each in ours}
    found = []
    for step in theirs:
        other = by_step.pop((step["flow"], step["step"]), None)
        place = (client, step["flow"], step["step"])
        if other is None:
            found.append(Difference(*place, "the step", "was taken", ABSENT))
            continue
        parts = list(_exchanges(step["exchanges"], other["exchanges"]))
        # What the client made of different answers is no difference of its own; headers tell it nothing.
        if all(" headers." in where for where, _, _ in parts):
            parts.extend(_outcome(step, other))
        found.extend(Difference(*place, *part) for part in parts)
    found.extend(Difference(client, *key, "the step", ABSENT, "was taken") for key in by_step)
    return found


def _outcome(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for field in ("value", "error"):
        yield from _values(field, theirs.get(field, ABSENT), ours.get(field, ABSENT))


def _exchanges(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """Exchanges pair by what was asked; what is left then pairs by route, in order, and its requests are compared."""
    left, pairs = list(ours), []
    for exchange in theirs:
        other = next((each for each in left if _asked(each) == _asked(exchange)), None)
        pairs.append((exchange, other))
        if other is not None:
            left.remove(other)
    for exchange, same in pairs:
        other = same or next((each for each in left if route(each) == route(exchange)), None)
        if other is None:
            if exchange["path"] != REMEMBERED:
                yield route(exchange), "was asked", ABSENT
            continue
        if same is None:
            left.remove(other)
        if status(exchange) != status(other):
            yield f"{route(exchange)} status", status(exchange), status(other)
            continue
        for field in ("query", "request", "headers", "answer"):
            yield from _values(f"{route(exchange)} {field}", exchange.get(field), other.get(field))
    for exchange in left:
        if exchange["path"] != REMEMBERED:
            yield route(exchange), ABSENT, "was asked"


def route(exchange: dict[str, Any]) -> str:
    """What was asked, with {} for ids and for paths of files.

    >>> route({"method": "GET", "path": "/api/2.0/mlflow/logged-models/m-1/tags/a"})
    'GET /api/2.0/mlflow/logged-models/{}/tags/{}'
    """
    path = re.sub(r"(/mlflow-artifacts/(?:artifacts|presigned|mpu/\w+)/).+", r"\1{}", exchange["path"])
    if not path.endswith("/logged-models/search"):
        path = re.sub(r"/logged-models/[^/]+", "/logged-models/{}", path)
        path = re.sub(r"(/logged-models/\{\}/tags/).+", r"\1{}", path)
    return f"{exchange['method']} {path}"


def _values(where: str, theirs: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _objects(where, theirs, ours)
    elif (names := _names(theirs)) and names != (others := _names(ours)) and others:
        yield f"{where}, whose", names, others
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _values(f"{where}.{number}", *pair)
    elif (
        isinstance(theirs, list)
        and isinstance(ours, list)
        and (pair := (_by_key(theirs), _by_key(ours)))
        and None not in pair
    ):
        yield from _objects(where, *pair)
    elif theirs != ours or isinstance(theirs, bool) != isinstance(ours, bool):
        yield where, theirs, ours


def _names(items: Any) -> list[str]:
    """Whom the objects of a list are about, in its order; empty when it is no list of runs, models or versions."""
    if not isinstance(items, list) or not all(isinstance(each, dict) and "key" not in each for each in items):
        return []
    named = [each.get("info", each) for each in items]
    found = [
        f"{each.get('name', '')} {each.get('version', '')}".strip() or str(each.get("run_id", "")) for each in named
    ]
    return found if all(found) else []


def _by_key(items: list[Any]) -> dict[str, Any] | None:
    """A list of things with keys of their own (tags, params, metrics) by these keys, None when it is no such list."""
    keyed = {str(each["key"]): each for each in items if isinstance(each, dict) and "key" in each}
    return keyed if len(keyed) == len(items) else None


def _objects(where: str, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    is_error = "error_code" in theirs and "error_code" in ours
    for field in {**theirs, **ours}:
        pair = theirs.get(field, ABSENT), ours.get(field, ABSENT)
        if is_error and field == "message":
            if not phrases(pair[0]) <= phrases(pair[1]):
                yield f"{where}.message", *pair
        else:
            yield from _values(f"{where}.{field}", *pair)


def phrases(message: Any) -> set[str]:
    """What of a message of theirs ours must say too."""
    return {each for each in PHRASES if each in str(message)}


def status(exchange: dict[str, Any]) -> str:
    """The status, with the error code where there is one: the rest of a different answer says nothing more."""
    answer = exchange.get("answer")
    code = answer.get("error_code", "") if isinstance(answer, dict) else ""
    return f"{exchange.get('status')} {code}".rstrip()


def _asked(exchange: dict[str, Any]) -> str:
    return json.dumps([exchange["method"], exchange["path"], exchange["query"], exchange["request"]], sort_keys=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 300 else text[:300] + " ..."
