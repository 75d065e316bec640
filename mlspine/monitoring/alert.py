"""Alerts: when one opens, rises and clears, and how several are told as one. Pure.

An alert is one cause at one endpoint. It opens once, is updated while its cause lasts, keeps the worst
severity it has had, and clears after two clean windows: a value dancing about its limit is one alert, not
twenty. Somebody may take it on (acknowledge) or want quiet for a while (silence). Whether a person has been
told is part of it (`delivered`), so a restart neither repeats a message nor loses one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence

import msgspec

from mlspine.core.types import Alert, DriftReport, FeatureVerdict, PerformanceReport, Severity, Silence
from mlspine.monitoring.performance import ALARM_COVERAGE

CLEAN_WINDOWS = 2
DELIVERED = "ok"
RANK: dict[str, int] = {"OK": 0, "INFO": 1, "WARNING": 2, "CRITICAL": 3}
DRIFT = "drift:"
QUALITY = "quality:"
NAMED_AT_MOST = 5
_HAPPENED = {
    "up": "went up",
    "down": "went down",
    "missing": "is missing at another rate",
    "unseen": "has values never seen before",
    "shape": "changed shape",
}


def after_drift(
    report: DriftReport, open_alerts: Sequence[Alert], *, now_ms: int, new_id: Callable[[], str]
) -> list[Alert]:
    """The drift alerts that one judged window opens, updates or clears, worst first; others stay.

    open_alerts: what is open at the endpoint, whatever the cause. A window that was not judged changes
    nothing.
    """
    if report.status != "JUDGED":
        return []
    standing = {alert.cause: alert for alert in open_alerts if alert.cause.startswith(DRIFT)}
    drifted = {_cause(verdict): verdict for verdict in _by_impact(report) if RANK[verdict.severity] >= RANK["WARNING"]}
    changed = []
    for cause, verdict in drifted.items():
        found = _drift_alert(report, cause, verdict, now_ms=now_ms, id_=new_id())
        changed.append(_lasting(standing[cause], found) if cause in standing else found)
    changed.extend(_clean(alert, now_ms) for cause, alert in standing.items() if cause not in drifted)
    return changed


def after_quality(
    reports: Sequence[PerformanceReport],
    open_alerts: Sequence[Alert],
    *,
    now_ms: int,
    new_id: Callable[[], str],
    served_here: bool = True,
) -> list[Alert]:
    """The quality alert as the newest knowledge of each window puts it; [] when that is nothing new.

    reports: one per window, oldest window first. A late label may change any of them, so the state is read
    off the whole row: bad windows stand until two clean ones follow. A window says that all is well only
    when half of its rows have labels or no more are expected. served_here: whether the model can be rolled back here.
    """
    told = [report for report in reports if report.metrics and (_is_bad(report) or _speaks(report))]
    if not told:
        return []
    cause = QUALITY + _metric(told[-1])
    standing = next((alert for alert in open_alerts if alert.cause == cause), None)
    bad, clean = _standing_windows(told)
    if bad:
        found = _quality_alert(bad[-1], cause, now_ms=now_ms, id_=new_id(), served_here=served_here)
        lasting = found if standing is None else _lasting(standing, found)
        changed = msgspec.structs.replace(lasting, windows=len(bad), clear_windows=clean)
    elif standing is not None:
        changed = _cleared(standing, now_ms, clean)
    else:
        return []
    return [] if standing is not None and _same(standing, changed) else [changed]


def after_report(standing: Alert | None, found: Alert) -> Alert | None:
    """What a repeated report of the same cause leaves to store: None when it says nothing new."""
    if standing is None:
        return found
    same = (standing.title, standing.why, standing.action) == (found.title, found.why, found.action)
    if same and RANK[found.severity] <= RANK[standing.severity]:
        return None
    return _lasting(standing, found)


def cleared(alert: Alert, *, now_ms: int) -> Alert:
    """The alert, over at once: for causes whose end is observed directly."""
    return msgspec.structs.replace(alert, cleared_at_ms=now_ms, updated_at_ms=now_ms)


def acknowledged(alert: Alert, *, by: str, now_ms: int) -> Alert:
    """The alert, taken on by somebody: sinks hear of it again only when it gets worse."""
    return msgspec.structs.replace(alert, acknowledged_by=by, acknowledged_at_ms=now_ms, updated_at_ms=now_ms)


def silenced(alert: Alert, silences: Iterable[Silence], *, now_ms: int) -> bool:
    """Whether a silence covers this alert now."""
    return any(
        each.endpoint == alert.endpoint
        and each.from_at_ms <= now_ms < each.until_at_ms
        and (each.cause in ("", alert.cause) or alert.cause.startswith(f"{each.cause}:"))
        for each in silences
    )


def undelivered(alerts: Sequence[Alert], sink: str) -> list[Alert]:
    """Open alerts that this sink has not taken yet and that nobody has taken on."""
    return [
        alert
        for alert in alerts
        if not alert.cleared_at_ms and not alert.acknowledged_at_ms and alert.delivered.get(sink) != DELIVERED
    ]


def messages(alerts: Sequence[Alert]) -> list[tuple[Alert, tuple[Alert, ...]]]:
    """Each message to send and the alerts it tells: an endpoint's drift alerts together, others alone."""
    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        key = DRIFT if alert.cause.startswith(DRIFT) else alert.cause
        groups.setdefault((alert.endpoint, key), []).append(alert)
    return [(_group(members), tuple(members)) for members in groups.values()]


def with_outcome(alert: Alert, sink: str, outcome: str) -> Alert:
    """The alert with what became of telling it: "ok", or the failure."""
    return msgspec.structs.replace(alert, delivered={**alert.delivered, sink: outcome})


# ---------------------------------------------------------------- life of an alert


def _lasting(standing: Alert, found: Alert) -> Alert:
    """The standing alert with what was found now; told again only when it became worse."""
    worse = RANK[found.severity] > RANK[standing.severity]
    return msgspec.structs.replace(
        standing,
        severity=found.severity if worse else standing.severity,
        title=found.title,
        why=found.why,
        action=found.action,
        impact=found.impact,
        from_at_ms=found.from_at_ms,
        to_at_ms=found.to_at_ms,
        updated_at_ms=found.updated_at_ms,
        windows=standing.windows + 1,
        clear_windows=0,
        delivered={} if worse else standing.delivered,
        acknowledged_by="" if worse else standing.acknowledged_by,
        acknowledged_at_ms=0 if worse else standing.acknowledged_at_ms,
    )


def _clean(alert: Alert, now_ms: int) -> Alert:
    return _cleared(alert, now_ms, alert.clear_windows + 1)


def _cleared(alert: Alert, now_ms: int, clean_windows: int) -> Alert:
    over = clean_windows >= CLEAN_WINDOWS
    return msgspec.structs.replace(
        alert, clear_windows=clean_windows, updated_at_ms=now_ms, cleared_at_ms=now_ms if over else 0
    )


def _standing_windows(reports: Sequence[PerformanceReport]) -> tuple[list[PerformanceReport], int]:
    """The bad windows not yet followed by two clean ones, and how many clean ones ended the row."""
    bad: list[PerformanceReport] = []
    clean = 0
    for report in reports:
        if _is_bad(report):
            bad.append(report)
            clean = 0
        else:
            clean += 1
            if clean >= CLEAN_WINDOWS:
                bad = []
    return bad, clean


def _is_bad(report: PerformanceReport) -> bool:
    return RANK[report.severity] >= RANK["WARNING"]


def _speaks(report: PerformanceReport) -> bool:
    return report.status == "FINAL" or report.coverage >= ALARM_COVERAGE


def _metric(report: PerformanceReport) -> str:
    return report.baseline.name if report.baseline is not None else report.metrics[0].name


def _same(a: Alert, b: Alert) -> bool:
    return a == msgspec.structs.replace(b, updated_at_ms=a.updated_at_ms)


# ---------------------------------------------------------------- words


def _cause(verdict: FeatureVerdict) -> str:
    # Outputs may carry the name of an input.
    name = verdict.name if verdict.role == "input" else f"output:{verdict.role}"
    return f"{DRIFT}{name}:{verdict.direction}"


def _by_impact(report: DriftReport) -> list[FeatureVerdict]:
    return sorted(report.features, key=lambda verdict: (-RANK[verdict.severity], -verdict.impact, verdict.name))


def _drift_alert(report: DriftReport, cause: str, verdict: FeatureVerdict, *, now_ms: int, id_: str) -> Alert:
    endpoint = report.endpoint
    subject = verdict.name if verdict.role == "input" else f"the model's {verdict.role}"
    return Alert(
        id=id_,
        endpoint=endpoint,
        cause=cause,
        severity=verdict.severity,
        title=f"{endpoint}: {subject} {_HAPPENED.get(verdict.direction, 'drifted')}",
        why=verdict.why,
        action=f"mlspine report {endpoint} --window {_minute(report.from_at_ms)}",
        opened_at_ms=now_ms,
        updated_at_ms=now_ms,
        impact=verdict.impact,
        from_at_ms=report.from_at_ms,
        to_at_ms=report.to_at_ms,
    )


def _minute(at_ms: int) -> str:
    """A moment as `--window` takes it; windows begin at full hours.

    >>> _minute(1_700_000_000_000)
    '2023-11-14T22:13'
    """
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M")


def _quality_alert(report: PerformanceReport, cause: str, *, now_ms: int, id_: str, served_here: bool) -> Alert:
    return Alert(
        id=id_,
        endpoint=report.endpoint,
        cause=cause,
        severity=report.severity,
        title=f"{report.endpoint}: measured {_metric(report)} is worse than when it was shipped",
        why=report.why,
        action=f"mlspine {'rollback' if served_here else 'quality'} {report.endpoint}",
        opened_at_ms=now_ms,
        updated_at_ms=now_ms,
        impact=1.0,
        from_at_ms=report.from_at_ms,
        to_at_ms=report.to_at_ms,
    )


def _group(members: Sequence[Alert]) -> Alert:
    """One message for several drift alerts of an endpoint: the worst first, the rest named behind it."""
    ranked = sorted(members, key=_foremost)
    first = ranked[0]
    if len(ranked) == 1:
        return first
    named = [f"{_what(alert)} ({alert.why})" for alert in ranked[:NAMED_AT_MOST]]
    rest = len(ranked) - len(named)
    return msgspec.structs.replace(
        first,
        title=f"{first.title}, and {len(ranked) - 1} more",
        why="; ".join(named) + (f"; and {rest} more" if rest else ""),
    )


def _what(alert: Alert) -> str:
    return alert.title.removeprefix(f"{alert.endpoint}: ")


def _foremost(alert: Alert) -> tuple[bool, int, float, str]:
    # An input that moved is a cause, the model's outputs moving with it the consequence: causes are named first.
    return alert.cause.startswith(f"{DRIFT}output:"), -RANK[alert.severity], -alert.impact, alert.cause


def worst(severities: Iterable[Severity]) -> Severity:
    """The highest of some severities, OK when there are none."""
    return max(severities, key=lambda severity: RANK[severity], default="OK")
