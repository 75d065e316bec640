import shutil
import subprocess

import numpy as np
import pytest

from mlspine.serving.meter import RECENT, Meter, ReleaseInfo, render
from tests.needs import need


def metrics_of(meter: Meter, name: str = "churn") -> str:
    return render(
        {name: meter},
        [ReleaseInfo(name, 3, "abc", "loop", "live")],
        dropped_rows=2,
        unwritten_rows=1,
        started_at_ms=1_700_000_000_000,
        rss=12345,
        cpu_s=1.5,
    )


def busy_meter() -> Meter:
    meter = Meter()
    for code, seconds in [(200, 0.0004), (200, 0.003), (422, 0.002), (503, 20.0)]:
        meter.answered(code, seconds)
    meter.called(3)
    meter.called(2000)
    return meter


def test_buckets_are_cumulative_and_end_at_the_count() -> None:
    lines = metrics_of(busy_meter()).splitlines()
    buckets = [
        int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("mlspine_request_duration_seconds_bucket")
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 4
    assert 'mlspine_request_duration_seconds_bucket{endpoint="churn",le="0.0005"} 1' in lines
    assert 'mlspine_model_call_rows_bucket{endpoint="churn",le="1024"} 1' in lines
    assert 'mlspine_requests_total{endpoint="churn",code="422"} 1' in lines
    assert "mlspine_log_dropped_rows_total 2" in lines


def test_failures_leave_out_bad_input_and_silence_on_purpose() -> None:
    meter = busy_meter()
    assert meter.state() | {"requests": 4, "failures": 1, "refused": 1, "rows": 2003} == meter.state()
    meter.unanswerable += 1
    assert meter.state()["failures"] == 0


def test_quantiles_are_those_of_the_recent_requests() -> None:
    meter = Meter()
    seconds = np.random.default_rng(0).exponential(0.01, size=RECENT + 500)
    for each in seconds:
        meter.answered(200, float(each))
    expected = np.quantile(seconds[-RECENT:], [0.5, 0.95, 0.99])
    assert meter.quantiles_s() == pytest.approx(tuple(expected))
    assert Meter().quantiles_s() == (0.0, 0.0, 0.0)


def test_refusals_are_counted_once_a_request_for_each_column_at_fault() -> None:
    meter = Meter()
    meter.refused(
        ["rows[0].temp: expected a number", "rows[17].temp: missing", "rows[2].a.b: missing"], ("temp", "a.b")
    )
    meter.refused(["columns.temp[3]: expected a number", "columns.other: missing", "body: too long"], ("temp", "a.b"))
    meter.refused(["temp: missing (you sent 'tmp')"], ("temp", "a.b"))
    assert meter.state()["refused_fields"] == {"temp": 3, "a.b": 1}


def test_promtool_finds_nothing_to_say() -> None:
    need("promtool", shutil.which("promtool"), "not installed (Debian package prometheus)")
    text = metrics_of(busy_meter(), name='odd"name\\')
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
