"""KServe's v1 wire, `POST /v1/models/NAME:predict`: instances in, predictions out."""

from __future__ import annotations

from typing import Any, ClassVar

from mlspine.core.errors import Invalid
from mlspine.serving.request import Answer
from mlspine.serving.rows import Table, parse_json, shown
from mlspine.web.exchange import Refused, Reply, Scope, json_reply
from mlspine.web.wires.speaker import Subject, Told


class KserveV1Wire:
    """Speaks the v1 protocol for one endpoint."""

    ERRORS: ClassVar[dict[str, int]] = {
        "not_found": 404,
        "conflict": 409,
        "invalid": 400,
        "denied": 403,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 503,
    }

    def __init__(self, subject: Subject) -> None:
        self._codec = subject.codec

    def read(self, body: bytes, scope: Scope) -> tuple[Table, None]:
        raw: Any = parse_json(body)
        if not isinstance(raw, dict) or not isinstance(raw.get("instances"), list):
            got = shown(raw.get("instances")) if isinstance(raw, dict) else shown(raw)
            raise Invalid(f'expected {{"instances": [row, ...]}}, got {got}')
        rows = raw["instances"]
        if len(self._codec.schema.fields) == 1 and not any(isinstance(row, dict | list) for row in rows):
            rows = [[value] for value in rows]
        return self._codec.read_rows(rows, at="instances"), None

    def write(self, request_id: str, answer: Answer, context: None) -> Reply:
        call, start, stop = answer
        return json_reply({"predictions": call.predictions[start:stop]})

    @staticmethod
    def error(told: Told) -> Reply:
        words = [told.message, *told.details, *([told.hint] if told.hint else [])]
        return json_reply({"error": ". ".join(words)}, told.status)


async def explain() -> Reply:
    """Refuse: explanations are not computed per request."""
    raise Refused(501, "this server computes no explanations of single predictions", hint="ask :predict")
