"""POST /endpoints/NAME/predictions on the control port: rows that somebody else's server answered.

    {"rows": [{"id": "r1", "event_time": "2026-01-02T03:04:05Z", "features": {"age": 41}, "prediction": 1}]}
    {"columns": {"features": {"age": [41, 39]}, "prediction": [1, 0], "id": ["r1", "r2"]}}
    one such row, a list of them, or with Content-Type application/x-ndjson one a line

The answer comes when the rows are in the log: 200 with a receipt, also where some were refused; 422 where all were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlspine.core.errors import Invalid
from mlspine.serving.request_id import read_request_id
from mlspine.watching.answers import SIDE, Given
from mlspine.watching.fitting import objects
from mlspine.watching.service import Receipt, Watching
from mlspine.watching.spec import Spec

MAX_BODY_BYTES = 32 * 1024 * 1024
PATH = "/endpoints/{name}/predictions"
_EXAMPLE = 'send {"rows": [{"id": "r1", "features": {...}, "prediction": 1}]}'


def recording_routes(watching: Watching, *, authorise: Callable[[Request, str], None]) -> list[Route]:
    """authorise: raises for whoever may not send rows of this endpoint."""

    async def record(request: Request) -> Response:
        name = request.path_params["name"]
        authorise(request, name)
        given = request.headers.get("mlspine-request-id", "")
        request_id = read_request_id(given.encode()) if given else ""
        body = await _read(request)
        lines = "ndjson" in request.headers.get("content-type", "")
        receipt = await run_in_threadpool(_record, watching, name, body, lines, request_id)
        if receipt.refused_rows == receipt.received:
            told = [f"row {each.row}: {each.why}" for each in receipt.refused[:20]]
            raise Invalid(f"none of the {receipt.received:,} rows can be read", details=told, hint=_EXAMPLE)
        return Response(msgspec.json.encode(receipt), media_type="application/json")

    return [Route(PATH, record, methods=["POST"])]


def described() -> dict[str, Any]:
    """The path as OpenAPI has it."""
    row = {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "integer"]},
            "event_time": {"type": ["string", "number"]},
            "key": {"type": ["string", "integer"]},
            "features": {"type": "object"},
            "prediction": {},
            "score": {"type": "number"},
            "label": {},
        },
    }
    body = {"type": "object", "properties": {"rows": {"type": "array", "items": row}, "columns": {"type": "object"}}}
    failure = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    return {
        PATH: {
            "post": {
                "operationId": "endpoints_predictions",
                "summary": "Rows that somebody else's server answered, kept once however often they are sent.",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {
                    "200": {"description": "in the log", "content": {"application/json": {"schema": {}}}},
                    **{status: {"description": "refused", **failure} for status in ("401", "403", "404", "422")},
                },
            }
        }
    }


async def _read(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Invalid(f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB", hint="send it in parts")
        chunks.append(chunk)
    return b"".join(chunks)


def _record(watching: Watching, name: str, body: bytes, lines: bool, request_id: str) -> Receipt:
    if lines:
        rows = [_decoded(line, f"line {at}") for at, line in enumerate(body.splitlines(), start=1) if line.strip()]
        return watching.record(name, rows, request_id=request_id)
    sent = _decoded(body, "the body")
    if isinstance(sent, list):
        return watching.record(name, sent, request_id=request_id)
    if not isinstance(sent, dict):
        raise Invalid("the body is no object", hint=_EXAMPLE)
    if isinstance(sent.get("columns"), dict) and len(sent) == 1:
        size, columns = _columns(sent["columns"])
        return watching.record_given(name, size, _given(size, columns), request_id=request_id)
    if isinstance(sent.get("rows"), list) and len(sent) == 1:
        return watching.record(name, sent["rows"], request_id=request_id)
    return watching.record(name, [sent], request_id=request_id)


def _decoded(data: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"{what} is no JSON: {exc}", hint=_EXAMPLE) from exc


def _columns(sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many rows the columns hold; raises Invalid with everything that does not fit together."""
    features = sent.get("features")
    if not isinstance(features, dict):
        raise Invalid("columns hold no features", hint='{"columns": {"features": {"age": [41]}, "prediction": [1]}}')
    strange = [name for name in sent if name not in SIDE and name != "features"]
    lists = {**{f"features.{name}": values for name, values in features.items()}}
    lists |= {name: values for name, values in sent.items() if name in SIDE}
    problems = [f"{name}: no part of columns, which are features, {', '.join(SIDE)}" for name in strange]
    problems += [f"{name}: no list" for name, values in lists.items() if not isinstance(values, list)]
    lengths = {name: len(values) for name, values in lists.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        problems.append("columns differ in length: " + ", ".join(f"{name} has {n}" for name, n in lengths.items()))
    if problems:
        raise Invalid("the columns cannot be read", details=problems, hint="one list per column, all of one length")
    return next(iter(lengths.values()), 0), sent


def _given(size: int, columns: dict[str, Any]) -> Callable[[Spec, str, dict[int, str]], Given]:
    def make(spec: Spec, request_id: str, refused: dict[int, str]) -> Given:
        side = {name: objects(columns[name]) if name in columns else None for name in SIDE}
        known = {name: objects(values) for name, values in columns["features"].items() if name in spec.inputs.names}
        return Given(
            size=size,
            features=known,
            request_ids=[request_id] * size,
            row_numbers=range(size),
            prediction=side["prediction"],
            score=side["score"],
            event_time=side["event_time"],
            ids=side["id"],
            keys=side["key"],
            label=side["label"],
        )

    return make
