"""Where somebody else's log lies: files of this machine, objects of a bucket, a query; and what of it changed."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from mlspine.core.errors import Invalid
from mlspine.data.source import Source, matching_files, parse_source
from mlspine.ports import ObjectReader

UNFINISHED_S = 60.0  # a last line without an end may still be written to for so long
FORMS = (
    'files (.parquet, .csv, .jsonl), "s3://BUCKET/FOLDER/*.parquet", "select ...", postgresql://user@host/db?table=t'
)
LINES = (".csv", ".jsonl", ".ndjson")  # what only ever gets longer at its end


class Place(NamedTuple):
    """A log as declared. kind "query": SQL, here or in Postgres, that gives all its rows every time."""

    kind: Literal["files", "objects", "query"]
    text: str


class Part(NamedTuple):
    """One file of a log. mark: its size, and what changes when it does."""

    name: str
    mark: str


def parse_place(text: str) -> Place:
    """What a declared text means.

    >>> parse_place("s3://logs/day=*/*.parquet").kind, parse_place("logs/*.csv").kind
    ('objects', 'files')
    """
    text = text.strip()
    if text.startswith("s3://"):
        parse_source(text.rpartition("/")[2])  # its ending names a format
        return Place("objects", text)
    source = parse_source(text)
    if source.kind == "caller":
        raise Invalid(f"{text!r} says not where the log lies", hint=f"give {FORMS}; without it rows are sent by HTTP")
    return Place("files" if source.kind == "path" else "query", source.text)


def parts_of(place: Place, *, root: Path, objects: Callable[[], ObjectReader]) -> list[Part]:
    """The files of a log, in the order of their names; raises NotFound when there is none."""
    if place.kind == "objects":
        return [Part(name, mark) for name, mark in objects().find(place.text).items()]
    found = matching_files(Source(kind="path", text=place.text), root=root)
    return [Part(str(path), f"{path.stat().st_size} {path.stat().st_mtime_ns}") for path in found]


@contextlib.contextmanager
def local(part: Part, place: Place, *, objects: Callable[[], ObjectReader]) -> Iterator[Path]:
    """The file on this machine, without a last line that is still being written; what was fetched goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlspine-log-") as folder:
        path = Path(part.name)
        if place.kind == "objects":
            path = Path(folder) / part.name.rpartition("/")[2]
            objects().fetch(part.name, path)
        elif path.suffix.lower() in LINES:
            path = _ended(path, Path(folder))
        yield path


def _ended(path: Path, folder: Path) -> Path:
    """The file, or a copy up to its last whole line while somebody may be writing the next."""
    size = path.stat().st_size
    if not size or time.time() - path.stat().st_mtime > UNFINISHED_S:
        return path
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read(1) == b"\n":
            return path
        file.seek(0)
        whole = file.read()
    copy = folder / path.name
    copy.write_bytes(whole[: whole.rfind(b"\n") + 1])
    return copy
