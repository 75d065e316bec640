"""Rows to be counted, wherever they are: a table in memory, Parquet by row group, CSV and JSON lines."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlspine.comparing.arrow import arrow_type, from_arrow, is_text
from mlspine.comparing.frames import read_frame
from mlspine.core.errors import Invalid
from mlspine.core.late import duckdb
from mlspine.core.types import Columns, FieldType
from mlspine.data.source import Opened, matching_files, opened, parse_source
from mlspine.stats.bins import Array, Coded, Table, Values

BATCH_ROWS = 131_072
READ_BYTES = 1 << 20
FORMS = "a .parquet, .csv or .jsonl file (or a glob of them), SQL, a profile, or a table in memory"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?Z?\Z")
_PARQUET = (".parquet", ".pq")
_DUCK_TYPES: dict[str, FieldType] = {"BOOLEAN": "bool", "VARCHAR": "text", "DATE": "datetime", "DOUBLE": "float"}


class Rows(Protocol):
    """Something that can be counted, more than once.

    types: of the columns that can be. blank: those of them without a single value, of which no type is known.
    skipped: why others cannot be counted.
    """

    source: str
    count: int
    types: dict[str, FieldType]
    blank: set[str]
    skipped: dict[str, str]

    def batches(self, names: Sequence[str]) -> Iterator[Table]: ...

    def pieces(self, names: Sequence[str]) -> Sequence[Callable[[], Iterator[Table]]]:
        """The same batches in parts that may be read at the same time; empty where there is only one reader."""


@contextlib.contextmanager
def open_rows(data: Any, *, texts: Collection[str] = ()) -> Iterator[Rows]:
    """The rows of a table, or of the files behind a path.

    texts: columns that are text whatever they look like in a CSV file.
    Raises NotFound when no file is there, Invalid with the cause when it cannot be read, and when there are no rows.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(data, str | Path):
            rows: Rows = stack.enter_context(_opened_files(str(data), texts))
        else:
            rows = _Frame(data)
        if not rows.types:
            raise Invalid(f"{rows.source} has no column that can be compared", details=_told(rows.skipped))
        if not rows.count:
            raise Invalid(f"{rows.source} has no rows", hint="nothing can be said of an empty table")
        yield rows


@contextlib.contextmanager
def _opened_files(text: str, texts: Collection[str]) -> Iterator[Rows]:
    source = parse_source(text)
    if source.kind == "path" and text.lower().endswith(_PARQUET):
        files = matching_files(source, root=Path.cwd())
        if importlib.util.find_spec("pyarrow"):
            yield _ArrowParquet(text, files)
        else:
            with duckdb.connect() as connection:
                yield _DuckParquet(text, files, connection)
        return
    with opened(source, root=Path.cwd(), texts=texts) as table:
        yield _Stored(text, table)


class _Frame:
    """A table in memory, as one batch."""

    def __init__(self, data: Any) -> None:
        self._columns, self.types, self.skipped = read_frame(data)
        self.source = f"the {type(data).__name__}"
        self.count = len(next(iter(self._columns.values()), ()))
        self.blank = {name for name, values in self._columns.items() if isinstance(values, Coded) and not values.levels}

    def batches(self, names: Sequence[str]) -> Iterator[Table]:
        yield {name: self._columns[name] for name in names}

    def pieces(self, names: Sequence[str]) -> Sequence[Callable[[], Iterator[Table]]]:
        return ()


class _ArrowParquet:
    """Parquet through pyarrow, an eighth of a million rows at a time; text is read as its dictionary."""

    def __init__(self, source: str, files: Sequence[Path]) -> None:
        from pyarrow import parquet

        self.source = source
        self._files = files
        with _readable(source):
            metadata = [parquet.read_metadata(path) for path in files]
            schema = parquet.read_schema(files[0])
        self._groups = [each.num_row_groups for each in metadata]
        self.count = sum(each.num_rows for each in metadata)
        found = {field.name: arrow_type(field.type) for field in schema}
        self.types = {name: kind for name, kind in found.items() if kind is not None}
        self.skipped = {field.name: f"holds {field.type}" for field in schema if found[field.name] is None}
        self._texts = [field.name for field in schema if is_text(field.type)]
        self.blank = {field.name for field in schema if str(field.type) == "null"}

    def batches(self, names: Sequence[str]) -> Iterator[Table]:
        for piece in self.pieces(names):
            yield from piece()

    def pieces(self, names: Sequence[str]) -> Sequence[Callable[[], Iterator[Table]]]:
        groups = (
            (path, group) for path, count in zip(self._files, self._groups, strict=True) for group in range(count)
        )
        return [functools.partial(self._of_group, path, group, names) for path, group in groups]

    def _of_group(self, path: Path, group: int, names: Sequence[str]) -> Iterator[Table]:
        from pyarrow import parquet

        texts = [name for name in names if name in self._texts]
        with (
            _readable(str(path)),
            # Read ahead, a reader takes in the whole file.
            parquet.ParquetFile(path, read_dictionary=texts, buffer_size=READ_BYTES, pre_buffer=False) as file,
        ):
            held = set(file.schema_arrow.names)
            if lacking := [name for name in names if name not in held]:
                raise Invalid(f"{path} lacks columns that {self._files[0]} has: {', '.join(lacking)}")
            # One thread each: where a column is counted by the core that has just decoded it, it is still in cache.
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(names), use_threads=False):
                yield {name: from_arrow(batch.column(name)) for name in names}


class _DuckParquet:
    """Parquet through DuckDB, by ranges of rows; it reads only the row groups that hold them."""

    def __init__(self, source: str, files: Sequence[Path], connection: duckdb.DuckDBPyConnection) -> None:
        self.source = source
        self._files = files
        self._connection = connection
        connection.execute("set TimeZone = 'UTC'")
        with _readable(source, duckdb.Error):
            described = connection.execute("describe select * from read_parquet(?)", [str(files[0])]).fetchall()
            self._rows = [self._rows_of(path) for path in files]
        self.count = sum(self._rows)
        found = {str(name): _duck_type(str(kind)) for name, kind, *_ in described}
        self.types = {name: kind for name, kind in found.items() if kind is not None}
        self.skipped = {str(name): f"holds {kind}" for name, kind, *_ in described if found[str(name)] is None}
        self.blank: set[str] = set()

    def _rows_of(self, path: Path) -> int:
        found = self._connection.execute("select sum(num_rows) from parquet_file_metadata(?)", [str(path)]).fetchone()
        return int(found[0]) if found else 0

    def batches(self, names: Sequence[str]) -> Iterator[Table]:
        selected = ", ".join(_selected(name, self.types[name]) for name in names)
        query = f"""select {selected} from read_parquet(?, file_row_number = true)
                    where file_row_number >= ? and file_row_number < ?"""
        for path, rows in zip(self._files, self._rows, strict=True):
            for start in range(0, rows, BATCH_ROWS):
                with _readable(str(path), duckdb.Error):
                    found = self._connection.execute(query, [str(path), start, start + BATCH_ROWS]).fetchnumpy()
                yield {name: _plain(found[name]) for name in names}

    def pieces(self, names: Sequence[str]) -> Sequence[Callable[[], Iterator[Table]]]:
        return ()  # DuckDB has threads of its own


class _Stored:
    """CSV, JSON lines and SQL, read once into a bounded store on disk."""

    def __init__(self, source: str, table: Opened) -> None:
        self.source = source
        self._table = table
        self.count = table.rows
        first = table.chunk(0, BATCH_ROWS)
        self.types = {name: _type_of(values) for name, values in first.items()}
        # JSON has no times; a column of nothing but times in text is one.
        self._spelt = [name for name, values in first.items() if _spells_times(values)]
        self.types |= dict.fromkeys(self._spelt, "datetime")
        self.skipped: dict[str, str] = {}
        self.blank = {name for name, values in first.items() if values.dtype == object and not values.any()}

    def batches(self, names: Sequence[str]) -> Iterator[Table]:
        for start in range(0, self.count, BATCH_ROWS):
            found: Columns = self._table.chunk(start, start + BATCH_ROWS)
            yield {name: _times(found[name]) if name in self._spelt else found[name] for name in names}

    def pieces(self, names: Sequence[str]) -> Sequence[Callable[[], Iterator[Table]]]:
        return ()


def ahead(batches: Iterator[Table]) -> Iterator[Table]:
    """The same batches, with the next one being read while this one is counted."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


@contextlib.contextmanager
def _readable(source: str, raised: type[Exception] = OSError) -> Iterator[None]:
    """What a reader says of a damaged file, without its traceback. raised: what it raises besides the usual."""
    try:
        yield
    except (OSError, ValueError, raised) as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        raise Invalid(
            f"{source} cannot be read: {lines[0][:300] if lines else type(exc).__name__}",
            hint="write it again; it may be cut short, or no Parquet at all",
        ) from exc


def _duck_type(kind: str) -> FieldType | None:
    if kind in _DUCK_TYPES:
        return _DUCK_TYPES[kind]
    if kind.startswith("TIMESTAMP"):
        return "datetime"
    if kind.startswith("ENUM"):
        return "category"
    if "[" in kind or "(" in kind.removeprefix("DECIMAL("):
        return None
    return (
        "float"
        if kind.startswith("DECIMAL") or kind == "FLOAT"
        else "int"
        if kind.endswith("INT") or kind == "INTEGER"
        else None
    )


def _selected(name: str, kind: FieldType) -> str:
    column = '"' + name.replace('"', '""') + '"'
    cast = {"datetime": "timestamp", "category": "varchar", "float": "double"}.get(kind)
    return f"cast({column} as {cast}) as {column}" if cast else column


def _plain(values: Any) -> Values:
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    missing, plain = np.ma.getmaskarray(values), values.data
    if plain.dtype.kind == "M":
        return np.where(missing, np.datetime64("NaT"), plain)
    if plain.dtype.kind in "iuf":
        return np.where(missing, np.nan, plain.astype(np.float64))
    plain = plain.astype(object)
    plain[missing] = None
    return plain


def _type_of(values: Array) -> FieldType:
    if values.ndim > 1:
        return "vector"
    if values.dtype == object and any(isinstance(value, bool) for value in values):
        return "bool"
    kinds: dict[str, FieldType] = {"b": "bool", "i": "int", "u": "int", "f": "float", "M": "datetime"}
    return kinds.get(values.dtype.kind, "text")


def _spells_times(values: Array) -> bool:
    texts = values[values != None] if values.dtype == object and values.ndim == 1 else values[:0]  # noqa: E711
    return bool(texts.size) and all(isinstance(text, str) and _TIME.match(text) for text in texts)


def _times(values: Array) -> Array:
    # What is no time after all is left for whoever reads the column, who says so.
    if not all(value is None or _TIME.match(value) for value in values):
        return values
    spelt = ["NaT" if value is None else value.removesuffix("Z") for value in values]
    return np.array(spelt, dtype="datetime64[us]")


def _told(skipped: dict[str, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in skipped.items()]
