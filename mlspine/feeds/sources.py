"""Sources of fresh rows: read when something is new, judged against the release, told when they are not well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from mlspine.core.columns import row_count, take
from mlspine.core.errors import MlspineError
from mlspine.core.types import Columns, ModelVersion, Release
from mlspine.data.source import parse_source, texts_of
from mlspine.feeds import health, store
from mlspine.feeds.health import Fault
from mlspine.feeds.reading import News, news
from mlspine.feeds.rhythm import KEPT_ARRIVALS, stale_after_ms
from mlspine.feeds.store import Memory
from mlspine.feeds.telling import tell, tell_faults
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database
from mlspine.registry.bare import require_whole
from mlspine.registry.baseline import read_baseline
from mlspine.registry.release import read_release

MOST_ROWS = 200_000  # of what is new, the last ones are judged
ROLE = "source"


class Sources:
    """Looks at the declared source of one model at a time."""

    def __init__(self, *, db: Database, monitoring: Monitoring, root: Path, clock: Callable[[], int]) -> None:
        self._db = db
        self._monitoring = monitoring
        self._root = root
        self._clock = clock

    def check(self, version: ModelVersion, text: str) -> tuple[Memory, bool]:
        """Read what is new at a source, judge it, remember it, and tell. Returns what is remembered, and whether
        that is another finding than before. A source that cannot be read is a remembered failure, never an error."""
        before = store.memory(self._db, version.model, ROLE, text)
        now_ms = self._clock()
        arrived: tuple[int, ...] = ()
        try:
            source = parse_source(text)
            release = read_release(Path(require_whole(version).path))
            texts = texts_of(release.signature.inputs)
            with news(source, before, root=self._root, texts=texts, now_ms=now_ms) as found:
                after = msgspec.structs.replace(before, failure="", last_read_at_ms=now_ms)
                if found is not None:
                    arrived = found.arrived_at_ms
                    after = self._judged(after, found, release, version)
        except MlspineError as exc:
            after = msgspec.structs.replace(before, failure=_told(exc), last_read_at_ms=now_ms)
        with self._db.write() as tx:
            store.add_arrivals(tx, version.model, ROLE, arrived, keep=KEPT_ARRIVALS)
            after = msgspec.structs.replace(after, failure=after.failure or self._stale(version.model, now_ms))
            store.remember(tx, version.model, ROLE, after)
        self._tell(version.model, after)
        return after, (after.marks, after.faults, after.failure) != (before.marks, before.faults, before.failure)

    def _judged(self, after: Memory, found: News, release: Release, version: ModelVersion) -> Memory:
        columns = found.table.chunk(max(0, found.table.rows - MOST_ROWS), found.table.rows)
        # Of files only those that changed are here; of a query all rows are, and time tells the new ones.
        time_column = "" if found.by_files else str(release.settings.get("time") or "")
        columns, until_us = _newer(columns, time_column, after.until_us)
        rows = row_count(columns)
        faults = health.judge(columns, release.signature.inputs, read_baseline(Path(version.path), release))
        enough = rows >= health.MIN_ROWS
        return msgspec.structs.replace(
            after,
            # Rows too few to be judged are looked at again together with those that follow.
            marks=found.marks if enough else after.marks,
            until_us=until_us if enough else after.until_us,
            rows=found.table.rows,
            faults=tuple(faults if enough else _still(after.faults, faults)),
        )

    def _stale(self, model: str, now_ms: int) -> str:
        times = store.arrivals(self._db, model, ROLE)
        limit_ms = stale_after_ms(times)
        if limit_ms is None or now_ms - times[-1] <= limit_ms:
            return ""
        return f"nothing new for {_span(now_ms - times[-1])}; until now it was {_span(limit_ms // 2)} at most"

    def _tell(self, model: str, memory: Memory) -> None:
        action = f"mlspine feeds {model}"
        title = "its source of fresh rows is not well"
        tell(self._monitoring, model, ROLE, title, memory.failure, action=action, severity="WARNING")
        tell_faults(self._monitoring, model, ROLE, memory.faults, action=action)


def _newer(columns: Columns, time_column: str, until_us: int) -> tuple[Columns, int]:
    """The rows after the newest time judged, and the newest time there is now; all rows without such a column."""
    times = columns.get(time_column)
    if times is None or times.dtype.kind != "M" or np.isnat(times).all():
        return columns, until_us
    micros = times.astype("datetime64[us]").astype(np.int64)
    micros[np.isnat(times)] = until_us + 1  # undated rows are judged with whatever is new
    newest = int(micros[~np.isnat(times)].max())
    # Changed, and nothing newer: what was there has been mended, so all of it is judged again.
    return (take(columns, micros > until_us) if newest > until_us else columns), max(until_us, newest)


def _still(standing: tuple[Fault, ...], found: list[Fault]) -> list[Fault]:
    """What is known after a look at columns and types alone: faults in values stand until values are judged."""
    named = {fault.field for fault in found}
    values = [fault for fault in standing if fault.symptom not in ("gone", "type") and fault.field not in named]
    return found + values


def _told(exc: MlspineError) -> str:
    return "; ".join([exc.message, *exc.details[:2]])


def _span(duration_ms: int) -> str:
    hours = duration_ms / 3_600_000
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"


def is_read(text: str) -> bool:
    """Whether there is something to read at all: not for "caller", and not while nobody said."""
    return bool(text) and text != "caller"
