"""One judged window as a JSON document: what a report page, an alert and another program say the same from. Pure.

Every number is taken from what was stored when the window was judged, unrounded; nothing is computed again, but
for what would change the verdict. NaN and infinities are null. `document.schema.json` beside this file is the
contract; what stands in it stays, new keys may be added.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlspine.core.types import (
    Alert,
    CauseReport,
    DriftReport,
    Estimate,
    FeatureVerdict,
    Interval,
    Metric,
    PerformanceReport,
)
from mlspine.monitoring.alert import worst
from mlspine.monitoring.drift import RANK
from mlspine.monitoring.edge import alerts as warns
from mlspine.monitoring.edge import decides, edge
from mlspine.monitoring.next_steps import next_steps
from mlspine.stats.baseline import MIN_ROWS
from mlspine.stats.calibrate import ALPHA

EFFECTS = ("psi", "js", "ks", "tv", "w1_sd", "mean_sd", "missing_pp", "unseen_pp")
Document = dict[str, Any]


@functools.cache
def schema() -> Document:
    """The JSON schema of the document.

    >>> schema()["required"][:3]
    ['model', 'version', 'window']
    """
    found: Document = json.loads(Path(__file__).with_suffix(".schema.json").read_text("utf-8"))
    return found


def document(
    report: DriftReport,
    *,
    realised: Sequence[PerformanceReport] = (),
    estimated: Sequence[Estimate] = (),
    causes: CauseReport | None = None,
    alerts: Sequence[Alert] = (),
    model: str = "",
) -> Document:
    """The document of one window.

    realised, estimated: quality over time, oldest first. alerts: those open on the endpoint, whose actions come
    first. model: its name where it is not that of the endpoint. A comparison without an endpoint carries no
    commands, for there is nothing to act on.
    """
    at = _performance_at(report, realised)
    alerts = sorted(alerts, key=lambda each: (-RANK[each.severity], -each.impact, each.cause))
    broken = _broken(report, estimated)
    steps = next_steps(report, window=moment(report.from_at_ms), measured=at, broken=broken, alerts=alerts)
    return {
        "model": model or report.endpoint,
        "version": report.version,
        "window": {"from": moment(report.from_at_ms), "to": moment(report.to_at_ms), "rows": report.rows},
        "reference_id": report.reference_id,
        "status": report.status,
        "severity": worst([report.severity, at.severity if at else "OK"]),
        "false_alarm_rate": _false_alarms(report),
        "features": [_feature(verdict, report) for verdict in report.features],
        "performance": {
            "realised": [each for part in realised for each in _realised(part)],
            "estimated": [_estimated(each) for each in estimated],
        },
        "actions": list(steps),
        "endpoint": report.endpoint,
        "release_hash": report.release_hash,
        "judged_at": moment(report.judged_at_ms),
        "verdict": _verdict(report, at, broken),
        "alerting_importance": number(report.alerting_importance),
        "seasonality": report.seasonality,
        "causes": None if causes is None else _causes(causes),
        "alerts": [
            {"cause": each.cause, "severity": each.severity, "title": each.title, "why": each.why} for each in alerts
        ],
    }


def address(endpoint: str, from_at_ms: int, *, release_hash: str = "") -> str:
    """Where the control server shows this very window, whatever is judged after it: the link of its alerts.

    >>> address("churn", 1_357_000_000_000, release_hash="a1b2c3d4e5f6a7")
    '/endpoints/churn/report?window=2013-01-01T00:26:40Z&release=a1b2c3d4e5f6'
    """
    of = f"&release={release_hash[:12]}" if release_hash else ""
    return f"/endpoints/{endpoint}/report?window={moment(from_at_ms)}{of}"


def moment(at_ms: int) -> str | None:
    """Milliseconds as RFC 3339 in UTC; None for 0, which means none.

    >>> moment(1_357_000_000_000), moment(0)
    ('2013-01-01T00:26:40Z', None)
    """
    if not at_ms:
        return None
    try:
        spelt = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{at_ms} ms"
    return spelt.replace("+00:00", "Z").replace(".000Z", "Z")


def number(value: float | None) -> float | None:
    """A number JSON can hold, or None."""
    return value if value is not None and math.isfinite(value) else None


# ---------------------------------------------------------------- the verdict in one sentence


def _verdict(report: DriftReport, at: PerformanceReport | None, broken: bool) -> str:
    said = _drift_clause(report)
    if at is not None and RANK[at.severity] >= RANK["WARNING"]:
        said = f"measured quality fell: {at.why}; {said}"
    if broken:
        said += "; estimates of quality no longer hold"
    return said


def _drift_clause(report: DriftReport) -> str:
    if report.status == "INSUFFICIENT":
        return (
            f"{report.rows:,} rows are too few to say anything, at least {max(MIN_ROWS, report.rows + 1):,} are needed"
        )
    if report.status == "LEARNING":
        return "nothing to compare with yet: the reference is being learned from the first rows"
    judged = [verdict for verdict in report.features if verdict.effects]
    loud = [verdict for verdict in judged if warns(verdict)]
    if not loud:
        changed = [verdict for verdict in judged if verdict.named]
        if changed:
            return (
                f"nothing to act on: {_count(changed, 'column')} of {len(judged)} changed beyond chance, within limits"
            )
        return f"no change beyond chance in {_count(judged, 'column')}"
    # Inputs are causes and outputs their consequence, so an input speaks first.
    first = next((verdict for verdict in loud if verdict.role == "input"), loud[0])
    rest = f" and {_count(loud[1:], 'more column')}" if len(loud) > 1 else ""
    inputs = sum(verdict.role == "input" for verdict in loud)
    carried = (
        f", the inputs with {report.alerting_importance:.0%} of model importance"
        if inputs > 1 and report.alerting_importance
        else ""
    )
    return f"{subject(first)}{rest} changed beyond chance and beyond limits{carried}: {first.why}"


def subject(verdict: FeatureVerdict) -> str:
    """What a verdict is about, in words; outputs may carry the name of an input."""
    return verdict.name if verdict.role == "input" else f"the model's {verdict.role}"


def _count(of: Sequence[object], noun: str) -> str:
    return f"{len(of)} {noun}" + ("" if len(of) == 1 else "s")


# ---------------------------------------------------------------- parts


def _false_alarms(report: DriftReport) -> Document:
    measured = report.false_alarm_measured
    return {
        "nominal": number(report.false_alarm_nominal),
        "measured": number(measured.value) if measured else None,
        "ci": [number(measured.lo), number(measured.hi)] if measured else None,
        "measured_at": ALPHA if measured else None,
        "warning": number(_warning_rate(report)),
    }


def _warning_rate(report: DriftReport) -> float | None:
    """The share of windows without change that may be a WARNING, where that is less than may be significant."""
    if not (report.threshold_p and report.warning_p):
        return None
    return report.false_alarm_nominal * report.warning_p / report.threshold_p


def _feature(verdict: FeatureVerdict, report: DriftReport) -> Document:
    effects = {effect.name: effect for effect in verdict.effects}
    sizes: Document = {name: number(effects[name].value) if name in effects else None for name in EFFECTS}
    sizes["psi_noise"] = number(effects["psi"].noise) if "psi" in effects else None
    found = edge(verdict, report)
    return {
        "name": verdict.name,
        "type": verdict.type,
        "p": number(verdict.p),
        "effect": sizes,
        "limit": {effect.name: number(effect.limit) for effect in verdict.effects if decides(effect)},
        "importance": number(verdict.importance),
        "impact": number(verdict.impact),
        "severity": verdict.severity,
        "why": verdict.why,
        "role": verdict.role,
        "direction": verdict.direction,
        "noise": {effect.name: number(effect.noise) for effect in verdict.effects},
        "would_change": None
        if found is None
        else {
            "effect": found.effect,
            "toward": found.toward,
            "factor": number(found.factor),
            "rows": found.rows or None,
            "says": found.says,
        },
        "shares": {
            "bins": list(verdict.bin_labels),
            "reference": [number(share) for share in verdict.reference_shares],
            "window": [number(share) for share in verdict.window_shares],
        },
    }


def _performance_at(report: DriftReport, realised: Sequence[PerformanceReport]) -> PerformanceReport | None:
    """What labels said of this release when the window ended: its newest measurement that is not of later rows."""
    fitting = [
        each
        for each in realised
        if each.metrics
        and each.release_hash == report.release_hash
        and (not report.to_at_ms or each.from_at_ms < report.to_at_ms)
    ]
    return max(fitting, key=lambda each: each.from_at_ms, default=None)


def _broken(report: DriftReport, estimated: Sequence[Estimate]) -> bool:
    """Whether the newest estimates of this release up to the window no longer hold."""
    until = report.to_at_ms or math.inf
    fitting = [each for each in estimated if each.release_hash == report.release_hash and each.from_at_ms < until]
    newest = max((each.from_at_ms for each in fitting), default=0)
    return any(each.status == "BROKEN" for each in fitting if each.from_at_ms == newest)


def _realised(part: PerformanceReport) -> Iterator[Document]:
    for metric in part.metrics or ():
        yield {
            **_spread(metric.name, metric.interval),
            "coverage": number(part.coverage),
            "status": _status(part, metric),
            "from": moment(part.from_at_ms),
            "to": moment(part.to_at_ms),
            "as_of": moment(part.as_of_ms),
            "rows": metric.rows,
            "release_hash": part.release_hash,
            "severity": part.severity,
            "baseline": _of_baseline(part.baseline, metric.name),
            "why": metric.reason or part.why,
        }


def _status(part: PerformanceReport, metric: Metric) -> str:
    return "NOT_ESTIMABLE" if metric.status == "NOT_ESTIMABLE" else part.status


def _of_baseline(baseline: Metric | None, name: str) -> Document | None:
    if baseline is None or baseline.name != name or baseline.interval is None:
        return None
    return {**_spread(name, baseline.interval), "rows_from": baseline.rows_from}


def _estimated(each: Estimate) -> Document:
    return {
        **_spread(each.metric, each.interval),
        "status": each.status,
        "backtest_rmse": number(each.backtest_rmse),
        "from": moment(each.from_at_ms),
        "to": moment(each.to_at_ms),
        "as_of": moment(each.as_of_ms),
        "rows": each.rows,
        "release_hash": each.release_hash,
        "method": each.method,
        "matured_windows": each.matured_windows,
        "why": each.why,
    }


def _spread(metric: str, interval: Interval | None) -> Document:
    value, lo, hi = (interval.value, interval.lo, interval.hi) if interval else (None, None, None)
    return {"metric": metric, "value": number(value), "lo": number(lo), "hi": number(hi)}


def _causes(causes: CauseReport) -> Document:
    auc = causes.domain_auc
    return {
        "output": causes.output,
        "before": number(causes.before),
        "now": number(causes.now),
        "says": causes.says,
        "suspects": [
            {
                "name": each.name,
                "influence": number(each.influence),
                "onset": moment(each.onset_at_ms),
                "onset_range": [moment(each.onset_lo_ms), moment(each.onset_hi_ms)],
                "why": each.why,
            }
            for each in causes.suspects
        ],
        "segments": [
            {
                "column": each.column,
                "level": each.level,
                "share_before": number(each.share_before),
                "share_now": number(each.share_now),
                "mix": number(each.mix),
                "rate": number(each.rate),
                "why": each.why,
            }
            for each in causes.segments
        ],
        "interaction": causes.interaction,
        "domain_auc": None if auc is None else [number(auc.value), number(auc.lo), number(auc.hi)],
        "skew": list(causes.skew),
        "row_ids": list(causes.row_ids),
        "method": causes.method,
        "compared_with": causes.compared_with,
    }
