"""Page tokens: whose they are, and what is said of others."""

from __future__ import annotations

import base64
import json

import pytest

from mlspine.core.errors import Invalid
from mlspine.search import EXPERIMENTS, RUNS, build
from mlspine.search.page import read_token, write_token

ROW = {"sort_0": 0, "sort_1": 0.25, "sort_2": None, "sort_3": "1-a"}


def token(**asked: object) -> str:
    return build(RUNS, **{"order_by": ["metrics.a"], **asked}).token_after(ROW)


def test_a_token_is_opaque_and_safe_in_a_url() -> None:
    written = token()
    assert written.replace("-", "").replace("_", "").isalnum()
    build(RUNS, order_by=["metrics.a"], page_token=written)


def test_a_token_outlives_spaces_and_the_case_of_keywords() -> None:
    written = token(filter="params.a = 'x' AND metrics.b < 1")
    build(RUNS, order_by=["metrics.a  asc"], filter="params.a='x' and metrics.`b` < 1.0", page_token=written)


@pytest.mark.parametrize(
    "asked",
    [
        {"order_by": ["metrics.a DESC"]},
        {"order_by": ["metrics.b"]},
        {"order_by": []},
        {"filter": "params.a = 'x'"},
    ],
)
def test_a_token_of_another_query_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="Invalid page token: it belongs to another filter or order"):
        build(RUNS, **{"order_by": ["metrics.a"], **asked}, page_token=token())
    with pytest.raises(Invalid, match="Invalid page token"):
        build(EXPERIMENTS, page_token=token(order_by=[]))


def fake(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "é",
        "%%%",
        "eyJvZmZzZXQiOiAxfQ==",  # {"offset": 1}
        fake([]),
        fake("text"),
        fake(5),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b"9" * 5_000).decode(),
        "a" * 2_000_000,
    ],
)
def test_what_is_no_token_is_refused(written: str) -> None:
    with pytest.raises(Invalid, match="Invalid page token"):
        build(RUNS, page_token=written)


@pytest.mark.parametrize(
    "values",
    [
        [0, 0.25, None],
        [0, 0.25, None, "1-a", 1],
        [0, 0.25, None, None],  # an id is never absent
        [0, "0.25", None, "1-a"],
        [0, True, None, "1-a"],
        [0, 0.25, None, 5],
        [0, 0.25, None, "\0"],
        [0, 0.25, None, "\ud800"],
        [0, 0.25, 2**63, "1-a"],
        [0, float("nan"), None, "1-a"],
        [0, float("inf"), None, "1-a"],
        [[0], 0.25, None, "1-a"],
    ],
)
def test_values_the_order_does_not_have_are_refused(values: list[object]) -> None:
    query = build(RUNS, order_by=["metrics.a"])
    with pytest.raises(Invalid, match="other values than the order asks for"):
        read_token(fake([query.fingerprint, *values]), query.fingerprint, query.terms)


def test_floats_come_back_exactly() -> None:
    query = build(RUNS, order_by=["metrics.a"])
    values = [0, 0.1 + 0.2, -(2**63), "é"]
    assert read_token(write_token("q", values), "q", query.terms) == tuple(values)
