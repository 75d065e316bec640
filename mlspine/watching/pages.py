"""A log, piece by piece: tables by DuckDB, JSON lines whose rows are nested one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from blake3 import blake3

from mlspine.core.errors import Invalid
from mlspine.core.ids import digest_bytes, digest_file
from mlspine.data.manifest import table_digest
from mlspine.data.source import Opened, Source, opened, texts_of
from mlspine.watching.answers import Given, given_rows
from mlspine.watching.names import Names, settle
from mlspine.watching.sagemaker import capture_rows, is_capture
from mlspine.watching.spec import Spec

CHUNK_ROWS = 25_000
_JSON_LINES = (".jsonl", ".ndjson")


class Pages(Protocol):
    """The rows of a log in their order. names: what its columns are taken for."""

    rows: int
    names: Names

    def given(self, start: int, stop: int, *, name: str, refused: dict[int, str]) -> Given:
        """Rows `start` up to, not including, `stop`; those that are no row are told by their number in the piece."""
        ...

    def prefix(self, rows: int) -> str:
        """A digest of the first rows, which stays what it is when others are added behind them."""
        ...


@contextlib.contextmanager
def pages_of(path: Path, spec: Spec, said: Names, *, root: Path) -> Iterator[Pages]:
    """The rows of one file."""
    if path.suffix.lower() in _JSON_LINES and _is_nested(path):
        yield LinePages(path, spec, said)
        return
    with opened(Source(kind="path", text=str(path)), root=root, texts=_texts(spec, said)) as table:
        yield TablePages(table, spec, said, what=path.name)


@contextlib.contextmanager
def query_pages(source: Source, spec: Spec, said: Names, *, root: Path) -> Iterator[Pages]:
    """The rows of a query."""
    with opened(source, root=root, texts=_texts(spec, said)) as table:
        yield TablePages(table, spec, said, what="the query")


class TablePages:
    """A table whose columns are features and what stands beside them."""

    def __init__(self, table: Opened, spec: Spec, said: Names, *, what: str) -> None:
        self._table = table
        self._spec = spec
        self._digests: list[str] = []  # of the whole pieces from the beginning
        self.rows = table.rows
        self.names = settle(table.names, _of_this(said, spec, table.names), features=spec.inputs.names, what=what)
        if not (self.names.prediction or (self.names.score and spec.task in ("binary", "regression"))):
            raise Invalid(
                f"{what} has no column that is the prediction",
                hint=f"name it: --prediction COL; its columns: {', '.join(table.names[:20])}",
            )
        if not set(spec.inputs.names) & set(table.names):
            raise Invalid(
                f"{what} has none of the features {', '.join(spec.inputs.names[:10])}",
                hint=f"its columns: {', '.join(table.names[:20])}",
            )

    def given(self, start: int, stop: int, *, name: str, refused: dict[int, str]) -> Given:
        columns = self._table.chunk(start, stop)
        names = self.names
        size = stop - start

        def side(column: str) -> Any:
            return columns[column] if column else None

        return Given(
            size=size,
            features={each: columns[each] for each in self._spec.inputs.names if each in columns},
            request_ids=[name] * size,
            row_numbers=range(start, stop),
            prediction=side(names.prediction),
            score=side(names.score),
            event_time=side(names.time),
            ids=side(names.id),
            keys=side(names.key),
            label=side(names.label),
        )

    def prefix(self, rows: int) -> str:
        whole, left = divmod(rows, CHUNK_ROWS)
        while len(self._digests) < whole:
            start = len(self._digests) * CHUNK_ROWS
            self._digests.append(table_digest(self._table.chunk(start, start + CHUNK_ROWS)))
        rest = [table_digest(self._table.chunk(whole * CHUNK_ROWS, rows))] if left else []
        return digest_bytes(" ".join([*self._digests[:whole], *rest]).encode())


class LinePages:
    """JSON lines of nested rows: {"features": {...}, "prediction": ...}, or SageMaker's data capture."""

    def __init__(self, path: Path, spec: Spec, said: Names) -> None:
        if said.given:
            raise Invalid(
                f"{path.name} holds nested rows, whose parts have names of their own",
                hint="leave out --prediction, --score and the like",
            )
        self._spec = spec
        self.names = Names()
        self._lines: list[tuple[dict[str, Any] | None, str]] = []
        for raw in path.read_bytes().splitlines():
            if raw.strip():
                self._lines += self._read(raw)
        self.rows = len(self._lines)

    def given(self, start: int, stop: int, *, name: str, refused: dict[int, str]) -> Given:
        part = self._lines[start:stop]
        given = given_rows([row or {} for row, _ in part], self._spec, request_id=name, refused=refused)
        refused |= {number: why for number, (row, why) in enumerate(part) if row is None}
        return given._replace(row_numbers=range(start, stop))

    def prefix(self, rows: int) -> str:
        return digest_bytes(msgspec.json.encode([row for row, _ in self._lines[:rows]]))

    def _read(self, raw: bytes) -> list[tuple[dict[str, Any] | None, str]]:
        try:
            line = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            return [(None, f"no JSON: {exc}")]
        if not is_capture(line):
            return [(line, "") if isinstance(line, dict) else (None, "a row is an object")]
        try:
            rows = capture_rows(line, features=self._spec.inputs.names, task=self._spec.task)
        except ValueError as exc:
            return [(None, str(exc))]
        return [(row, "") for row in rows]


def content_of(path: Path) -> str:
    """A digest of a whole file."""
    return digest_file(path)


def longest_beginning(path: Path, known: Iterable[str]) -> str:
    """Which of these beginnings a file of lines has, the longest; "" for none. known: size in bytes and digest."""
    sizes = sorted((int(each.split()[0]), each) for each in known)
    hasher, at, found = blake3(), 0, ""
    with path.open("rb") as file:
        for size, each in sizes:
            while at < size and (data := file.read(min(size - at, 1 << 20))):
                hasher.update(data)
                at += len(data)
            if at < size:
                break
            if hasher.hexdigest() == each.split()[1]:
                found = each
    return found


def _is_nested(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(1 << 24)
    try:
        line = msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # told by whoever reads it as a table
    return is_capture(line) or (isinstance(line, dict) and isinstance(line.get("features"), dict))


def _of_this(said: Names, spec: Spec, columns: Sequence[str]) -> Names:
    """What was said, and where nothing was what holds for the reference; what only the reference has is left out."""
    roles = msgspec.structs.asdict(said)
    for role, name in spec.names.items():
        if not roles[role] and name in columns:
            roles[role] = name
        elif roles[role] == name and name not in columns:
            roles[role] = ""
    return Names(**roles)


def _texts(spec: Spec, said: Names) -> frozenset[str]:
    return texts_of(spec.inputs) | ({said.id, said.key} - {""})
