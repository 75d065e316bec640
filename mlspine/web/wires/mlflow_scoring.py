"""MLflow's scoring wire, `POST /invocations`: its four JSON forms and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from mlspine.core.errors import Invalid
from mlspine.core.types import Field
from mlspine.serving.request import Answer
from mlspine.serving.rows import Table, parse_json, shown
from mlspine.web.exchange import Refused, Reply, Scope, header, json_reply, text_reply
from mlspine.web.wires.speaker import Subject, Told

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})


class MlflowScoringWire:
    """Speaks MLflow's scoring wire for one endpoint."""

    ERRORS: ClassVar[dict[str, int]] = {
        "not_found": 404,
        "conflict": 409,
        "invalid": 400,
        "denied": 403,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 503,
    }
    ERROR_CODES: ClassVar[dict[int, str]] = {
        400: "BAD_REQUEST",
        403: "PERMISSION_DENIED",
        404: "RESOURCE_DOES_NOT_EXIST",
        503: "TEMPORARILY_UNAVAILABLE",
    }

    def __init__(self, subject: Subject) -> None:
        self._codec = subject.codec
        self._schema = subject.codec.schema

    def read(self, body: bytes, scope: Scope) -> tuple[Table, None]:
        content_type = header(scope, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        match content_type:
            case "" | "application/json" | "application/json-numpy-split":
                return self._read_json(_parse(body)), None
            case "text/csv":
                return self._read_csv(body), None
        raise Refused(
            415,
            f"This endpoint reads application/json and text/csv, not {content_type[:60]!r}.",
            hint="set the Content-Type header",
        )

    def write(self, request_id: str, answer: Answer, context: None) -> Reply:
        call, start, stop = answer
        return json_reply({"predictions": call.predictions[start:stop]})

    @staticmethod
    def error(told: Told) -> Reply:
        words = ". ".join([told.message, *told.details, *([told.hint] if told.hint else [])])
        if told.status == 415:
            return text_reply(told.message, 415)
        code = MlflowScoringWire.ERROR_CODES.get(told.status, "INTERNAL_ERROR" if told.status >= 500 else "BAD_REQUEST")
        return json_reply({"error_code": code, "message": words}, told.status)

    # ------------------------------------------------------------ reading

    def _read_json(self, raw: Any) -> Table:
        if not isinstance(raw, dict):
            raise Invalid(f"expected an object with one of {', '.join(FORMS)}, got {shown(raw)}")
        given = [form for form in FORMS if form in raw]
        if len(given) != 1:
            said = f"got {' and '.join(given)}" if given else f"got {', '.join(map(repr, list(raw)[:5])) or 'nothing'}"
            raise Invalid(f"expected exactly one of {', '.join(FORMS)}; {said}")
        if raw.get("params"):
            raise Invalid("this model takes no params", hint="leave params out")
        content = raw[given[0]]
        match given[0]:
            case "dataframe_split":
                return self._read_split(content)
            case "dataframe_records":
                return self._read_rows(content, "dataframe_records", records_only=True)
            case "instances":
                return self._read_rows(content, "instances", records_only=False)
        if isinstance(content, dict):
            return self._codec.read_columns({name: _as_list(values) for name, values in content.items()})
        return self._read_rows(content, "inputs", records_only=False)

    def _read_split(self, content: Any) -> Table:
        if not isinstance(content, dict) or not isinstance(content.get("data"), list):
            raise Invalid('dataframe_split: expected {"columns": [...], "data": [[...], ...]}')
        names = content.get("columns", list(self._schema.names))
        if not isinstance(names, list):
            raise Invalid(f"dataframe_split.columns: expected a list of names, got {shown(names)}")
        names = [str(name) if isinstance(name, int) else name for name in names]
        rows = content["data"]
        wrong = [
            f"dataframe_split.data[{i}]: expected a list of {len(names)} values, got {shown(row)}"
            for i, row in enumerate(rows)
            if not isinstance(row, list) or len(row) != len(names)
        ]
        if wrong or not all(isinstance(name, str) for name in names):
            raise Invalid("dataframe_split cannot be read", details=wrong[:20] or ("columns: expected names",))
        at = "dataframe_split.data"
        if tuple(names) == self._schema.names:
            return self._codec.read_rows(rows, at=at)
        return self._codec.read_rows([dict(zip(names, row, strict=True)) for row in rows], at=at)

    def _read_rows(self, rows: Any, at: str, *, records_only: bool) -> Table:
        if not isinstance(rows, list):
            raise Invalid(f"{at}: expected a list of rows, got {shown(rows)}")
        if records_only and not all(isinstance(row, dict) for row in rows):
            raise Invalid(f"{at}: expected a list of objects with one value per column")
        if len(self._schema.fields) == 1 and not any(isinstance(row, dict | list) for row in rows):
            rows = [[value] for value in rows]
        return self._codec.read_rows(rows, at=at)

    def _read_csv(self, body: bytes) -> Table:
        try:
            lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as exc:
            raise Invalid(f"the body is not CSV: {exc}", hint="the first line names the columns") from exc
        lines = [line for line in lines if line]
        if len(lines) < 2:
            raise Invalid("the CSV holds no rows", hint="the first line names the columns, each further one is a row")
        names, rows = lines[0], lines[1:]
        wrong = [
            f"line {i}: {len(row)} values for {len(names)} columns"
            for i, row in enumerate(rows, 2)
            if len(row) != len(names)
        ]
        if wrong:
            raise Invalid("the CSV cannot be read", details=wrong[:20])
        fields = {field.name: field for field in (*self._schema.fields, *self._codec.also)}
        kept = [(at, name, fields[name]) for at, name in enumerate(names) if name in fields]
        strangers = {name: None for name in names if name not in fields}
        return self._codec.read_rows(
            [strangers | {name: _csv_value(row[at], field) for at, name, field in kept} for row in rows],
            at="line",
        )


def _parse(body: bytes) -> Any:
    """JSON, and the NaN that MLflow's own client writes into it for null."""
    if b"NaN" not in body:
        return parse_json(body)
    try:
        return json.loads(body, parse_constant=_constant)
    except (ValueError, RecursionError):
        return parse_json(body)  # says what is wrong


def _constant(name: str) -> None:
    if name != "NaN":
        raise Invalid(f"{name} is not JSON", hint="send infinities as bytes: /v2/models/NAME/infer")


def _as_list(values: Any) -> Any:
    """A column of a tensor dict: [[1], [2]] means [1, 2]."""
    if isinstance(values, list) and values and all(isinstance(each, list) and len(each) == 1 for each in values):
        return [each[0] for each in values]
    return values


def _csv_value(text: str, field: Field) -> Any:
    """A CSV cell as the JSON value it stands for; what does not fit stays text, to be refused by name."""
    if text == "" and (field.nullable or field.type != "text"):
        return None
    if field.type in ("float", "int") or (field.type == "category" and _numeric(field.levels)):
        return _number(text)
    if field.type == "bool":
        lower = text.strip().lower()
        return True if lower in _TRUE else False if lower in _FALSE else text
    return text


def _numeric(levels: Sequence[Any]) -> bool:
    return bool(levels) and all(type(level) in (int, float) for level in levels)


def _number(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) != float("inf") and number == number else text
