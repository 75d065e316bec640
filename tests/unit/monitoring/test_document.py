"""The document of a window: the contract, JSON for machines, and what it says beside the stored report."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.cli.main import COMMANDS
from mlspine.core.types import (
    Alert,
    CauseReport,
    DriftReport,
    Effect,
    Estimate,
    FeatureVerdict,
    Interval,
    Metric,
    PerformanceReport,
    Segment,
    Suspect,
)
from mlspine.monitoring.alert import after_drift
from mlspine.monitoring.document import document, schema
from mlspine.monitoring.drift import judge
from mlspine.stats.baseline import take_baseline
from mlspine.stats.profile import profile

VALID = jsonschema.Draft202012Validator(schema())
DAY_MS = 86_400_000
KINDS = {"temp": "numeric", "wind": "numeric", "carrier": "categorical"}
WEIGHTS = {"temp": 0.5, "wind": 0.1, "carrier": 0.4}


def rows(count: int, seed: int, *, shift: float = 0.0, missing: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    wind = np.where(rng.random(count) < 0.003 + missing, np.nan, rng.gamma(3, 4, count))
    carrier = rng.choice(np.array(["UA", "AA", "B6"], dtype=object), count, p=[0.5, 0.3, 0.2])
    return {"temp": rng.normal(55, 18, count) + 18 * shift, "wind": wind, "carrier": carrier}


BASELINE = take_baseline(rows(20_000, 0), KINDS, importance=WEIGHTS)


def judged(columns: dict[str, Any], **given: Any) -> DriftReport:
    settings = {"alpha": 0.01, "history": (), "learned_outputs": None} | given
    return judge(
        BASELINE,
        profile(BASELINE.inputs, columns),
        None,
        endpoint="flights",
        release_hash="r1",
        version=3,
        from_at_ms=DAY_MS,
        to_at_ms=2 * DAY_MS,
        judged_at_ms=2 * DAY_MS,
        **settings,
    )


REPORT = judged(rows(2_000, 1, shift=0.5, missing=0.05))


def interval(value: float) -> Interval:
    return Interval(value=value, lo=value - 0.02, hi=value + 0.02)


def measured(day: int, value: float | None, *, severity: Any = "OK", release: str = "r1") -> PerformanceReport:
    found = None if value is None else interval(value)
    status: Any = "NOT_ESTIMABLE" if value is None else "ESTIMATED"
    metric = Metric(name="auc", status=status, interval=found, rows=700, rows_from="labels")
    return PerformanceReport(
        endpoint="flights",
        release_hash=release,
        from_at_ms=day * DAY_MS,
        to_at_ms=(day + 1) * DAY_MS,
        as_of_ms=(day + 2) * DAY_MS,
        predicted_rows=1000,
        labelled_rows=700,
        coverage=0.7,
        status="PROVISIONAL",
        metrics=(metric,),
        baseline=msgspec.structs.replace(metric, status="ESTIMATED", interval=interval(0.9), rows_from="holdout"),
        severity=severity,
        why="auc 0.700 [0.680, 0.720] against 0.900 at ship" if severity != "OK" else "",
    )


def estimate(day: int, status: Any) -> Estimate:
    return Estimate(
        endpoint="flights",
        release_hash="r1",
        from_at_ms=day * DAY_MS,
        to_at_ms=(day + 1) * DAY_MS,
        as_of_ms=(day + 1) * DAY_MS,
        metric="auc",
        status=status,
        rows=1000,
        interval=None if status == "NOT_ESTIMABLE" else interval(0.85),
        backtest_rmse=math.nan if status == "NOT_ESTIMABLE" else 0.01,
        method="CBPE",
    )


CAUSES = CauseReport(
    endpoint="flights",
    release_hash="r1",
    from_at_ms=DAY_MS,
    to_at_ms=2 * DAY_MS,
    rows=2000,
    output="score",
    before=0.2,
    now=0.3,
    suspects=(Suspect(name="temp", influence=0.8, onset_at_ms=DAY_MS, why="temp explains 80%"),),
    segments=(Segment(column="carrier", level="UA", share_before=0.5, share_now=0.6, rate=math.inf),),
    domain_auc=interval(0.6),
    row_ids=("a:0",),
)
FULL: dict[str, Any] = {
    "realised": [measured(-3, 0.9), measured(-1, None), measured(0, 0.7, severity="CRITICAL"), measured(5, 0.9)],
    "estimated": [estimate(0, "UNVERIFIED"), estimate(1, "NOT_ESTIMABLE")],
    "causes": CAUSES,
    "alerts": after_drift(REPORT, (), now_ms=2 * DAY_MS, new_id=iter("abcdefgh").__next__),
}
DOCUMENT = document(REPORT, **FULL)


def undescribed(value: Any, described: dict[str, Any], at: str = "") -> list[str]:
    """Keys of a document that its schema says nothing of."""
    described = next((each for each in described.get("anyOf", [described]) if each.get("type") != "null"), described)
    if isinstance(value, list):
        return [each for item in value for each in undescribed(item, described["items"], at)]
    if not isinstance(value, dict) or "additionalProperties" in described:
        return []
    known = described["properties"]
    missing = [f"{at}.{key}" for key in value if key not in known]
    return missing + [e for key in value if key in known for e in undescribed(value[key], known[key], f"{at}.{key}")]


@pytest.mark.parametrize("given", [FULL, {}], ids=["full", "bare"])
def test_it_is_the_contract_and_the_schema_knows_every_key(given: dict[str, Any]) -> None:
    found = document(REPORT, **given)
    jsonschema.Draft202012Validator.check_schema(schema())
    VALID.validate(json.loads(json.dumps(found, allow_nan=False)))
    assert undescribed(found, schema()) == []
    contract = "model version window reference_id status severity false_alarm_rate features performance actions"
    assert list(found)[:10] == contract.split()
    each = "name type p effect limit importance impact severity why"
    assert [list(feature)[:9] for feature in found["features"]] == [each.split()] * len(found["features"])
    assert list(found["features"][0]["effect"]) == (
        ["psi", "js", "ks", "tv", "w1_sd", "mean_sd", "missing_pp", "unseen_pp", "psi_noise"]
    )


def test_every_number_is_the_one_stored() -> None:
    assert (DOCUMENT["version"], DOCUMENT["reference_id"]) == (3, BASELINE.inputs.id)
    assert DOCUMENT["window"] == {"from": "1970-01-02T00:00:00Z", "to": "1970-01-03T00:00:00Z", "rows": 2000}
    for feature, verdict in zip(DOCUMENT["features"], REPORT.features, strict=True):
        assert (feature["name"], feature["p"], feature["why"]) == (verdict.name, verdict.p, verdict.why)
        for effect in verdict.effects:
            assert feature["effect"][effect.name] == effect.value
            assert feature["noise"][effect.name] == effect.noise
            assert feature["limit"].get(effect.name, 0.0) == effect.limit
    whys = {feature["why"] for feature in DOCUMENT["features"]}
    assert len(FULL["alerts"]) >= 2
    assert {alert.why for alert in FULL["alerts"]} <= whys


def test_the_verdict_takes_in_quality_up_to_its_window_and_not_what_came_later() -> None:
    assert (REPORT.severity, DOCUMENT["severity"]) == ("WARNING", "CRITICAL")
    assert "auc 0.700 [0.680, 0.720]" in DOCUMENT["verdict"]
    calm = document(REPORT, realised=[measured(0, 0.9), measured(5, 0.7, severity="CRITICAL")])
    assert calm["severity"] == "WARNING"
    other = document(REPORT, realised=[measured(0, 0.7, severity="CRITICAL", release="r0")])
    assert other["severity"] == "WARNING"
    assert REPORT.features[0].why in calm["verdict"]


def test_estimates_that_broke_are_part_of_the_verdict() -> None:
    found = document(judged(rows(2_000, 2)), estimated=[estimate(0, "ESTIMATED"), estimate(1, "BROKEN")])
    assert found["verdict"] == "no change beyond chance in 3 columns; estimates of quality no longer hold"
    assert [action["cause"] for action in found["actions"]] == ["estimates"]


def test_too_few_rows_are_never_called_no_drift() -> None:
    found = document(judged(rows(120, 3)))
    assert (found["status"], found["severity"], found["features"]) == ("INSUFFICIENT", "INFO", [])
    assert found["verdict"] == "120 rows are too few to say anything, at least 500 are needed"


def test_actions_are_commands_that_exist_the_alerts_first_and_each_once() -> None:
    commands = [action["command"] for action in DOCUMENT["actions"]]
    assert commands[0] == FULL["alerts"][0].action
    assert len(commands) == len(set(commands))
    assert {re.match(r"mlspine (\w+)", command)[1] for command in commands} <= set(COMMANDS)  # type: ignore[index]
    assert any('"wind" is null' in command for command in commands)
    assert document(msgspec.structs.replace(REPORT, endpoint=""))["actions"] == []


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=40), value=st.floats(), shares=st.lists(st.floats(0, 1), max_size=4))
def test_any_name_and_any_number_can_be_written_as_json(name: str, value: float, shares: list[float]) -> None:
    verdict = FeatureVerdict(
        name=name,
        role="input",
        type="numeric",
        p=value,
        significant=False,
        named=True,
        effects=(Effect(name="js", value=abs(value), noise=abs(value), limit=0.1),),
        importance=value,
        impact=value,
        severity="WARNING",
        direction="missing",
        why=name,
        reference_shares=tuple(shares),
        window_shares=tuple(shares),
        bin_labels=tuple(name for _ in shares),
    )
    report = msgspec.structs.replace(REPORT, features=(verdict,), alerting_importance=value)
    text = json.dumps(document(report), allow_nan=False)
    VALID.validate(json.loads(text))


def test_an_alert_of_the_workspace_brings_its_own_action() -> None:
    alert = Alert(
        id="x", endpoint="flights", cause="quality:auc", severity="CRITICAL", title="auc fell", why="w",
        action="mlspine rollback flights", opened_at_ms=1, updated_at_ms=1,
    )  # fmt: skip
    assert document(REPORT, alerts=[alert])["actions"][0] == {
        "cause": "quality:auc",
        "severity": "CRITICAL",
        "says": "auc fell",
        "command": "mlspine rollback flights",
    }
