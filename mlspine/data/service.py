"""The door of data: which rows a model was fitted on, named by their content."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.errors import NotFound
from mlspine.core.ids import SHORT_HASH, now_ms
from mlspine.core.public import public
from mlspine.core.types import DatasetVersion
from mlspine.data import store
from mlspine.data.schema import ColumnSummary
from mlspine.ports import Database


class Data:
    """Dataset versions. The rows themselves stay where they are; digest, shape and summary are kept."""

    def __init__(self, *, db: Database, clock: Callable[[], int] = now_ms) -> None:
        self._db = db
        self._clock = clock

    def record(self, version: DatasetVersion, summary: tuple[ColumnSummary, ...]) -> DatasetVersion:
        """Keep a version, inside the caller's transaction if there is one; a known digest stays as it was."""
        with self._db.write() as tx:
            store.add(tx, msgspec.structs.replace(version, created_at_ms=self._clock()), summary)
            return self.get(version.digest)

    @public("read")
    def versions(self) -> list[DatasetVersion]:
        """All dataset versions, newest first."""
        return store.versions(self._db)

    @public("read")
    def get(self, digest: str) -> DatasetVersion:
        """One version by its digest; NotFound otherwise."""
        row = store.find(self._db, digest)
        if row is None:
            raise _unknown(digest)
        return store.to_version(row)

    @public("read")
    def summary(self, digest: str) -> tuple[ColumnSummary, ...]:
        """The columns of a version as they were: types, ranges, levels, nulls."""
        row = store.find(self._db, digest)
        if row is None:
            raise _unknown(digest)
        return store.to_summary(row)


def _unknown(digest: str) -> NotFound:
    return NotFound(
        f"no dataset version {digest[:SHORT_HASH]!r}",
        hint="data is recorded when a model is shipped: mlspine models",
    )
