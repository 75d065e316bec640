"""The bodies of the foreign wires as JSON Schema, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from mlspine.web.wires.mlflow_scoring import FORMS
from mlspine.web.wires.tensors import DATATYPES, HALVES

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_ANY_LIST = {"type": "array", "items": {}}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required | optional}


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of the JSON part, where tensors follow it as bytes",
}
_METADATA_TENSOR = _object(
    {"name": _TEXT, "datatype": {"enum": sorted(DATATYPES)}, "shape": _list({"type": "integer"})}
)
_INPUT = _object(
    {"name": _TEXT, "shape": _SHAPE, "datatype": {"enum": sorted(DATATYPES - HALVES)}, "data": _ANY_LIST},
    parameters={"type": "object"},
)
_OUTPUT = _object(
    {"name": _TEXT, "shape": _SHAPE, "datatype": {"enum": sorted(DATATYPES)}},
    data=_ANY_LIST,
    parameters=_object({}, binary_data_size={"type": "integer"}),
)
_WANTED_OUTPUT = _object({"name": _TEXT}, parameters=_object({}, binary_data=_FLAG))

FOREIGN: dict[str, Any] = {
    "Models": _object({"models": _list(_TEXT)}),
    "Predictions": _object({"predictions": _ANY_LIST}),
    "MlflowRequest": {
        "oneOf": [_object({form: _ANY_LIST if form in ("dataframe_records", "instances") else {}}) for form in FORMS]
    },
    "V1Ready": _object({"name": _TEXT, "ready": _FLAG}),
    "V1Request": _object({"instances": _list({}, minItems=1)}),
    "V2Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "V2State": _object({"name": _TEXT, "version": _TEXT, "state": {"enum": ["READY", "UNAVAILABLE"]}, "reason": _TEXT}),
    "V2Metadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(_METADATA_TENSOR),
            "outputs": _list(_METADATA_TENSOR),
        }
    ),
    "V2Request": _object(
        {"inputs": _list(_INPUT, minItems=1)},
        id=_TEXT,
        outputs=_list(_WANTED_OUTPUT),
        parameters=_object({}, binary_data_output=_FLAG),
    ),
    "V2Response": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "parameters": {"type": "object"}, "outputs": _list(_OUTPUT)},
        id=_TEXT,
    ),
}
