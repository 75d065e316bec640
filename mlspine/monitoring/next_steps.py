"""What to type next about a judged window, by cause. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from mlspine.core.types import Alert, DriftReport, FeatureVerdict, PerformanceReport, Severity
from mlspine.monitoring.drift import RANK
from mlspine.monitoring.edge import alerts as warns


def next_steps(
    report: DriftReport,
    *,
    window: str | None,
    measured: PerformanceReport | None,
    broken: bool,
    alerts: Sequence[Alert],
) -> Iterator[dict[str, Any]]:
    """What the open alerts ask for, in their order, then what follows from the window; each command once.

    window: how to name it in a command. measured: what labels said up to it. broken: whether estimates of quality
    no longer hold. A comparison without an endpoint has nothing to act on.
    """
    name = report.endpoint
    if not name:
        return
    seen = set()
    for alert in alerts:
        if alert.action and alert.action not in seen:
            seen.add(alert.action)
            yield _action(alert.cause, alert.severity, alert.title, alert.action)
    for cause, severity, says, command in _suggested(report, window, measured, broken):
        if command not in seen:
            seen.add(command)
            yield _action(cause, severity, says, command)


def _suggested(
    report: DriftReport, window: str | None, measured: PerformanceReport | None, broken: bool
) -> Iterator[tuple[str, Severity, str, str]]:
    name = report.endpoint
    if report.status != "JUDGED":
        yield "rows", "INFO", "see how many rows are still needed", f"mlspine status {name}"
    if measured is not None and RANK[measured.severity] >= RANK["WARNING"]:
        yield "quality", measured.severity, "bring the release before back", f"mlspine rollback {name}"
        yield "quality", measured.severity, "see since when quality fell", f"mlspine quality {name} --by week"
    if broken:
        yield "estimates", "WARNING", "learn from newer labels what changed", f"mlspine retrain {name}"
    loud = [verdict for verdict in report.features if warns(verdict)]
    if loud:
        says, command = "see where it comes from", f"mlspine causes {name} --window {window}"
        yield f"drift:{loud[0].name}:{loud[0].direction}", loud[0].severity, says, command
    for verdict in loud:
        if verdict.role == "input" and verdict.direction in ("missing", "unseen"):
            says = f"look at the newest rows of {verdict.name}"
            yield f"drift:{verdict.name}:{verdict.direction}", verdict.severity, says, _rows_command(name, verdict)
    if loud:
        cause, severity = f"drift:{loud[0].name}:{loud[0].direction}", loud[0].severity
        yield cause, severity, "take the alerts on, so that others know", f"mlspine alerts ack {name}"
        yield cause, severity, "if it is here to stay, fit the model to it", f"mlspine retrain {name}"


def _rows_command(endpoint: str, verdict: FeatureVerdict) -> str:
    column = '"' + verdict.name.replace('"', '""') + '"'
    where = f" where {column} is null" if verdict.direction == "missing" else ""
    group = f"select {column}, _caller, count(*) from log{where} group by all order by 3 desc limit 20"
    return f"mlspine log {endpoint} {shlex.quote(group)}"


def _action(cause: str, severity: Severity, says: str, command: str) -> dict[str, Any]:
    return {"cause": cause, "severity": severity, "says": says, "command": command}
