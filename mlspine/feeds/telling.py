"""Alerts about feeds: one per feed or field until it is well again, none where drift has spoken already."""

from __future__ import annotations

from collections.abc import Iterable

from mlspine.core.types import Severity
from mlspine.feeds.health import Fault
from mlspine.monitoring.service import Monitoring

DRIFT = "drift:"


def cause_of(role: str, field: str = "") -> str:
    """What an alert about a feed, or about one of its columns, is filed under.

    >>> cause_of("source"), cause_of("source", "temp")
    ('feed:source', 'feed:source:temp')
    """
    return f"feed:{role}:{field}" if field else f"feed:{role}"


def tell(
    monitoring: Monitoring, model: str, role: str, title: str, problem: str, *, action: str, severity: Severity
) -> None:
    """Raise the alert about a whole feed while there is a problem, and clear it when there is none."""
    if problem:
        monitoring.raise_alert(
            model, cause=cause_of(role), severity=severity, title=f"{model}: {title}", why=problem, action=action
        )
    else:
        monitoring.clear_alert(model, cause_of(role))


def tell_faults(monitoring: Monitoring, model: str, role: str, faults: Iterable[Fault], *, action: str) -> None:
    """Raise one alert per column at fault; those of columns well again, or named by an open drift alert, clear."""
    standing = {alert.cause for alert in monitoring.alerts(model)}
    drifted = {cause.removeprefix(DRIFT).rpartition(":")[0] for cause in standing if cause.startswith(DRIFT)}
    told = {
        cause_of(role, fault.field): fault
        for fault in faults
        # A column that is gone or of another type is no drift; values that changed are told once.
        if fault.symptom in ("gone", "type", "refused") or fault.field not in drifted
    }
    for cause, fault in told.items():
        monitoring.raise_alert(
            model,
            cause=cause,
            severity="WARNING",
            title=f"{model}: {fault.field} {_HAPPENED[fault.symptom]} {_WHERE[role]}",
            why=fault.says,
            action=action,
        )
    for cause in standing:
        if cause.startswith(f"{cause_of(role)}:") and cause not in told:
            monitoring.clear_alert(model, cause)


_WHERE = {"source": "at the source of fresh rows", "requests": "in requests", "refusals": "more often than usual"}
_HAPPENED = {
    "gone": "is gone",
    "type": "changed its type",
    "nulls": "is missing more often",
    "unseen": "has values never seen before",
    "range": "has impossible values",
    "refused": "is why requests are refused",
}
