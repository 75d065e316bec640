"""Everything out in open formats: Parquet, JSON lines, MLflow model directories, markdown. Reads a copy of it all.

tables/NAME.parquet           the store, one file per table
log/ENDPOINT/*.parquet        every answered request; outcomes/ and labels/ alike
models/NAME/VERSION/          releases as MLflow model directories
ledger/                       the ledger as JSON lines, and a script that verifies it
cards/  runbooks/             pages for people
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.late import duckdb
from mlspine.core.types import Struct
from mlspine.ports import Database, Row

README = "README.txt"
SQL_TYPES = {"bigint": "bigint", "text": "varchar", "double precision": "double", "bytea": "blob"}
_TABLE = re.compile(
    r"create table (?P<made>\w+) \((?P<body>.*?)\n\)(?: without rowid)?;|drop table (?P<gone>\w+);"
    r"|alter table (?P<old>\w+) rename to (?P<new>\w+);|alter table (?P<wider>\w+) add column (?P<column>[^;]*);",
    re.DOTALL,
)
_COLUMN = re.compile(r'^\s+"?(\w+)"? (bigint|text|double precision|bytea)\b', re.MULTILINE)

# What each table holds, for a reader who has never seen mlspine. A table without a line here is told by its columns.
MEANINGS = {
    "ledger": "who changed what, when and why, in a chain of hashes (the same as ledger/ledger.jsonl)",
    "ledger_head": "number and hash of the newest ledger line",
    "evidence": "what was exercised or measured: gates, drills, feed checks, project cards (document: JSON)",
    "dataset_version": "the rows models were fitted on, by the digest of their content",
    "model": "models: name, description, and the highest version number ever given",
    "model_tag": "tags of models",
    "model_version_tag": "tags of versions of models",
    "approval": "what a second person gave their word for, and which change used it",
    "model_version": "versions of models with stage, owner, metric and what was captured at ship (JSON)",
    "model_alias": "names that point at versions",
    "endpoint": "what is served under which name",
    "revision": "every change of what an endpoint answers with, in order",
    "proof": "what was checked before a release took traffic (JSON)",
    "switch_time": "how long each change of traffic took to become effective",
    "segment": "the Parquet files of log, outcomes and labels, with their rows and time spans",
    "sub_window": "profiles of requests by hour (binary: mlspine's own sketches; the rows themselves are in log/)",
    "logged": "rows ever recorded, and how many of them expired or were forgotten",
    "drift_report": "judged windows of requests (JSON)",
    "performance_report": "quality measured on labels, as known at a time (JSON)",
    "alert": "alerts with when they opened, cleared and were delivered (JSON)",
    "feed": "where fresh rows and labels come from",
    "feed_memory": "what was read of a feed last, so that an unchanged one costs nothing (JSON)",
    "feed_arrival": "when something new was there at a feed",
    "schedule": "batches that are scored at fixed times",
    "silence": "times in which alerts were recorded and not sent",
    "machine": "machines that used this store",
    "outage": "times in which a machine was away",
    "forgotten": "subjects that were removed on request, by digest",
    "learned_reference": "score baselines taken from the first requests (binary: mlspine's own sketches)",
    "judged_hour": "hours of requests that were judged",
    "native_crash": "releases that took the serving process down with them",
    "spool_position": "how far recorded requests had been turned into log files",
}


class Part(Struct, frozen=True, kw_only=True):
    """One folder or file that was taken out."""

    path: str
    rows: int
    holds: str


def columns_of(scripts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Table -> column -> SQL type, as the migrations create them.

    >>> columns_of({"1": "create table t (\\n    a bigint primary key,\\n    b bytea not null\\n);"})
    {'t': {'a': 'bigint', 'b': 'blob'}}
    """
    found: dict[str, dict[str, str]] = {}
    for step in (step for script in scripts.values() for step in _TABLE.finditer(script)):
        if step["made"]:
            found[step["made"]] = _columns(step["body"])
        elif step["gone"]:
            del found[step["gone"]]
        elif step["new"]:
            found[step["new"]] = found.pop(step["old"])
        else:
            found[step["wider"]] |= _columns(f" {step['column']}")
    return found


def _columns(body: str) -> dict[str, str]:
    return {column: SQL_TYPES[kind] for column, kind in _COLUMN.findall("\n" + body)}


def take_out(
    target: Path,
    *,
    copy: Path,
    db: Database,
    scripts: Mapping[str, str],
    left_out: Sequence[str],
    pages: Mapping[str, str],
    ledger: str,
    tell: Callable[[str], None],
) -> list[Part]:
    """Write everything into `target` from a copy of the workspace, whose files are moved there.

    pages: path below `target` -> text. tell: hears of each part as it is begun.
    """
    tell("tables")
    parts = _tables(db, target / "tables", {n: c for n, c in columns_of(scripts).items() if n not in left_out})
    tell("log, outcomes and labels")
    parts += _segments(db, copy / "blobs", target)
    tell("models")
    parts += _models(db, copy / "releases", target / "models")
    tell("ledger, cards and runbooks")
    parts += _ledger(target / "ledger", ledger)
    for path, text in pages.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
        parts.append(Part(path=path, rows=0, holds="a page for people"))
    return parts


def readme(parts: Sequence[Part], *, workspace: str, when: str, version: str, left_out: Sequence[str]) -> str:
    """README.txt: every file, what it holds, and how to read it without mlspine."""
    width = max(len(part.path) for part in parts)
    listed = "\n".join(
        f"  {part.path:<{width}}  {f'{part.rows:,} rows' if part.rows else '':>14}  {part.holds}" for part in parts
    )
    return f"""\
Everything in the mlspine workspace {workspace}, taken out {when} UTC by mlspine {version}.
Nothing here needs mlspine to be read.

{listed}

Parquet      any tool; for instance DuckDB:
               select * from read_parquet('log/NAME/*.parquet', union_by_name = true)
             Times ending in _at_ms are milliseconds since 1970-01-01 UTC; columns called document, captured, metric,
             facts, scope or log hold JSON. Columns beginning with _ are mlspine's, the others are the model's inputs.
             Labels belong to log and outcomes by _id and _row, or by _key.
Models       MLflow model directories: mlflow.pyfunc.load_model('models/NAME/VERSION').predict(frame)
             Loading a model runs its code: only load models whose origin you trust.
Ledger       python ledger/verify_ledger.py ledger/ledger.jsonl

Left out: {", ".join(left_out)}: secrets of access, and what only running machines need.
"""


# ---------------------------------------------------------------- parts


def _tables(db: Database, folder: Path, columns: Mapping[str, Mapping[str, str]]) -> list[Part]:
    folder.mkdir(parents=True)
    parts = []
    # Objects are text, as they are handed over: guessing from a sample fails where it is all null.
    with duckdb.connect(config={"pandas_analyze_sample": "0"}) as connection:
        for name, kinds in columns.items():
            rows = db.read(f"select * from {name}")
            _write(connection, folder / f"{name}.parquet", rows, kinds)
            holds = MEANINGS.get(name, f"columns: {', '.join(kinds)}")
            parts.append(Part(path=f"tables/{name}.parquet", rows=len(rows), holds=holds))
    return parts


def _write(connection: duckdb.DuckDBPyConnection, path: Path, rows: Sequence[Row], kinds: Mapping[str, str]) -> None:
    incoming = {column: _array([row[column] for row in rows], kind) for column, kind in kinds.items()}
    connection.register("incoming", incoming)
    selected = ", ".join(
        f'{"unhex" if kind == "blob" else ""}("{column}")::{kind} as "{column}"' for column, kind in kinds.items()
    )
    quoted = str(path).replace("'", "''")
    connection.execute(f"copy (select {selected} from incoming) to '{quoted}' (format parquet, compression zstd)")
    connection.unregister("incoming")


def _array(values: list[Any], kind: str) -> np.ndarray[Any, np.dtype[Any]]:
    """A column as the query takes it: bytes travel as hexadecimal text, whole numbers may be null."""
    if kind == "blob":
        values = [value if value is None else value.hex() for value in values]
    if kind in ("blob", "varchar"):
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if kind == "bigint" and None not in values:
        return np.array(values, dtype=np.int64)
    return np.array(values, dtype=np.float64)


def _segments(db: Database, blobs: Path, target: Path) -> list[Part]:
    """The Parquet files of each endpoint, as they are."""
    rows: dict[tuple[str, str], int] = {}
    for segment in db.read("select * from segment order by kind, endpoint, key"):
        kind, endpoint = segment["kind"], segment["endpoint"]
        place = target / kind / endpoint
        place.mkdir(parents=True, exist_ok=True)
        (blobs / segment["key"]).rename(place / Path(segment["key"]).name)
        rows[kind, endpoint] = rows.get((kind, endpoint), 0) + segment["rows"]
    holds = {
        "log": "answered requests: inputs and answers",
        "outcomes": "answers without inputs, kept until labels come",
        "shadow": "what a shadow would have answered, never sent",
        "labels": "true outcomes",
    }
    return [Part(path=f"{kind}/{name}/", rows=count, holds=holds[kind]) for (kind, name), count in rows.items()]


def _models(db: Database, releases: Path, target: Path) -> list[Part]:
    parts = []
    for each in db.read("select model, version, release_hash, stage from model_version order by model, version"):
        place = target / each["model"] / str(each["version"])
        if not each["release_hash"]:
            continue  # its files are elsewhere; the table says where
        # Two names may stand for one release.
        shutil.copytree(releases / each["release_hash"], place, copy_function=shutil.copyfile)
        holds = f"MLflow model directory, release {each['release_hash'][:12]}, stage {each['stage']}"
        parts.append(Part(path=f"models/{each['model']}/{each['version']}/", rows=0, holds=holds))
    return parts


def _ledger(folder: Path, text: str) -> list[Part]:
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").write_text(text, encoding="utf-8")
    script = resources.files("mlspine.handover").joinpath("verify_ledger.py.txt").read_text(encoding="utf-8")
    (folder / "verify_ledger.py").write_text(script, encoding="utf-8")
    lines = text.count("\n")
    return [
        Part(path="ledger/ledger.jsonl", rows=lines, holds="the ledger, one JSON object per line, oldest first"),
        Part(path="ledger/verify_ledger.py", rows=0, holds="verifies it with the standard library alone"),
    ]


def settings_text(settings: Sequence[tuple[str, str, str]]) -> str:
    """The effective settings as JSON; secrets stand there by their reference only."""
    rows = [{"key": key, "value": value, "from": origin} for key, value, origin in settings]
    return json.dumps(rows, indent=2) + "\n"
