"""Prometheus text of the control process: what was judged and measured. Traffic is measured where it is answered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Literal

from mlspine.backends.gpu import Gpu, Gpus
from mlspine.core.targets import latency_target
from mlspine.core.types import FeatureVerdict, Interval, Metric, PerformanceReport
from mlspine.monitoring.alert import RANK
from mlspine.monitoring.claims import EndpointStatus
from mlspine.serving.meter import rss_bytes
from mlspine.web.estimate_metrics import estimate_broken, estimated_quality
from mlspine.workspace import Workspace

Sample = tuple[dict[str, str], float]
Kind = Literal["gauge", "counter"]
_GPUS = Gpus()


def control_metrics(workspace: Workspace) -> str:
    """The whole exposition, ending in a newline.

    By endpoint: rows recorded, open alerts by severity, the newest judgement by column, quality measured and
    estimated with intervals, the latency agreed on. Of this process: CPU and memory; of the machine: its GPUs.
    """
    endpoints = workspace.status.read("").endpoints
    quality = [report for endpoint in endpoints for report in _live_quality(workspace, endpoint)]
    estimates = [
        each
        for endpoint in endpoints
        for each in workspace.monitoring.newest_estimates(endpoint.name, endpoint.release_hash)
    ]
    verdicts = [(endpoint.name, verdict) for endpoint in endpoints for verdict in _verdicts(workspace, endpoint)]
    gpus = _GPUS.read()
    families = [
        ("mlspine_log_rows", "Rows of answered requests in the log.", _rows(endpoints)),
        ("mlspine_alerts_open", "Alerts that have not cleared.", _alerts(endpoints)),
        (
            "mlspine_drift_severity",
            "Newest judgement by column: 0 none, 1 info, 2 warning, 3 critical.",
            ((_column(name, each), float(RANK[each.severity])) for name, each in verdicts),
        ),
        (
            "mlspine_drift_ratio",
            "Newest judgement by column: the largest deciding effect in units of its limit.",
            ((_column(name, each), _ratio(each)) for name, each in verdicts),
        ),
        ("mlspine_quality", "Measured quality of the live release.", _quality(quality)),
        (
            "mlspine_quality_severity",
            "Measured quality of the live release: 0 as at ship or not known, 2 warning, 3 critical.",
            (({"endpoint": each.endpoint}, float(RANK[each.severity])) for each in quality),
        ),
        (
            "mlspine_label_coverage",
            "Share of the live release's rows that have a label.",
            (({"endpoint": each.endpoint}, each.coverage) for each in quality),
        ),
        (
            "mlspine_estimated_quality",
            "Quality of the live release's newest window, estimated without its labels.",
            estimated_quality(estimates),
        ),
        (
            "mlspine_estimate_broken",
            "1 when the newest realised quality lay outside the interval of its estimate.",
            estimate_broken(estimates),
        ),
        ("mlspine_latency_target_seconds", "P99 the endpoint is held to.", _targets(workspace, endpoints)),
        ("mlspine_gpu_utilization_ratio", "Share of time the GPU works.", _gpu(gpus, "utilization")),
        ("mlspine_gpu_memory_used_bytes", "GPU memory in use.", _gpu(gpus, "memory_used_bytes")),
        ("mlspine_gpu_memory_total_bytes", "GPU memory there is.", _gpu(gpus, "memory_total_bytes")),
        ("process_resident_memory_bytes", "Resident memory of this process.", [({}, float(rss_bytes()))]),
    ]
    gauges = "".join(exposition(name, text, samples) for name, text, samples in families)
    spent = "CPU time of this process since it started."
    return gauges + exposition("process_cpu_seconds_total", spent, [({}, time.process_time())], kind="counter")


def exposition(name: str, text: str, samples: Iterable[Sample], *, kind: Kind = "gauge") -> str:
    r"""One family in the text format, "" without samples.

    >>> print(exposition("up", "Whether it runs.", [({"who": 'a"b'}, 1.0)]), end="")
    # HELP up Whether it runs.
    # TYPE up gauge
    up{who="a\"b"} 1.0
    """
    lines = [f"{name}{_labels(labels)} {value}" for labels, value in samples]
    return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines, ""]) if lines else ""


def _rows(endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        yield {"endpoint": endpoint.name}, float(endpoint.rows)


def _alerts(endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    for endpoint in endpoints:
        for severity in ("WARNING", "CRITICAL"):
            count = sum(alert.severity == severity for alert in endpoint.alerts)
            yield {"endpoint": endpoint.name, "severity": severity}, float(count)


def _verdicts(workspace: Workspace, endpoint: EndpointStatus) -> tuple[FeatureVerdict, ...]:
    report = workspace.monitoring.state(endpoint.name, release_hash=endpoint.release_hash).last_report
    return report.features if report else ()


def _column(endpoint: str, verdict: FeatureVerdict) -> dict[str, str]:
    return {"endpoint": endpoint, "column": verdict.name, "role": verdict.role}


def _ratio(verdict: FeatureVerdict) -> float:
    return max((each.value / each.limit for each in verdict.effects if each.limit > 0), default=0.0)


def _live_quality(workspace: Workspace, endpoint: EndpointStatus) -> list[PerformanceReport]:
    measured = workspace.monitoring.quality(endpoint.name, by="all")
    return [report for report in measured if report.release_hash == endpoint.release_hash]


def _quality(reports: Iterable[PerformanceReport]) -> Iterator[Sample]:
    for report in reports:
        yield from _metrics(report.endpoint, report.metrics)


def _targets(workspace: Workspace, endpoints: Iterable[EndpointStatus]) -> Iterator[Sample]:
    declared_s = workspace.config.monitoring.latency_p99_s
    for endpoint in endpoints:
        proof = workspace.deployment.proof(endpoint.release_hash) if endpoint.release_hash else None
        target = latency_target(declared_s, proof)
        if target is not None:
            yield {"endpoint": endpoint.name}, target.seconds


def _gpu(gpus: Iterable[Gpu], field: str) -> Iterator[Sample]:
    for gpu in gpus:
        value = getattr(gpu, field)
        if value is not None:
            yield {"gpu": gpu.number, "name": gpu.name}, float(value)


def _metrics(endpoint: str, metrics: Iterable[Metric]) -> Iterator[Sample]:
    for metric in metrics:
        if metric.interval is not None:
            yield from _bounds(endpoint, metric.name, metric.interval)


def _bounds(endpoint: str, metric: str, interval: Interval) -> Iterator[Sample]:
    for bound, figure in (("value", interval.value), ("lo", interval.lo), ("hi", interval.hi)):
        yield {"endpoint": endpoint, "metric": metric, "bound": bound}, float(figure)


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
