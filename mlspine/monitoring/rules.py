"""Prometheus alert rules for what mlspine exposes, and the unit tests that go with them. Pure.

The same conditions that mlspine itself alerts on, for teams whose pager hangs on Prometheus. Thresholds that differ
by endpoint (the latency target) are metrics themselves, so the rules hold for endpoints that do not exist yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

RULES_FILE = "mlspine.rules.yml"
TESTS_FILE = "mlspine.rules_test.yml"
INTERVAL_S = 60
_FAILING = (
    "sum by (endpoint) (rate(mlspine_requests_total{code=~'5..'}[5m]))"
    " / sum by (endpoint) (rate(mlspine_requests_total[5m]))"
)
_ENOUGH = "sum by (endpoint) (increase(mlspine_requests_total[5m])) >= 100"
P99 = "histogram_quantile(0.99, sum by (endpoint, le) (rate(mlspine_request_duration_seconds_bucket[5m])))"


class Rule(NamedTuple):
    """One alert rule, with series under which it fires and series under which it keeps quiet.

    fires, quiet: series -> values in Prometheus's expanding notation, one a minute. at_s: when they are looked at.
    """

    name: str
    expr: str
    for_s: int
    severity: str
    summary: str
    description: str
    labels: dict[str, str]  # of the alert that fires in the test
    fires: dict[str, str]
    quiet: dict[str, str]
    at_s: int
    value: str  # what the test's description shows


def alert_rules(*, job: str, error_rate: float) -> list[Rule]:
    """The rules, worst last within a cause. job: of the scrape configuration; error_rate: share, 0 to 1."""
    return [_down(job), *_errors(error_rate), _latency(), *_drift(), *_quality(), _broken(), _dropped(), _open()]


def rules_document(rules: list[Rule]) -> dict[str, Any]:
    """The rules as the file `promtool check rules` reads."""
    listed = [
        {
            "alert": rule.name,
            "expr": rule.expr,
            "for": _duration(rule.for_s),
            "labels": {"severity": rule.severity, "service": "mlspine"},
            "annotations": {"summary": rule.summary, "description": rule.description},
        }
        for rule in rules
    ]
    return {"groups": [{"name": "mlspine", "rules": listed}]}


def document_of_tests(rules: list[Rule]) -> dict[str, Any]:
    """For each rule one test in which it fires and one in which it does not, as `promtool test rules` reads them."""
    tests = [
        _test(rule, series, fires) for rule in rules for series, fires in ((rule.fires, True), (rule.quiet, False))
    ]
    return {"rule_files": [RULES_FILE], "evaluation_interval": _duration(INTERVAL_S), "tests": tests}


def _test(rule: Rule, series: dict[str, str], fires: bool) -> dict[str, Any]:
    expected = {
        "exp_labels": {"severity": rule.severity, "service": "mlspine", **rule.labels},
        "exp_annotations": {
            "summary": _filled(rule.summary, rule),
            "description": _filled(rule.description, rule),
        },
    }
    return {
        "name": f"{rule.name} {'fires' if fires else 'keeps quiet'}",
        "interval": _duration(INTERVAL_S),
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": _duration(rule.at_s),
                "alertname": rule.name,
                "exp_alerts": [expected] if fires else [],
            }
        ],
    }


def _filled(text: str, rule: Rule) -> str:
    """A template as Prometheus fills it in for the test's alert."""
    for name, value in rule.labels.items():
        text = text.replace("{{ $labels." + name + " }}", value)
    before, _, rest = text.partition("{{ $value")
    return before + rule.value + rest.partition("}}")[2] if rest else text


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


# ---------------------------------------------------------------- the rules


def _down(job: str) -> Rule:
    series = f'up{{job="{job}", instance="a"}}'
    return Rule(
        name="MlspineDown",
        expr=f'up{{job="{job}"}} == 0',
        for_s=60,
        severity="critical",
        summary="mlspine at {{ $labels.instance }} does not answer",
        description="Its metrics could not be read for a minute. There: mlspine status",
        labels={"job": job, "instance": "a"},
        fires={series: "0x10"},
        quiet={series: "1x10"},
        at_s=300,
        value="",
    )


def _errors(error_rate: float) -> list[Rule]:
    good, bad = (
        f'mlspine_requests_total{{endpoint="churn",code="{code}",process="{process}"}}'
        for code, process in ((200, "inference-0"), (500, "inference-1"))
    )
    shared: dict[str, Any] = {
        "expr": f"{_FAILING} > {error_rate:g} and {_ENOUGH}",
        "summary": "{{ $labels.endpoint }}: answers fail",
        "description": "{{ $value | humanizePercentage }} of answers in 5 minutes. Next: mlspine status"
        " {{ $labels.endpoint }}",
        "labels": {"endpoint": "churn"},
        "fires": {good: "0+900x40", bad: "0+100x40"},
        "quiet": {good: "0+1000x40", bad: "0+0x40"},
        "value": "10%",
    }
    return [
        Rule(name="MlspineErrors", for_s=0, severity="warning", at_s=600, **shared),
        Rule(name="MlspineErrorsLast", for_s=900, severity="critical", at_s=1800, **shared),
    ]


def _latency() -> Rule:
    def bucket(bound: str, values: str) -> dict[str, str]:
        return {f'mlspine_request_duration_seconds_bucket{{endpoint="churn",le="{bound}"}}': values}

    target = {'mlspine_latency_target_seconds{endpoint="churn"}': "0.1x20"}
    return Rule(
        name="MlspineLatency",
        expr=f"{P99} > on (endpoint) group_left () max by (endpoint) (mlspine_latency_target_seconds)",
        for_s=180,
        severity="warning",
        summary="{{ $labels.endpoint }}: answers take longer than agreed",
        description="P99 of 5 minutes is {{ $value | humanizeDuration }}. Next: mlspine status"
        " {{ $labels.endpoint }} --explain",
        labels={"endpoint": "churn"},
        fires=target | bucket("0.1", "0+50x20") | bucket("0.5", "0+100x20") | bucket("+Inf", "0+100x20"),
        quiet=target | bucket("0.1", "0+100x20") | bucket("0.5", "0+100x20") | bucket("+Inf", "0+100x20"),
        at_s=900,
        value="492ms",
    )


def _drift() -> list[Rule]:
    series = 'mlspine_drift_severity{endpoint="churn",column="age",role="input"}'

    def rule(name: str, compared: str, severity: str, value: int) -> Rule:
        return Rule(
            name=name,
            expr=f"max by (endpoint, column, role) (mlspine_drift_severity) {compared}",
            for_s=0,
            severity=severity,
            summary="{{ $labels.endpoint }}: {{ $labels.column }} drifted",
            description="The newest judged window is beyond chance, floor and natural variation."
            " Next: mlspine report {{ $labels.endpoint }}",
            labels={"endpoint": "churn", "column": "age", "role": "input"},
            fires={series: f"0 {value}x9"},
            quiet={series: "1x10"},
            at_s=300,
            value="",
        )

    return [rule("MlspineDrift", "== 2", "warning", 2), rule("MlspineDriftCritical", "== 3", "critical", 3)]


def _quality() -> list[Rule]:
    series = 'mlspine_quality_severity{endpoint="churn"}'

    def rule(name: str, compared: str, severity: str, value: int) -> Rule:
        return Rule(
            name=name,
            expr=f"max by (endpoint) (mlspine_quality_severity) {compared}",
            for_s=0,
            severity=severity,
            summary="{{ $labels.endpoint }}: measured quality fell",
            description="Beyond its interval and the tolerance. Next: mlspine quality {{ $labels.endpoint }}",
            labels={"endpoint": "churn"},
            fires={series: f"0 {value}x9"},
            quiet={series: "0x10"},
            at_s=300,
            value="",
        )

    return [rule("MlspineQuality", "== 2", "warning", 2), rule("MlspineQualityCritical", "== 3", "critical", 3)]


def _broken() -> Rule:
    series = 'mlspine_estimate_broken{endpoint="churn",metric="auc"}'
    return Rule(
        name="MlspineEstimateBroken",
        expr="max by (endpoint, metric) (mlspine_estimate_broken) == 1",
        for_s=0,
        severity="warning",
        summary="{{ $labels.endpoint }}: what the model learned no longer holds",
        description="Realised {{ $labels.metric }} lay outside the interval of its estimate."
        " Next: mlspine quality {{ $labels.endpoint }}",
        labels={"endpoint": "churn", "metric": "auc"},
        fires={series: "0 1x9"},
        quiet={series: "0x10"},
        at_s=300,
        value="",
    )


def _dropped() -> Rule:
    series = 'mlspine_log_dropped_rows_total{instance="a",process="inference-0"}'
    return Rule(
        name="MlspineLogDropped",
        expr="increase(mlspine_log_dropped_rows_total[15m]) > 0",
        for_s=0,
        severity="critical",
        summary="answered rows are missing from the log at {{ $labels.instance }}",
        description="They could not be written. Free disk space, then: mlspine status",
        labels={"instance": "a", "process": "inference-0"},
        fires={series: "0x5 10x20"},
        quiet={series: "7x20"},
        at_s=600,
        value="",
    )


def _open() -> Rule:
    series = 'mlspine_alerts_open{endpoint="churn",severity="CRITICAL"}'
    return Rule(
        name="MlspineAlertOpen",
        expr="max by (endpoint) (mlspine_alerts_open{severity='CRITICAL'}) > 0",
        for_s=0,
        severity="critical",
        summary="{{ $labels.endpoint }}: a critical alert is open",
        description="Next: mlspine alerts {{ $labels.endpoint }}",
        labels={"endpoint": "churn"},
        fires={series: "0 1x9"},
        quiet={series: "0x10"},
        at_s=300,
        value="",
    )
