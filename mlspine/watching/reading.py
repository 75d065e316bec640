"""Reading somebody else's log: every row once, however often, and wherever a kill falls.

How far a file was read is written in the same transaction as its rows. A file that is as it was is not opened. One that
got longer is read on behind the rows known, also under another name, as rotation leaves it; one whose first rows are
others is left alone and told, unless its rows bring ids to be told apart by. A copy is recognised by its content.
Queries give all their rows every time, so their rows need ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.types import Struct
from mlspine.data.source import parse_source
from mlspine.ports import Database, ObjectReader, Transaction
from mlspine.predictions.ingest import Foreign
from mlspine.predictions.service import Predictions
from mlspine.watching import store
from mlspine.watching.answers import take_answers
from mlspine.watching.pages import CHUNK_ROWS, Pages, content_of, longest_beginning, pages_of, query_pages
from mlspine.watching.places import LINES, Part, Place, local, parse_place, parts_of
from mlspine.watching.spec import Spec
from mlspine.watching.store import WatchedFile, WatchedSource


class Note(Protocol):
    """Writes down that so many rows from the beginning are in the log."""

    def __call__(self, tx: Transaction, rows: int) -> None: ...


LEASE_MS = 60_000  # renewed with every piece; a killed reader holds judging up no longer
EXAMPLES = 5


class Reading(Struct, frozen=True, kw_only=True):
    """What one reading brought in. files: those opened. refused: rows that could not be read, examples say why;
    problems: files that could not be. taken_for: what their columns were taken for, by the last file."""

    endpoint: str
    files: int = 0
    rows: int = 0
    duplicates: int = 0
    refused: int = 0
    labels: int = 0
    examples: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    taken_for: str = ""


class _Counts(NamedTuple):
    rows: int = 0
    duplicates: int = 0
    refused: int = 0
    labels: int = 0
    examples: tuple[str, ...] = ()
    taken_for: str = ""


class Reader:
    """Reads one log at a time."""

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        root: Path,
        objects: Callable[[], ObjectReader],
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._root = root
        self._objects = objects
        self._clock = clock

    def read(self, spec: Spec, source: WatchedSource) -> Reading:
        """Everything that is new. One file's trouble does not keep the others; raises where there is none to read."""
        place = parse_place(source.text)
        try:
            if place.kind == "query":
                return self._read_query(spec, source)
            return self._read_files(spec, source, place)
        finally:
            self._predictions.fill_until(spec.endpoint, 0)

    # ------------------------------------------------------------ files

    def _read_files(self, spec: Spec, source: WatchedSource, place: Place) -> Reading:
        known = store.files(self._db, spec.endpoint)
        copies = {file.content: file for file in known.values() if file.rows and file.whole}
        total, opened, problems = _Counts(), 0, []
        parts = parts_of(place, root=self._root, objects=self._objects)
        # New names first: what a file held before may lie there now, and the file be begun anew.
        for part in sorted(parts, key=lambda part: part.name in known):
            before = known.get(part.name)
            if before is not None and before.mark == part.mark and before.whole:
                continue
            opened += 1
            try:
                with local(part, place, objects=self._objects) as path:
                    content = content_of(path)
                    twin = copies.get(content)
                    if twin is not None and twin.name != part.name:
                        total = _sum(total, self._note_copy(spec, part, twin))
                        continue
                    if before is None and place.kind == "files":
                        before = self._moved(spec, part, path, known)
                    counts, file = self._read_file(spec, source, part, path, before, content)
            except MlspineError as exc:
                problems.append("; ".join([f"{_short(part.name)}: {exc.message}", *exc.details[:2]]))
                continue
            if file.whole and file.rows:
                copies[content] = file
            total = _sum(total, counts)
        return _reading(spec.endpoint, opened, total, problems)

    def _read_file(
        self,
        spec: Spec,
        source: WatchedSource,
        part: Part,
        path: Path,
        before: WatchedFile | None,
        content: str,
    ) -> tuple[_Counts, WatchedFile]:
        size = path.stat().st_size
        file = WatchedFile(name=part.name, mark=part.mark, rows=0, digest="", content=content)
        if not size:
            return _Counts(), file
        with pages_of(path, spec, source.names, root=self._root) as pages:
            start = self._known_rows(part, path, before, pages)
            lines = path.suffix.lower() in LINES
            all_there = size == int(part.mark.split()[0])  # else its last line is still being written

            def note(tx: Transaction, rows: int) -> None:
                nonlocal file
                digest = f"{size} {content}" if lines else pages.prefix(rows)
                whole = rows == pages.rows and all_there
                file = msgspec.structs.replace(file, rows=rows, digest=digest, whole=whole)
                store.put_file(tx, spec.endpoint, file, self._clock())

            counts = self._take(spec, pages, start, name=path.name, note=note)
            if counts.rows == counts.refused == counts.duplicates == 0:
                with self._db.write() as tx:
                    note(tx, pages.rows)  # written again with what was there before
        return counts, file

    def _note_copy(self, spec: Spec, part: Part, twin: WatchedFile) -> _Counts:
        with self._db.write() as tx:
            copied = msgspec.structs.replace(twin, name=part.name, mark=part.mark)
            store.put_file(tx, spec.endpoint, copied, self._clock())
        return _Counts(examples=(f"{_short(part.name)} is a copy of {_short(twin.name)}, which was read",))

    def _moved(self, spec: Spec, part: Part, path: Path, known: dict[str, WatchedFile]) -> WatchedFile | None:
        """What was read of a file of lines under its earlier name, which is free for another from now on."""
        if path.suffix.lower() not in LINES:
            return None
        held = {file.digest: name for name, file in known.items() if file.rows and name.lower().endswith(LINES)}
        found = longest_beginning(path, held)
        if not found:
            return None
        where = Path(held[found])
        if where.is_file() and longest_beginning(where, [found]):
            return known[held[found]]  # a copy of it, which is still there
        earlier = known.pop(held[found])
        moved = msgspec.structs.replace(earlier, name=part.name, whole=False)
        with self._db.write() as tx:
            store.drop_file(tx, spec.endpoint, earlier.name)
            store.put_file(tx, spec.endpoint, moved, self._clock())
        return moved

    def _known_rows(self, part: Part, path: Path, before: WatchedFile | None, pages: Pages) -> int:
        """How many of the first rows are in the log; raises Invalid for a file that was written anew."""
        if before is None or not before.rows:
            return 0
        lines = path.suffix.lower() in LINES
        if lines and longest_beginning(path, [before.digest]):
            return before.rows
        if not lines and pages.rows >= before.rows and pages.prefix(before.rows) == before.digest:
            return before.rows
        if pages.names.id:
            return 0  # each row is told by its own id
        raise Invalid(
            f"it was written anew: its first {before.rows:,} rows are not those read before",
            hint="write new rows behind the old or into files of their own, or give every row an id: --id COL",
        )

    # ------------------------------------------------------------ queries

    def _read_query(self, spec: Spec, source: WatchedSource) -> Reading:
        with query_pages(parse_source(source.text), spec, source.names, root=self._root) as pages:
            if not pages.names.id:
                raise Invalid(
                    "a query gives its rows again every time, and these have no id to be told apart by",
                    hint="select one, and name it: --id COL",
                )
            counts = self._take(spec, pages, 0, name="query", note=_nothing)
        return _reading(spec.endpoint, 1, counts, [])

    # ------------------------------------------------------------ rows

    def _take(self, spec: Spec, pages: Pages, start: int, *, name: str, note: Note) -> _Counts:
        """Rows `start` and further, piece by piece; `note` is written with each. A file of which no row can be read
        is not taken for read."""
        total = _Counts(taken_for=", ".join(f"{role} {column}" for role, column in pages.names.given.items()))
        for begin, end in _pieces(start, pages.rows):
            self._predictions.fill_until(spec.endpoint, self._clock() + LEASE_MS)
            unread: dict[int, str] = {}
            taken = take_answers(
                spec, pages.given(begin, end, name=name, refused=unread), now_ms=self._clock(), refused=unread
            )
            if not taken.batches and taken.refused and total.rows == 0 and end == pages.rows and begin == start:
                row, why = next(iter(taken.refused.items()))
                raise Invalid(f"none of its {end - start:,} new rows can be read: row {begin + row + 1}: {why}")
            if taken.labels:
                self._predictions.add_label_table(spec.endpoint, taken.labels, source=f"log {name}")
            foreign = [Foreign(batch, by_id) for batch, by_id in taken.batches]
            done = self._predictions.record(foreign, also=partial(note, rows=end))
            examples = (f"{name} row {begin + row + 1}: {why}" for row, why in taken.refused.items())
            total = _sum(
                total,
                _Counts(
                    done.rows,
                    done.duplicates,
                    len(taken.refused),
                    len(taken.labels.get("label", ())),
                    tuple(each for each, _ in zip(examples, range(EXAMPLES), strict=False)),
                ),
            )
        return total


def _pieces(start: int, rows: int) -> Iterator[tuple[int, int]]:
    """First and last row (excluded) of each piece; they end where pieces from the beginning would.

    >>> list(_pieces(30_000, 60_000))
    [(30000, 50000), (50000, 60000)]
    """
    while start < rows:
        end = min((start // CHUNK_ROWS + 1) * CHUNK_ROWS, rows)
        yield start, end
        start = end


def _nothing(tx: Transaction, rows: int) -> None:
    """A query has no place to read on from."""


def _sum(a: _Counts, b: _Counts) -> _Counts:
    return _Counts(
        a.rows + b.rows,
        a.duplicates + b.duplicates,
        a.refused + b.refused,
        a.labels + b.labels,
        (a.examples + b.examples)[:EXAMPLES],
        b.taken_for or a.taken_for,
    )


def _reading(endpoint: str, files: int, counts: _Counts, problems: list[str]) -> Reading:
    return Reading(
        endpoint=endpoint,
        files=files,
        rows=counts.rows,
        duplicates=counts.duplicates,
        refused=counts.refused,
        labels=counts.labels,
        examples=counts.examples,
        problems=tuple(problems[:EXAMPLES]),
        taken_for=counts.taken_for,
    )


def _short(name: str) -> str:
    return name if name.startswith("s3://") else Path(name).name
