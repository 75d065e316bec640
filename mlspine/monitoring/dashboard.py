"""A Grafana dashboard of everything mlspine exposes to Prometheus, portable by its data source variable. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from mlspine.monitoring.rules import P99

DASHBOARD_FILE = "mlspine-dashboard.json"
SCHEMA_VERSION = 39
WIDTH = 24
LEGEND = "{{instance}} {{process}}"  # of what every process tells of itself
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SEVERITIES = {"0": "none", "1": "info", "2": "warning", "3": "critical"}
_STEPS = [
    {"color": "green", "value": None},
    {"color": "blue", "value": 1},
    {"color": "orange", "value": 2},
    {"color": "red", "value": 3},
]


class Query(NamedTuple):
    """One expression and the name of its series."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One chart; `unit` by Grafana's names. `kind` is its panel type."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    severities: bool = False  # values are severities, drawn with their names and colours


ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel(
            "Open alerts",
            (Query("sum by (severity) (mlspine_alerts_open{endpoint=~'$endpoint'})", "{{severity}}"),),
            kind="stat",
            height=5,
        ),
        Panel(
            "What answers",
            (
                Query(
                    "max by (endpoint, version) (mlspine_release_info{endpoint=~'$endpoint'})",
                    "{{endpoint}} v{{version}}",
                ),
            ),
            kind="stat",
            height=5,
        ),
        Panel(
            "Worst column",
            (Query("max by (endpoint) (mlspine_drift_severity{endpoint=~'$endpoint'})", "{{endpoint}}"),),
            kind="stat",
            height=5,
            severities=True,
        ),
    ),
    "Traffic": (
        Panel(
            "Requests",
            (Query("sum by (endpoint) (rate(mlspine_requests_total{endpoint=~'$endpoint'}[5m]))", "{{endpoint}}"),),
            unit="reqps",
        ),
        Panel(
            "Answers by status",
            (
                Query("sum(rate(mlspine_requests_total{endpoint=~'$endpoint',code=~'4..'}[5m]))", "4xx"),
                Query("sum(rate(mlspine_requests_total{endpoint=~'$endpoint',code=~'5..'}[5m]))", "5xx"),
            ),
            unit="reqps",
        ),
        Panel(
            "Latency",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le)"
                    " (rate(mlspine_request_duration_seconds_bucket{endpoint=~'$endpoint'}[5m])))",
                    name,
                )
                for name, share in (("P50", 0.5), ("P95", 0.95), ("P99", 0.99))
            ),
            unit="s",
        ),
        Panel(
            "P99 by endpoint",
            (Query(P99, "{{endpoint}}"), Query("mlspine_latency_target_seconds", "target {{endpoint}}")),
            unit="s",
        ),
        Panel("CPU", (Query("rate(process_cpu_seconds_total{job='mlspine'}[5m])", LEGEND),), unit="percentunit"),
        Panel("Memory", (Query("process_resident_memory_bytes{job='mlspine'}", LEGEND),), unit="bytes"),
    ),
    "Data": (
        Panel(
            "Effect over limit, by column",
            (Query("max by (column) (mlspine_drift_ratio{endpoint=~'$endpoint'})", "{{column}}"),),
            width=16,
        ),
        Panel(
            "Severity by column",
            (Query("max by (column) (mlspine_drift_severity{endpoint=~'$endpoint'})", "{{column}}"),),
            severities=True,
        ),
        Panel("Rows recorded", (Query("mlspine_log_rows{endpoint=~'$endpoint'}", "{{endpoint}}"),)),
        Panel("Rows lost", (Query("increase(mlspine_log_dropped_rows_total[1h])", LEGEND),)),
    ),
    "Quality": (
        Panel(
            "Measured, with interval",
            (Query("mlspine_quality{endpoint=~'$endpoint'}", "{{metric}} {{bound}}"),),
            width=12,
        ),
        Panel(
            "Estimated without labels, with interval",
            (Query("mlspine_estimated_quality{endpoint=~'$endpoint'}", "{{metric}} {{bound}}"),),
            width=12,
        ),
        Panel(
            "Share of rows with a label",
            (Query("mlspine_label_coverage{endpoint=~'$endpoint'}", "{{endpoint}}"),),
            unit="percentunit",
        ),
    ),
    "GPU": (
        Panel("Use", (Query("mlspine_gpu_utilization_ratio", "{{gpu}}"),), unit="percentunit", width=12),
        Panel("Memory", (Query("mlspine_gpu_memory_used_bytes", "{{gpu}}"),), unit="bytes", width=12),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; panel ids are unique and nothing overlaps.

    >>> dashboard()["uid"]
    'mlspine'
    """
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            }
        )
        top = _place(panels, row, top + 1)
    return {
        "uid": "mlspine",
        "title": "mlspine",
        "tags": ["mlspine"],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_source_variable(), _endpoint_variable()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _place(panels: list[dict[str, Any]], row: tuple[Panel, ...], top: int) -> int:
    """Put the panels of one row side by side, breaking where the width is full; returns where the next begins."""
    left = height = 0
    for panel in row:
        if left + panel.width > WIDTH:
            top, left, height = top + height, 0, 0
        place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        panels.append(_panel(panel, id_=len(panels) + 1, place=place))
        left, height = left + panel.width, max(height, panel.height)
    return top + height


def _panel(panel: Panel, *, id_: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.severities:
        options = {value: {"text": name, "index": int(value)} for value, name in _SEVERITIES.items()}
        defaults["mappings"] = [{"type": "value", "options": options}]
        defaults["thresholds"] = {"mode": "absolute", "steps": _STEPS}
    return {
        "id": id_,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query.expr, "legendFormat": query.legend, "datasource": _SOURCE}
            for i, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _endpoint_variable() -> dict[str, Any]:
    query = "label_values(mlspine_log_rows, endpoint)"
    return {
        "name": "endpoint",
        "label": "Endpoint",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "endpoint"},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }
