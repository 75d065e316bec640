"""A model on somebody else's server: its app, its log files, its bucket; by the terminal and HTTP only."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, free_port
from tests.journeys.waiting import until
from tests.s3 import KEYS, s3_bucket

MAKE = """
import sys, numpy as np, pandas as pd
rng = np.random.default_rng({seed})
n = {rows}
rows = pd.DataFrame({{
    "amount": rng.normal(100 + {shift}, 20, n), "age": rng.integers(18, 80, n),
    "country": rng.choice(["de", "fr", "us"], n),
}})
rows["ts"] = pd.date_range("{start}", periods=n, freq="{seconds}s")
rows["score"] = 1 / (1 + np.exp(-(0.05 * (rows.amount - 100) + 0.03 * (rows.age - 50))))
rows["prediction"] = (rows.score > 0.5).astype(int)
rows["label"] = (rng.random(n) < rows.score).astype(int)
{then}
"""

APP = """
import math
from fastapi import FastAPI
from pydantic import BaseModel
from mlspine.middleware import Monitor

app = FastAPI()
app.add_middleware(Monitor, endpoint="fraud", path="/predict")

class Row(BaseModel):
    amount: float
    age: int
    country: str
    ts: str

@app.post("/predict")
def predict(rows: list[Row]) -> list[dict]:
    scores = [1 / (1 + math.exp(-(0.05 * (row.amount - 100) + 0.03 * (row.age - 50)))) for row in rows]
    return [{"prediction": int(score > 0.5), "score": score} for score in scores]
"""


def make(
    desk: Desk, then: str, *, rows: int, seed: int = 0, shift: float = 0.0, start: str = "2026-09-01", seconds: int = 60
) -> None:
    desk.python(MAKE.format(seed=seed, rows=rows, shift=shift, start=start, seconds=seconds, then=then))


def reference(desk: Desk) -> None:
    make(desk, 'rows.to_parquet("train.parquet")', rows=6000)


def watched(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = desk.mlspine("watch", "--json").json[0]
    return found


def logged(desk: Desk) -> int:
    answer = desk.mlspine("log", "fraud", "select count(*) from log", "--json").json
    return int(answer["rows"][0][0])


@contextlib.contextmanager
def served(desk: Desk) -> Iterator[str]:
    """Somebody else's server: a FastAPI app under uvicorn."""
    (desk.folder / "app.py").write_text(APP)
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(words, cwd=desk.folder, env=desk.env)
    url = f"http://127.0.0.1:{port}/predict"
    try:
        until(lambda: _answers(url), "the app answers")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        return _post(url, []) == []
    except OSError:
        return False


def _post(url: str, body: object, **headers: str) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


@pytest.mark.long
@pytest.mark.slow
def test_an_app_with_the_middleware_is_monitored_and_a_shift_is_an_alert(desk: Desk) -> None:
    reference(desk)
    told = desk.mlspine("watch", "fraud", "--reference", "train.parquet", "--owner", "ada").out
    assert "somebody else's server answers" in told
    assert "Nothing reads or judges by itself yet" in told
    make(desk, 'rows.to_json("usual.json", orient="records", date_format="iso")', rows=2400, seed=1, start="2026-10-20")
    make(
        desk,
        'rows.to_json("shifted.json", orient="records", date_format="iso")',
        rows=2400,
        seed=2,
        shift=12,
        start="2026-10-23",
    )
    with served(desk) as url:
        # Nothing of mlspine runs: the rows wait in the spool.
        _send(url, desk.folder / "usual.json")
    desk.mlspine("up")
    until(lambda: logged(desk) == 2400, "every answered row is in the log")
    desk.mlspine("check", "fraud")
    assert desk.mlspine("alerts", "fraud", "--json").json == []
    with served(desk) as url:
        _send(url, desk.folder / "shifted.json")
    until(lambda: logged(desk) == 4800, "every answered row is in the log")
    desk.mlspine("check", "fraud")
    alerts = desk.mlspine("alerts", "fraud", "--json").json
    assert [each["severity"] for each in alerts if each["cause"].startswith("drift:amount")] == ["WARNING"]
    status = desk.mlspine("status", "fraud").out
    assert "alert" in status.splitlines()[0]
    assert "P99" not in status
    for words in (("serve", "fraud"), ("promote", "fraud", "1"), ("rollback", "fraud")):
        refused = desk.mlspine(*words, check=False)
        assert refused.code
        assert "somebody else's server" in refused.err


def _send(url: str, file: Path) -> None:
    rows = json.loads(file.read_text())
    for start in range(0, len(rows), 20):
        _post(url, rows[start : start + 20])


@pytest.mark.long
@pytest.mark.slow
def test_a_bucket_is_read_again_and_again_and_late_labels_give_quality(desk: Desk) -> None:
    with s3_bucket() as (url, endpoint):
        desk.env |= {**KEYS, "AWS_ENDPOINT_URL": endpoint, "MLSPINE_FEEDS__LABELS_EVERY_S": "0.5"}
        bucket = url.split("/")[2]
        reference(desk)
        make(
            desk,
            'rows.assign(id=[f"a{i}" for i in range(len(rows))]).drop(columns="label").to_parquet("1.parquet")',
            rows=1500,
            seed=1,
            start="2026-11-01",
        )
        _upload(endpoint, bucket, "fraud/day=1/1.parquet", desk.folder / "1.parquet")
        desk.mlspine("up")
        log = f"s3://{bucket}/fraud/day=*/*.parquet"
        words = ("--reference", "train.parquet", "--predictions", log, "--every", "1m", "--labels", "truth/*.csv")
        told = desk.mlspine("watch", "fraud", *words).out
        assert "1,500 new rows read from 1 new or changed files" in told
        make(
            desk,
            'rows = rows.assign(id=[f"b{i}" for i in range(len(rows))])\n'
            'rows.drop(columns="label").to_parquet("2.parquet")\n'
            'import os; os.makedirs("truth")\n'
            'rows[["id", "label"]].to_csv("truth/1.csv", index=False)',
            rows=1200,
            seed=2,
            start="2026-11-03",
        )
        _upload(endpoint, bucket, "fraud/day=2/2.parquet", desk.folder / "2.parquet")
        _upload(endpoint, bucket, "fraud/day=2/notes.txt", desk.folder / "truth" / "1.csv")
        deadline = time.monotonic() + 120
        while watched(desk)["source"]["rows"] < 2700:
            assert time.monotonic() < deadline, "the new object is read within its minute"
            time.sleep(1.0)
        assert logged(desk) == 2700
        until(lambda: "1,200 labelled rows" in desk.mlspine("status", "fraud").out, "labels are pulled")
        quality = desk.mlspine("quality", "fraud", "--json").json
        assert "auc" in json.dumps(quality)


def _upload(endpoint: str, bucket: str, key: str, file: Path) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"{endpoint}/{bucket}/{key}", data=file.read_bytes(), method="PUT", headers=kind)
    urllib.request.urlopen(request, timeout=30).close()


@pytest.mark.long
@pytest.mark.slow
def test_captured_lines_of_sagemaker_are_read_as_they_lie_there(desk: Desk) -> None:
    reference(desk)
    lines = []
    for at in range(600):
        row = f"{90 + at % 20},{20 + at % 50},{'de' if at % 2 else 'fr'}"
        data = base64.b64encode(row.encode()).decode() if at % 3 == 0 else row
        lines.append(
            {
                "captureData": {
                    "endpointInput": {
                        "observedContentType": "text/csv",
                        "mode": "INPUT",
                        "data": data,
                        "encoding": "BASE64" if at % 3 == 0 else "CSV",
                    },
                    "endpointOutput": {
                        "observedContentType": "text/csv",
                        "mode": "OUTPUT",
                        "data": f"{at / 600:.4f}",
                        "encoding": "CSV",
                    },
                },
                "eventMetadata": {
                    "eventId": f"e-{at}",
                    "inferenceTime": f"2026-11-01T{at // 60:02}:{at % 60:02}:00Z",
                },
                "eventVersion": "0",
            }
        )
    folder = desk.folder / "capture" / "AllTraffic" / "2026" / "11" / "01"
    folder.mkdir(parents=True)
    (folder / "00-00.jsonl").write_text("\n".join(map(json.dumps, lines[:400])) + "\n{broken\n")
    words = ("watch", "fraud", "--reference", "train.parquet", "--predictions", "capture/**/*.jsonl")
    told = desk.mlspine(*words, "--json").json["reading"]
    assert (told["rows"], told["refused"]) == (400, 1)
    (folder / "00-01.jsonl").write_text("\n".join(map(json.dumps, lines[350:])) + "\n")
    again = desk.mlspine("watch", "fraud", "--once", "--json").json["reading"]
    assert (again["rows"], again["duplicates"]) == (200, 50)
    said = "select min(_event_time), avg(amount), count(distinct _id), sum(_prediction) from log"
    first = desk.mlspine("log", "fraud", said, "--json").json["rows"][0]
    assert first[0].startswith("2026-11-01")
    assert (first[2], first[3]) == (600, 300)


@pytest.mark.long
@pytest.mark.slow
def test_killed_in_the_middle_of_reading_nothing_is_doubled_or_lost(desk: Desk) -> None:
    reference(desk)
    rows = 150_000
    make(desk, 'rows.to_csv("log.csv", index=False)', rows=rows, seed=3, start="2026-10-01", seconds=5)
    desk.mlspine("watch", "fraud", "--reference", "train.parquet")
    for attempt in range(3):
        reader = subprocess.Popen(
            [sys.executable, "-m", "mlspine", "watch", "fraud", *_log_of(attempt)],
            cwd=desk.folder,
            env=desk.env,
            stdout=subprocess.DEVNULL,
        )
        until(partial(_has_more, desk, attempt * 20_000, reader), "some of it is in the log")
        with contextlib.suppress(ProcessLookupError):
            os.kill(reader.pid, signal.SIGKILL)
        reader.wait(30)
    killed_at = logged(desk)
    assert 0 < killed_at < rows
    desk.mlspine("watch", "fraud", "--once")
    assert logged(desk) == rows
    distinct = "select count(distinct (_id, _row)), sum(age) from log"
    told = desk.mlspine("log", "fraud", distinct, "--json").json["rows"][0]
    make(desk, 'print(int(rows.age.sum()), file=open("sum.txt", "w"))', rows=rows, seed=3, seconds=5)
    assert told == [rows, int((desk.folder / "sum.txt").read_text())]
    assert desk.mlspine("watch", "fraud", "--once", "--json").json["reading"]["files"] == 0


def _log_of(attempt: int) -> tuple[str, ...]:
    return ("--once",) if attempt else ("--predictions", "log.csv")


def _has_more(desk: Desk, rows: int, reader: subprocess.Popen[bytes]) -> bool:
    return reader.poll() is not None or logged(desk) > rows


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("fraud", "--reference", "nowhere.parquet"), "no file"),
    (("fraud", "--reference", "train.parquet", "--score", "scor"), "did you mean score"),
    (("fraud", "--reference", "train.parquet", "--ignore", "contry"), "did you mean country"),
    (("Fr aud", "--reference", "train.parquet"), "cannot be used"),
    (("fraud", "--reference", "notes.txt"), "no file ending that is read"),
    (("nobody", "--once"), "no endpoint"),
    (("fraud", "--every", "1h"), "add --predictions"),
    (("fraud", "--task", "binary"), "add --reference"),
    (("--once",), "name what is watched"),
    (("fraud", "--reference", "train.parquet", "--importance", "notes.txt"), "no table of weights"),
    (("fraud", "--reference", "train.parquet", "--predictions", "ftp://x/y.csv"), "no source this version reads"),
    (("fraud", "--reference", "train.parquet", "--predictions", "none/*.parquet"), "no file"),
    (("fraud", "--predictions", "train.parquet", "--every", "5s"), "a minute or more"),
    (("fraud", "--predictions", "broken.parquet"), "cannot be read"),
]


@pytest.mark.long
@pytest.mark.slow
def test_what_is_typed_wrongly_is_told_with_the_way_out(desk: Desk) -> None:
    reference(desk)
    (desk.folder / "notes.txt").write_text("not a table")
    (desk.folder / "broken.parquet").write_text("PAR1 but not really")
    for words, says in WRONG:
        answer = desk.mlspine("watch", *words, check=False)
        told = answer.err + answer.out
        assert "Traceback" not in told, words
        assert says in told, (words, told)
        assert answer.code or says == "cannot be read", words
