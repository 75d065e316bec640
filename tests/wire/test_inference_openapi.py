"""The OpenAPI document of the inference process: valid, complete, and true of whatever it allows to be asked."""

from __future__ import annotations

import os
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from schemathesis import openapi
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving_harness import Inference
from tests.wire.conftest import ROW

FUZZ = os.environ.get("MLSPINE_FUZZ")
CASES = int(FUZZ or 5)
TRUE = [status_code_conformance, content_type_conformance, response_schema_conformance]
load_all_checks()


def document(running: Inference) -> Any:
    return running.get("/openapi.json").json


def test_what_the_document_allows_is_answered_as_it_says(several: Inference) -> None:
    """Every operation with what its schema allows: a documented status and type, a body of the documented shape."""
    operations = [each.ok() for each in openapi.from_dict(document(several)).get_all_operations()]
    assert len(operations) > 50
    for operation in operations:
        _try(several, operation)


def _try(running: Inference, operation: Any) -> None:
    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=FUZZ is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        answer = case.call(base_url=running.url)
        case.validate_response(answer, checks=TRUE)
        silent = "silent" in operation.path or operation.path.endswith(":explain")
        assert answer.status_code < 500 or silent, answer.text

    answered()


INFER = "/v2/models/mixed/infer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/endpoints/mixed/predict", {"rows": [ROW]}),
        ("/endpoints/mixed/invocations", {"dataframe_records": [ROW]}),
        ("/v1/models/mixed:predict", {"instances": [ROW]}),
        (INFER, {"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": [1]}]}),
        ("/v2/repository/index", {"ready": True}),
    ],
)
def test_good_answers_and_refusals_have_the_documented_shape(several: Inference, path: str, body: Any) -> None:
    operation = openapi.from_dict(document(several))[path]["POST"]
    for given_body in (body, {"odd": 1}, []):
        answer = requests.post(several.url + path, json=given_body, timeout=10)
        case = operation.Case(body=given_body, media_type="application/json")
        case.validate_response(answer, checks=TRUE)


def test_every_route_of_an_endpoint_is_documented_and_none_that_is_not_there(several: Inference) -> None:
    paths = document(several)["paths"]
    for route in ("", "/ready", "/infer", "/versions/3", "/versions/3/ready", "/versions/3/infer"):
        assert f"/v2/models/mixed{route}" in paths
    for path, methods in paths.items():
        (method,) = methods
        assert several.request(method.upper(), path, b"" if method == "post" else None).status != 404, path
