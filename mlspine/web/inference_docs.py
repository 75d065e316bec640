"""What the inference process says of itself: descriptions, OpenAPI and a page for people."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterable
from typing import Any

from mlspine.core.types import Field, Scalar
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.rows import expected
from mlspine.web.exchange import encode
from mlspine.web.wires.schemas import FOREIGN, LENGTH

Endpoint = ServedEndpoint | SilentEndpoint
_JSON_TYPES = {"float": "number", "int": "integer", "bool": "boolean", "text": "string", "datetime": "string"}


def summary(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint in a list."""
    said: dict[str, Any] = {
        "name": endpoint.name,
        "path": endpoint.path,
        "revision": endpoint.planned.revision,
    }
    if isinstance(endpoint, ServedEndpoint):
        said |= {
            "version": endpoint.version,
            "release": endpoint.release_hash,
            "task": endpoint.signature.task,
            "predict": f"/endpoints/{endpoint.name}/predict",
        }
    return said


def description(endpoint: Endpoint, base_url: str) -> dict[str, Any]:
    """All a caller needs to know of one endpoint: columns, classes, an example row, a command that works."""
    said = summary(endpoint)
    if isinstance(endpoint, SilentEndpoint):
        return said | {"reason": endpoint.refusal().message, "curl": ""}
    log = endpoint.planned.log
    return said | {
        "columns": [_column(field) for field in endpoint.codec.schema.fields],
        "classes": list(endpoint.signature.classes),
        "recorded": {"enabled": log.enabled, "redacted": list(log.redact)},
        "example": {"rows": endpoint.example_rows()},
        "curl": curl(endpoint, base_url),
    }


def curl(endpoint: ServedEndpoint, base_url: str) -> str:
    """A command that can be pasted into a shell as it stands."""
    body = encode({"rows": endpoint.example_rows()}).decode()
    url = f"{base_url}/endpoints/{endpoint.name}/predict"
    return f"curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


# ---------------------------------------------------------------- OpenAPI


def openapi(endpoints: Iterable[Endpoint], base_url: str, version: str, max_body_bytes: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of what is served now, every status code listed."""
    endpoints = list(endpoints)
    paths: dict[str, Any] = {
        "/": _page("What is served here", _OBJECT),
        "/endpoints": _page("The endpoints", _OBJECT),
        "/docs": _page("This interface for people", None, content="text/html"),
        "/openapi.json": _page("This document", _OBJECT),
        "/metrics": _page("Metrics in Prometheus text format", None, content="text/plain"),
        "/health/live": _page("The process runs", _flag("live")),
        "/health/ready": _page("Every endpoint reproduces a recorded prediction", _flag("ready"), also=(503,)),
        "/v1/models": _page("KServe v1: the models", _ref("Models"), error="V1Error"),
        "/v2": _page("Open Inference Protocol: the server", _ref("V2Server"), error="V2Error"),
        "/v2/health/live": _page("Open Inference Protocol: liveness", _flag("live"), error="V2Error"),
        "/v2/health/ready": _page("Open Inference Protocol: readiness", _flag("ready"), error="V2Error", also=(503,)),
        "/v2/models": _page("Open Inference Protocol: the models", _ref("Models"), error="V2Error"),
        "/v2/repository/index": _change(
            "Open Inference Protocol: the models and their state",
            _json("The models", {"type": "array", "items": _ref("V2State")}),
            "V2Error",
            (400, 405, 408, 413, 415),
            body={"type": "object", "properties": {"ready": {"type": "boolean"}}},
        ),
    }
    schemas: dict[str, Any] = _ERRORS | FOREIGN
    for endpoint in endpoints:
        paths |= _endpoint_paths(endpoint, schemas)
    if len(endpoints) == 1:
        name = endpoints[0].name
        paths["/invocations"] = paths[f"/endpoints/{name}/invocations"]
        for path in ("/ping", "/health"):
            paths[path] = _page("MLflow: readiness", None, content="text/plain", error="MlflowError", also=(503,))
        paths["/version"] = _page("The version of mlspine", None, content="text/plain", error="MlflowError")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlspine predictions",
            "version": version,
            "description": f"Bodies up to {max_body_bytes:,} bytes, gzip and deflate accepted. Any other path"
            " is a 404, any other method a 405 with Allow.",
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


_OBJECT: dict[str, Any] = {"type": "object"}
_NULL = "null where the model gives no number, as for values beyond what it can calculate with"
_TAILED = {"type": "string", "format": "binary", "description": "A JSON part, and behind it tensors as bytes"}
_ERRORS: dict[str, Any] = {
    "Error": {
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
    },
    "MlflowError": {
        "type": "object",
        "required": ["error_code", "message"],
        "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    },
    "V2Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "V1Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
}
_WHY = {
    400: "The body or a header cannot be read",
    403: "Callers may not change this",
    405: "Another method is needed, see Allow",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The content type or encoding is not spoken",
    422: "The body, the rows or a header cannot be read; every problem is listed",
    501: "This is not done here",
    503: "The endpoint cannot answer now",
}
_HEADERS = {
    "Mlspine-Request-Id": {
        "schema": {"type": "string", "format": "uuid"},
        "description": "Id of the prediction",
    },
    "Mlspine-Release": {"schema": {"type": "string"}, "description": "Hash of the release that answered"},
    "Mlspine-Version": {"schema": {"type": "string"}, "description": "Version of the model that answered"},
    "Mlspine-Path": {
        "schema": {"type": "string"},
        "description": "live, candidate, fallback, rule, or cannot-answer: who answered",
    },
}
_PARAMETERS = [
    {
        "name": "Mlspine-Request-Id",
        "in": "header",
        "schema": {"type": "string", "format": "uuid"},
        "description": "Your own id for the request; one is made otherwise",
    },
    {
        "name": "Mlspine-Event-Time",
        "in": "header",
        "schema": {"type": "string"},
        "description": "When it happened: ISO 8601 or milliseconds since 1970 UTC; otherwise time of receipt",
    },
    {
        "name": "Mlspine-Key",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Whom or what it is about, to join labels by",
    },
]


def _endpoint_paths(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    name = endpoint.name
    row: dict[str, Any] = _OBJECT
    if isinstance(endpoint, ServedEndpoint):
        schemas[f"{name}.Row"] = _row(endpoint)
        schemas[f"{name}.Prediction"] = _prediction(endpoint)
        row = {"$ref": f"#/components/schemas/{name}.Row"}
    body = {
        "oneOf": [
            {"type": "object", "required": ["rows"], "properties": {"rows": _rows(row)}},
            _rows(row),
            row,
            {"type": "object", "required": ["columns"], "properties": {"columns": _OBJECT}},
        ]
    }
    foreign = (400, 405, 408, 413, 415, 503)
    paths = {
        f"/endpoints/{name}": _page(f"What {name} takes and gives", _OBJECT),
        f"/endpoints/{name}/predict": _predict(
            f"Predict with {name}", body, _answer(endpoint), "Error", (405, 408, 413, 415, 422, 503)
        ),
        f"/endpoints/{name}/invocations": _predict(
            f"MLflow: predict with {name}",
            _ref("MlflowRequest"),
            _ref("Predictions"),
            "MlflowError",
            foreign,
            other={"text/csv": {"schema": {"type": "string"}}},
        ),
        f"/v1/models/{name}": _page(f"KServe v1: readiness of {name}", _ref("V1Ready"), error="V1Error", also=(503,)),
        f"/v1/models/{name}:predict": _predict(
            f"KServe v1: predict with {name}", _ref("V1Request"), _ref("Predictions"), "V1Error", foreign
        ),
        f"/v1/models/{name}:explain": _change(
            "KServe v1: explanations, which are not computed here", None, "V1Error", (405, 501)
        ),
        f"/v2/repository/models/{name}/load": _change(
            f"Open Inference Protocol: whether {name} is loaded", _json("It is", _OBJECT), "V2Error", (405, 503)
        ),
        f"/v2/repository/models/{name}/unload": _change(
            "Open Inference Protocol: not for callers", None, "V2Error", (403, 405)
        ),
    }
    bases = [f"/v2/models/{name}"]
    if isinstance(endpoint, ServedEndpoint):
        bases.append(f"/v2/models/{name}/versions/{endpoint.version}")
    for base in bases:
        paths[base] = _page(f"Open Inference Protocol: {name}", _ref("V2Metadata"), error="V2Error", also=(503,))
        paths[f"{base}/ready"] = _page(
            f"Open Inference Protocol: readiness of {name}", _OBJECT, error="V2Error", also=(503,)
        )
        infer = paths[f"{base}/infer"] = _predict(
            f"Open Inference Protocol: predict with {name}",
            _ref("V2Request"),
            _ref("V2Response"),
            "V2Error",
            foreign,
            other={"application/octet-stream": {"schema": _TAILED}},
        )
        infer["post"]["parameters"] = [*_PARAMETERS, LENGTH]
        infer["post"]["responses"]["200"]["content"]["application/octet-stream"] = {"schema": _TAILED}
    return paths


def _rows(row: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": row, "minItems": 1}


def _predict(
    text: str,
    body: dict[str, Any],
    answer: dict[str, Any],
    error: str,
    codes: tuple[int, ...],
    *,
    other: dict[str, Any] | None = None,
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": body}} | (other or {})
    responses = {"200": _json("The predictions", answer) | {"headers": _HEADERS}}
    responses |= {str(code): _failure(code, error) for code in codes}
    return {
        "post": {
            "summary": text,
            "parameters": _PARAMETERS,
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }


def _change(
    text: str,
    answer: dict[str, Any] | None,
    error: str,
    codes: tuple[int, ...],
    *,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A path that is posted to and predicts nothing."""
    responses = {"200": answer} if answer is not None else {}
    said: dict[str, Any] = {
        "summary": text,
        "responses": responses | {str(code): _failure(code, error) for code in codes},
    }
    if body is not None:
        said["requestBody"] = {"required": False, "content": {"application/json": {"schema": body}}}
    return {"post": said}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(
    text: str,
    answer: dict[str, Any] | None,
    *,
    content: str = "application/json",
    error: str = "Error",
    also: tuple[int, ...] = (),
) -> dict[str, Any]:
    schema = {"type": "string"} if answer is None else answer
    responses: dict[str, Any] = {"200": {"description": text, "content": {content: {"schema": schema}}}}
    responses |= {"405": _failure(405, error)}
    responses |= {str(code): {"description": _WHY[code], "content": {content: {"schema": {}}}} for code in also}
    return {"get": {"summary": text, "responses": responses}}


def _failure(code: int, error: str) -> dict[str, Any]:
    if code == 415 and error == "MlflowError":  # told in plain text on that wire
        return {"description": _WHY[code], "content": {"text/plain": {"schema": {"type": "string"}}}}
    return _json(_WHY[code], {"$ref": f"#/components/schemas/{error}"})


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def _row(endpoint: ServedEndpoint) -> dict[str, Any]:
    fields = endpoint.codec.schema.fields
    properties = {field.name: _field_schema(field) for field in (*fields, *endpoint.codec.also)}
    schema = {"type": "object", "required": [field.name for field in fields], "properties": properties}
    examples = endpoint.example_rows()
    return schema | ({"examples": examples} if examples else {})


def _field_schema(field: Field) -> dict[str, Any]:
    if field.type == "vector":
        number = {"type": "number"}
        return {"type": "array", "items": number, "minItems": field.width, "maxItems": field.width}
    kind: Any = _scalar_types(field.levels) if field.type == "category" else [_JSON_TYPES[field.type]]
    if field.type == "datetime":
        kind = ["string", "integer"]
    kind = [*kind, "null"] if field.nullable else kind
    schema: dict[str, Any] = {"type": kind[0] if len(kind) == 1 else kind}
    if field.levels and field.name:
        schema["description"] = f"Levels seen in training: {', '.join(map(str, field.levels[:20]))}"
    return schema


def _scalar_types(levels: tuple[Scalar, ...]) -> list[str]:
    kinds = {type(level) for level in levels} or {str}
    names = [name for kind, name in ((str, "string"), (bool, "boolean")) if kind in kinds]
    return names + (["number"] if kinds & {int, float} else [])


def _prediction(endpoint: ServedEndpoint) -> dict[str, Any]:
    task, classes = endpoint.signature.task, endpoint.signature.classes
    properties: dict[str, Any] = {"prediction": {"enum": list(classes)} if classes else {}}
    if task in ("binary", "multiclass"):
        properties["score"] = {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": _NULL}
    if task == "multiclass":
        properties["probabilities"] = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
    return {"type": "object", "required": ["prediction"], "properties": properties}


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    if isinstance(endpoint, SilentEndpoint):
        return _OBJECT
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["id", "endpoint", "version", "release", "path", "predictions"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "endpoint": text,
            "version": {"type": "integer"},
            "release": text,
            "path": text,
            "predictions": _rows({"$ref": f"#/components/schemas/{endpoint.name}.Prediction"}),
        },
    }


# ---------------------------------------------------------------- the page


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
th, td { border-bottom: 1px solid var(--line); }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; } code { font-size: .9em; }
"""


def page(endpoints: Iterable[Endpoint], base_url: str, version: str) -> str:
    """The interface for people, in one file without anything from elsewhere."""
    endpoints = sorted(endpoints, key=lambda each: each.name)
    sections = "".join(_section(each, base_url) for each in endpoints) or "<p>No endpoint is served yet.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mlspine predictions</title><style>{_STYLE}</style></head><body>
<h1>Predictions</h1>
<p>mlspine {html.escape(version)}. Machine-readable: <a href="/openapi.json">OpenAPI</a>,
<a href="/metrics">metrics</a>, <a href="/health/ready">readiness</a>, <a href="/v2/models">v2 models</a>.</p>
{sections}</body></html>
"""


def _section(endpoint: Endpoint, base_url: str) -> str:
    name = html.escape(endpoint.name)
    if isinstance(endpoint, SilentEndpoint):
        return f"<h2>{name}</h2><p>{html.escape(str(endpoint.refusal()))}</p>"
    rows = "".join(
        f"<tr><td><code>{html.escape(field.name)}</code></td><td>{html.escape(expected(field))}</td>"
        f"<td>{html.escape(', '.join(map(str, field.levels[:20])))}</td></tr>"
        for field in endpoint.codec.schema.fields
    )
    classes = ", ".join(map(str, endpoint.signature.classes))
    gives = f"one of {classes}" if classes else "a number" if endpoint.signature.task == "regression" else "a value"
    log = endpoint.planned.log
    kept = "inputs and answers" if log.enabled else "nothing"
    left_out = f", without {', '.join(log.redact)}" if log.enabled and log.redact else ""
    wires = f"""<code>POST /endpoints/{name}/predict</code>,
MLflow <code>POST /endpoints/{name}/invocations</code>,
Open Inference Protocol <code>POST /v2/models/{name}/infer</code>,
KServe <code>POST /v1/models/{name}:predict</code>"""
    return f"""<h2>{name}</h2>
<p>Version {endpoint.version}, release <code>{html.escape(endpoint.release_hash[:12])}</code>.
Predicts {html.escape(gives)}. Recorded: {html.escape(kept + left_out)}.</p>
<p>{wires}</p>
<table><thead><tr><th>Column</th><th>Takes</th><th>Levels</th></tr></thead><tbody>{rows}</tbody></table>
<p>Try it:</p><pre><code>{html.escape(curl(endpoint, base_url))}</code></pre>
"""


def _column(field: Field) -> dict[str, Any]:
    said: dict[str, Any] = {"name": field.name, "type": field.type, "nullable": field.nullable}
    if field.levels:
        said["levels"] = list(field.levels)
    if field.width:
        said["width"] = field.width
    return said
