"""Where rows come from: a path or glob, SQL, a Postgres table, or the caller; said once, read again and again."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import numpy as np

from mlspine.core.errors import Invalid, NotFound, closest
from mlspine.core.ids import uuid7
from mlspine.core.late import duckdb
from mlspine.core.types import Columns, Schema, Struct
from mlspine.data import postgres

Kind = Literal["path", "sql", "postgres", "caller"]

FORMS = 'a path or glob (.parquet, .csv, .jsonl), "select ...", postgresql://user@host/db?table=name, or "caller"'
MEMORY = "512MB"  # rows beyond it wait on disk
SHOWN_COLUMNS = 20
_READERS = {
    # Types are taken from all rows: a column whose first number with a fraction comes late is still one of numbers.
    "csv": "read_csv({path}, sample_size = -1, union_by_name = true{types})",
    "json": "read_json({path}, sample_size = -1, union_by_name = true)",
    "jsonl": "read_json({path}, format = 'newline_delimited', sample_size = -1, union_by_name = true)",
    "parquet": "read_parquet({path}, union_by_name = true)",
}
_ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
_ENDINGS |= {".ndjson": "jsonl", ".csv.gz": "csv", ".json.gz": "json", ".jsonl.gz": "jsonl", ".ndjson.gz": "jsonl"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_SQL = re.compile(r"\(?\s*(select|with|from|values)\b", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")
_GLOB = re.compile(r"[*?\[]")

Array = np.ndarray[Any, np.dtype[Any]]


class Source(Struct, frozen=True, kw_only=True):
    """One source as declared. text: never a secret; "env:NAME" names the variable that holds a Postgres URL."""

    kind: Kind
    text: str


def parse_source(text: str) -> Source:
    """What a declared text means. Raises Invalid with the forms there are, and for a password written down.

    >>> parse_source("fresh/*.parquet").kind, parse_source("select * from 'a.csv'").kind, parse_source("caller").kind
    ('path', 'sql', 'caller')
    """
    text = text.strip()
    if text == "caller":
        return Source(kind="caller", text=text)
    if _ENVIRONMENT.match(text):
        return Source(kind="postgres", text=text)
    if text.startswith(("postgres://", "postgresql://")):
        _check_url(text)
        return Source(kind="postgres", text=text)
    if _SQL.match(text):
        return Source(kind="sql", text=_one_select(text))
    if "://" in text:
        raise Invalid(f"{text.partition('://')[0]}:// is no source this version reads", hint=f"give {FORMS}")
    if not _reader(text):
        raise Invalid(f"{text!r} is no source: no SQL, and no file ending that is read", hint=f"give {FORMS}")
    return Source(kind="path", text=text)


def anchored(text: str, *, cwd: Path, root: Path) -> str:
    """A relative path or glob, written from `cwd`, as seen from `root`; any other text unchanged.

    >>> anchored("fresh/*.csv", cwd=Path("/home/me/churn/notebooks"), root=Path("/home/me/churn"))
    'notebooks/fresh/*.csv'
    """
    source = parse_source(text)
    if source.kind != "path" or Path(source.text).expanduser().is_absolute():
        return source.text
    return Path(os.path.relpath(cwd / source.text, root)).as_posix()


def read_source(source: Source, *, root: Path, texts: Collection[str] = ()) -> Columns:
    """Every row of a source, in the conventions of `Columns`; relative paths start from `root`.

    texts: columns that are text whatever they look like in a CSV file, where "7001" would pass for a number.
    Raises NotFound when no file is there, Invalid or Unavailable with the cause when it cannot be read, and
    Invalid for "caller": those rows come with requests.
    """
    with opened(source, root=root, texts=texts) as table:
        return table.chunk(0, table.rows)


def texts_of(schema: Schema) -> frozenset[str]:
    """Columns that are text to a model, whatever they look like in a file."""
    return frozenset(
        field.name
        for field in schema.fields
        if field.type == "text" or (field.type == "category" and all(isinstance(each, str) for each in field.levels))
    )


def file_marks(source: Source, *, root: Path) -> dict[str, str]:
    """The files of a path source, and what changes when one of them does: its size and time of change.

    {} for other sources, where only reading would tell. Raises NotFound when there is no file.
    """
    if source.kind != "path":
        return {}
    stats = ((path, path.stat()) for path in matching_files(source, root=root))
    return {str(path): f"{stat.st_size} {stat.st_mtime_ns}" for path, stat in stats}


def matching_files(source: Source, *, root: Path) -> list[Path]:
    """The files of a path source, in name order; NotFound when there is none."""
    place = _located(source.text, root)
    found = sorted(Path("/").glob(str(place.relative_to("/")))) if _GLOB.search(source.text) else [place]
    files = [path for path in found if path.is_file()]
    if files:
        return files
    folder = place.parent
    beside = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    near = closest(place.name, beside)
    raise NotFound(
        f"no file {source.text} (looked for {place})",
        hint=f"did you mean {near}?"
        if near
        else f"in {folder} there is: {', '.join(beside[:SHOWN_COLUMNS]) or 'nothing'}",
    )


class Opened:
    """The rows of a source as they were when it was opened, in their order; read piece by piece."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        described = connection.execute("describe taken").fetchall()
        self._selected = ", ".join(_selected(name, kind) for name, kind, *_ in described)
        self.names = tuple(str(name) for name, *_ in described)
        # Moments, given in UTC; other times are what a clock on the wall shows.
        self.zoned = frozenset(str(name) for name, kind, *_ in described if kind == _ZONED)
        counted = connection.execute("select count(*) from taken").fetchone()
        self.rows = int(counted[0]) if counted else 0

    def chunk(self, start: int, stop: int) -> Columns:
        """The rows from `start` up to, not including, `stop`."""
        where = f"where rowid >= {int(start)} and rowid < {int(stop)} order by rowid"
        result = self._connection.execute(f"select {self._selected} from taken {where}")
        return {name: _plain(values) for name, values in result.fetchnumpy().items()}


@contextlib.contextmanager
def opened(source: Source, *, root: Path, texts: Collection[str] = (), files: Sequence[Path] = ()) -> Iterator[Opened]:
    """A source, read once from end to end into a bounded store of its own; what cannot be read raises here.

    texts: as in `read_source`. files: of a path source, only these of its files.
    """
    if source.kind == "caller":
        raise Invalid(
            "these rows come with requests; there is nothing to read them from",
            hint="declare where they lie: mlspine feeds NAME --source TEXT",
        )
    with _connect(root) as connection:
        _fill(connection, source, root, texts, files)
        yield Opened(connection)


# ---------------------------------------------------------------- inside


def _fill(
    connection: duckdb.DuckDBPyConnection, source: Source, root: Path, texts: Collection[str], files: Sequence[Path]
) -> None:
    if source.kind == "postgres":
        postgres.copy_into(connection, "taken", source.text)
    elif source.kind == "sql":
        _take(connection, f"({source.text})", "the SQL of the source", root)
    else:
        paths = ", ".join(_literal(str(path)) for path in files or matching_files(source, root=root))
        kind = _reader(source.text)
        types = _text_types(connection, f"[{paths}]", texts) if kind == "csv" else ""
        _take(connection, _READERS[kind].format(path=f"[{paths}]", types=types), source.text, root)


def _text_types(connection: duckdb.DuckDBPyConnection, paths: str, texts: Collection[str]) -> str:
    """Those of the columns a CSV file has, as an argument of `read_csv`; "" for none."""
    if not texts:
        return ""
    with contextlib.suppress(duckdb.Error):  # told by whoever reads the rows
        described = connection.execute(
            f"describe select * from read_csv({paths}, all_varchar = true, union_by_name = true)"
        ).fetchall()
        told = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name, *_ in described if name in texts)
        return f", types = {{{told}}}" if told else ""  # DuckDB before 1.4 takes no empty one
    return ""


def _take(connection: duckdb.DuckDBPyConnection, relation: str, what: str, root: Path) -> None:
    try:
        connection.execute(f"create table taken as select * from {relation}")
    except duckdb.Error as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        raise Invalid(
            f"{what} cannot be read: {lines[0][:300]}",
            details=[line[:200] for line in lines[1:5] if not set(line) <= set("^ ")],
            hint=f"relative paths start from {root}; mend the source, or declare another: mlspine feeds NAME --source",
        ) from exc


@contextlib.contextmanager
def _connect(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that reads what this machine has; nothing is fetched from the net behind anybody's back."""
    spill = Path(tempfile.gettempdir()) / f"mlspine-source-{uuid7()}"
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(spill),
        "autoinstall_known_extensions": "false",
        "pandas_analyze_sample": "0",  # objects are text: guessing fails on columns that begin with many nulls
    }
    with duckdb.connect(config=config) as connection:
        connection.execute("set TimeZone = 'UTC'")
        if "," not in str(root):  # it is a list of folders to DuckDB, which knows no way to write a comma
            connection.execute("set file_search_path = ?", [str(root)])
        yield connection


def _one_select(text: str) -> str:
    text = text.rstrip().rstrip(";")
    try:
        with duckdb.connect() as connection:
            statements = connection.extract_statements(text)
    except duckdb.Error as exc:
        raise Invalid(f"this source is no SQL: {str(exc).splitlines()[0]}", hint=f"give {FORMS}") from exc
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(f"a source is one SELECT; this is {len(statements)} statements", hint=f"give {FORMS}")
    return text


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
    except ValueError as exc:
        raise Invalid(f"this Postgres URL is none: {exc}", hint=f"give {FORMS}") from exc
    if parts.password is not None or "password" in parse_qs(parts.query, keep_blank_values=True):
        who = f"{parts.username or 'the user'}@{parts.hostname or ''}"
        raise Invalid(
            f"the source names a password for {who}, and would be stored",
            hint="leave it out and set PGPASSWORD or ~/.pgpass, or put the whole URL into a variable: env:NAME",
        )
    postgres.select_of(text)


def _reader(text: str) -> str:
    return next((_ENDINGS[end] for end in sorted(_ENDINGS, key=len)[::-1] if text.lower().endswith(end)), "")


def _located(text: str, root: Path) -> Path:
    """An absolute path without "..": globs are matched from the top."""
    return Path(os.path.abspath(root / Path(text).expanduser()))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _selected(name: str, kind: str) -> str:
    """A column in one of the few types that travel."""
    column = '"' + name.replace('"', '""') + '"'
    if kind == _ZONED:
        return f"make_timestamp(epoch_us({column})) as {column}"
    return f"cast({column} as {_travelling(kind)}) as {column}"


def _travelling(kind: str) -> str:
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return "bigint"
    if kind in ("FLOAT", "DOUBLE", "HUGEINT", "UBIGINT", "UHUGEINT"):
        return "double"
    if kind.startswith("DECIMAL") and "[" not in kind:
        return "double"
    if kind == "BOOLEAN":
        return "boolean"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return "timestamp"
    if kind.endswith("]") and kind.count("[") == 1 and kind.split("[")[0].split("(")[0] in _NUMBERS:
        return "double[]"
    return "varchar"


_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL"}


def _plain(values: Any) -> Array:
    """DuckDB's masked array in the conventions of `Columns`: NaN, NaT or None for null, vectors as a matrix."""
    missing = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    plain = np.asarray(values.data if missing is not None else values)
    if missing is not None and missing.any():
        if plain.dtype.kind == "M":
            return np.where(missing, np.datetime64("NaT"), plain)
        if plain.dtype.kind in "iuf":
            return np.where(missing, np.nan, plain.astype(np.float64))
        plain = plain.astype(object)
        plain[missing] = None
    if plain.dtype == object and len(plain) and all(isinstance(each, np.ndarray) for each in plain):
        return np.stack(plain.tolist()) if len({len(each) for each in plain}) == 1 else plain
    return plain
