"""What a million late labels cost, against a log of many predictions written by the ordinary writer.

Predictions go through the spool and `ingest`, as an inference process and control do it: single-row requests with an
id each, in order of time over a hundred days, two inputs, a score. Then labels come: `late` are of the days just
past, `spread` of any day; corrections and repeats are among them. Each step is a process of its own, so that its peak
memory is its own.

    python -m benchmarks.monitoring.labels --predictions 1000000 [--labels 1000000] [--folder DIR] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.ids import uuid7
from mlspine.core.types import Columns
from mlspine.governance.service import Governance
from mlspine.predictions import store
from mlspine.predictions.service import Predictions
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.stats.baseline import outputs_reference
from mlspine.stats.profile import Reference, build_reference

DAY_MS = 86_400_000
START_MS = 19_000 * DAY_MS
DAYS = 100
FRAME_ROWS = 50_000
ENDPOINT, RELEASE = "shop", "a" * 64
LATE_DAYS = 3
REPEATED, CORRECTED = 0.05, 0.03


class References(NamedTuple):
    inputs: Reference
    outputs: Reference | None


def opened(folder: Path) -> tuple[Predictions, SqliteDatabase]:
    """The log of a workspace in `folder`, as control opens it."""
    rng = np.random.default_rng(0)
    score = rng.random(5_000)
    references = References(
        build_reference(_inputs(rng, score), {"amount": "numeric", "age": "numeric"}),
        outputs_reference({"score": score, "prediction": (score > 0.5).astype(np.int64)}),
    )
    db = SqliteDatabase(folder / "store.db")
    db.migrate(migrations.scripts())
    now_ms = START_MS + (DAYS + 1) * DAY_MS
    predictions = Predictions(
        db=db,
        blobs=FileBlobStore(folder / "blobs"),
        references_of=lambda _: references,
        governance=Governance(db=db, clock=lambda: now_ms),
        spool_dir=folder / "spool",
        clock=lambda: now_ms,
    )
    return predictions, db


def write(folder: Path, rows: int) -> dict[str, Any]:
    """Predictions in order of time, through spool and ingest."""
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    predictions, db = opened(folder)
    writer = SpoolWriter(folder / "spool", "inference-0")
    rng = np.random.default_rng(1)
    for first in range(0, rows, FRAME_ROWS):
        n = min(FRAME_ROWS, rows - first)
        writer.append([_batch(rng, START_MS + np.arange(first, first + n) * DAYS * DAY_MS // rows)])
        predictions.ingest()
    writer.close()
    held = store.segments(db)
    return {"rows": rows, "files": len(held), "bytes": sum(each.size_bytes for each in held)}


def make_labels(folder: Path, rows: int, labels: int, name: str) -> None:
    """A Parquet file of labels by id: of the last days or of any day, some repeated, some corrected."""
    _, db = opened(folder)
    held = store.segments(db, kind="outcomes")
    since = max(each.last_event_at_ms for each in held) - LATE_DAYS * DAY_MS if name == "late" else 0
    held = [each for each in held if each.last_event_at_ms >= since]
    paths = [FileBlobStore(folder / "blobs").locate(each.key) for each in held]
    fresh = int(labels * (1 - REPEATED - CORRECTED))
    share = min(1.0, 1.02 * fresh / sum(each.rows for each in held))
    seed = 1 if name == "late" else 2
    connection = duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(folder / "spill")})
    connection.execute(
        f"""create table l as select _id || ':' || _row as id,
        cast(_score > (hash(_id, {seed}) % 1000) / 1000.0 as int) as label,
        epoch_ms(_event_time) + cast(exp((hash(_id, 3) % 1000) / 150.0) * 3600000 as bigint) as label_time
        from read_parquet({paths!r}) where hash(_id, {seed + 10}) % 1000000 < {int(share * 1_000_000)} limit {fresh}"""
    )
    many = connection.execute("select count(*) from l").fetchone()
    again, wrong = (int(part * (many[0] if many else 0)) for part in (REPEATED, CORRECTED))
    connection.execute(
        f"""copy (select * from l union all (select * from l limit {again})
        union all (select id, 1 - label, label_time + 1000 from l limit {wrong} offset {again}))
        to '{folder / name}.parquet' (format parquet)"""
    )


def add(folder: Path, name: str) -> dict[str, Any]:
    """Add the labels; which files were read, and what came of it."""
    from mlspine.core.types import Actor
    from mlspine.predictions import segment

    predictions, db = opened(folder)
    read: set[str] = set()
    scan = segment.scan

    def noted(paths: Any, kind: Any) -> str:
        read.update(paths if kind == "outcomes" else ())
        return scan(paths, kind)

    held = len(store.segments(db, kind="outcomes"))
    segment.scan = noted
    try:
        receipt = predictions.add_labels(ENDPOINT, path=str(folder / f"{name}.parquet"), actor=Actor(name="bench"))
    finally:
        segment.scan = scan
    summary = predictions.summary(ENDPOINT)
    return {
        "read": receipt.read,
        "matched": receipt.matched,
        "parked": receipt.parked,
        "duplicates": receipt.duplicates,
        "labelled_rows": summary.labelled_rows,
        "files": held,
        "files_read": len(read),
    }


def _batch(rng: np.random.Generator, at_ms: np.ndarray[Any, Any]) -> Batch:
    n = len(at_ms)
    score = rng.random(n)
    times = at_ms.tolist()
    return Batch(
        endpoint=ENDPOINT,
        release_hash=RELEASE,
        version=1,
        revision=1,
        request_ids=[uuid7(at) for at in times],
        row_counts=[1] * n,
        received_at_ms=times,
        latency_s=[0.001] * n,
        inputs=encode_columns(_inputs(rng, score)),
        prediction=encode_column("prediction", (score > 0.5).astype(np.int64)),
        score=score.astype("<f8").tobytes(),
    )


def _inputs(rng: np.random.Generator, score: np.ndarray[Any, Any]) -> Columns:
    return {"amount": np.round(rng.gamma(2.0, 50.0, len(score))), "age": rng.integers(18, 80, len(score))}


# ---------------------------------------------------------------- one process per step


def _step(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.monitoring.labels", *arguments], check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _run_step(given: argparse.Namespace) -> None:
    began, cpu = time.monotonic(), time.process_time()
    found: dict[str, Any] = {}
    match given.step:
        case "write":
            found = write(given.folder, given.predictions)
        case "make":
            make_labels(given.folder, given.predictions, given.labels, given.name)
        case "add":
            found = add(given.folder, given.name)
    found |= {
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", default="")
    parser.add_argument("--name", default="late")
    given = parser.parse_args()
    if given.step:
        _run_step(given)
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="mlspine-labels-"))
    common = ["--folder", str(folder), "--predictions", str(given.predictions), "--labels", str(given.labels)]
    print(f"python -m benchmarks.monitoring.labels --predictions {given.predictions} --labels {given.labels}")
    print(
        f"CPython {platform.python_version()}, duckdb {duckdb.__version__}, {os.cpu_count()} cores, shared", flush=True
    )
    try:
        print("write ", _step([*common, "--step", "write"]), flush=True)
        for name in ("late", "spread"):
            _step([*common, "--step", "make", "--name", name])
            print(f"{name:<6}", _step([*common, "--step", "add", "--name", name]), flush=True)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
