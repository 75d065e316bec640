"""Prometheus text of the control process: what was judged and measured. Traffic is measured where it is answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlspine.core.types import Metric
from mlspine.monitoring.alert import RANK
from mlspine.monitoring.claims import EndpointStatus
from mlspine.workspace import Workspace

Sample = tuple[dict[str, str], float]


def control_metrics(workspace: Workspace) -> str:
    """The whole exposition, ending in a newline.

    Gauges by endpoint: rows recorded, open alerts by severity, the severity and effect of the newest judgement by
    column, measured quality with its interval.
    """
    status = workspace.status.read("")
    families = [
        ("mlspine_log_rows", "Rows of answered requests in the log.", _rows(status.endpoints)),
        ("mlspine_alerts_open", "Alerts that have not cleared.", _alerts(status.endpoints)),
        (
            "mlspine_drift_severity",
            "Newest judgement by column: 0 none, 1 info, 2 warning, 3 critical.",
            _drift(workspace, status.endpoints),
        ),
        ("mlspine_quality", "Measured quality of the live release.", _quality(workspace, status.endpoints)),
    ]
    return "".join(exposition(name, text, samples) for name, text, samples in families)


def exposition(name: str, text: str, samples: Iterable[Sample]) -> str:
    r"""One gauge family in the text format, "" without samples.

    >>> print(exposition("up", "Whether it runs.", [({"who": 'a"b'}, 1.0)]), end="")
    # HELP up Whether it runs.
    # TYPE up gauge
    up{who="a\"b"} 1.0
    """
    lines = [f"{name}{_labels(labels)} {value}" for labels, value in samples]
    return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} gauge", *lines, ""]) if lines else ""


def _rows(endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        yield {"endpoint": endpoint.name}, float(endpoint.rows)


def _alerts(endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        for severity in ("WARNING", "CRITICAL"):
            count = sum(alert.severity == severity for alert in endpoint.alerts)
            yield {"endpoint": endpoint.name, "severity": severity}, float(count)


def _drift(workspace: Workspace, endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        report = workspace.monitoring.state(endpoint.name, release_hash=endpoint.release_hash).last_report
        for verdict in report.features if report else ():
            labels = {"endpoint": endpoint.name, "column": verdict.name, "role": verdict.role}
            yield labels, float(RANK[verdict.severity])


def _quality(workspace: Workspace, endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        for report in workspace.monitoring.quality(endpoint.name, by="all"):
            if report.release_hash == endpoint.release_hash:
                yield from _metrics(endpoint.name, report.metrics)


def _metrics(endpoint: str, metrics: Iterable[Metric]) -> Iterator[Sample]:
    for metric in metrics:
        if metric.interval is not None:
            bounds = {"value": metric.interval.value, "lo": metric.interval.lo, "hi": metric.interval.hi}
            for bound, figure in bounds.items():
                yield {"endpoint": endpoint, "metric": metric.name, "bound": bound}, float(figure)


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
