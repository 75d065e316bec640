from __future__ import annotations

import shutil
import subprocess

from tests.needs import need
from tests.serving_harness import Inference
from tests.wire.conftest import ROW


def value(text: str, series: str) -> float:
    """The sample of a series, of the one process there is."""
    mine = 'process="inference-0"}'
    series = f"{series[:-1]},{mine} " if series.endswith("}") else f"{series}{{{mine} "
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series)), 0.0)


def test_requests_rows_and_refusals_are_counted(several: Inference) -> None:
    before = several.get("/metrics").body.decode()
    several.post("/endpoints/mixed/predict", [ROW, ROW, ROW])
    several.post("/v2/models/mixed/infer", {})
    after = several.get("/metrics").body.decode()

    def grown(series: str) -> float:
        return value(after, series) - value(before, series)

    assert grown('mlspine_requests_total{endpoint="mixed",code="200"}') == 1
    assert grown('mlspine_requests_total{endpoint="mixed",code="400"}') == 1
    assert grown('mlspine_rows_total{endpoint="mixed"}') == 3
    assert grown('mlspine_request_duration_seconds_count{endpoint="mixed"}') == 2
    assert grown('mlspine_model_call_rows_count{endpoint="mixed"}') == 1
    assert value(after, "process_resident_memory_bytes") > 10e6
    assert value(after, "process_start_time_seconds") > 1.7e9


def test_what_answers_is_a_label_and_request_ids_are_not(several: Inference) -> None:
    request_id = several.post("/endpoints/mixed/predict", [ROW]).json["id"]
    answer = several.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'mlspine_release_info{endpoint="mixed",version="3"' in answer.body
    assert b'path="cannot-answer"' in answer.body
    assert request_id.encode() not in answer.body


def test_unknown_paths_make_no_series(several: Inference) -> None:
    for i in range(5):
        several.post(f"/endpoints/guess-{i}/predict", [ROW])
    assert b"guess" not in several.get("/metrics").body


def test_promtool_accepts_the_metrics(several: Inference) -> None:
    need("promtool", shutil.which("promtool"), "not installed (Debian package prometheus)")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=several.get("/metrics").body, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
