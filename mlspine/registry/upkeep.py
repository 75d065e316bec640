"""Removing for good what was deleted long ago: runs, logged models, experiments, and the files nobody names then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mlspine.artifacts import Artifacts
from mlspine.core.errors import Invalid
from mlspine.core.ids import now_ms
from mlspine.core.public import public
from mlspine.core.types import Actor, AgeSeconds, Struct
from mlspine.governance.service import Governance
from mlspine.ports import Database, Row
from mlspine.registry import upkeep_store as store
from mlspine.registry.source import artifact_path
from mlspine.registry.upkeep_store import Kind

ROWS_AT_ONCE = 50  # runs or models of one transaction, and of one ledger line
POINTS_AT_ONCE = 5_000
SHOWN = 20
MOST = 1_000_000


class Named(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class Waste(Struct, frozen=True, kw_only=True):
    """What is due to go, or went.

    files, size_bytes: as their runs and models name them; content that others have too stays. needed: deleted
    runs that stay since a version stands on them. left_over: contents of files that nobody names any more; each is
    removed once it has been so for a day, since an upload may be under way that has it. runs_shown: the first.
    """

    runs: int = 0
    points: int = 0
    logged_models: int = 0
    experiments: int = 0
    files: int = 0
    size_bytes: int = 0
    needed: int = 0
    left_over: int = 0
    runs_shown: tuple[Named, ...] = ()


class Upkeep:
    """Takes what is deleted, in short transactions with pauses, so that who logs meanwhile hardly waits.

    Killed half-way, nothing is damaged: what was begun is found no more, and the next `collect` ends it.
    """

    def __init__(
        self,
        *,
        db: Database,
        artifacts: Artifacts,
        governance: Governance,
        clock: Callable[[], int] = now_ms,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._db = db
        self._artifacts = artifacts
        self._governance = governance
        self._clock = clock
        self._pause = pause

    @public("administer")
    def find(self, *, older_than_s: AgeSeconds) -> Waste:
        """What was deleted at least this long ago and would go."""
        until = self._until(older_than_s)
        runs = store.due(self._db, "run", until_at_ms=until, limit=MOST)
        models = store.due(self._db, "logged_model", until_at_ms=until, limit=MOST)
        sizes = [
            self._artifacts.weigh(path) for row in (*runs, *models) if (path := artifact_path(row["artifact_uri"]))
        ]
        return Waste(
            runs=len(runs),
            points=sum(store.points(self._db, kind, until_at_ms=until) for kind in ("run", "logged_model")),
            logged_models=len(models),
            experiments=store.due_experiments(self._db, until_at_ms=until),
            files=sum(files for files, _ in sizes),
            size_bytes=sum(size for _, size in sizes),
            needed=store.kept(self._db, until_at_ms=until),
            left_over=self._artifacts.left_over(),
            runs_shown=tuple(Named(id=row["id"], name=row["name"]) for row in runs[:SHOWN]),
        )

    @public("administer")
    def collect(self, *, older_than_s: AgeSeconds, actor: Actor) -> Waste:
        """Remove it, and contents of files left over for a day; returns what went. Ledger: "gc", a line per batch."""
        until = self._until(older_than_s)
        before = self.find(older_than_s=older_than_s)
        gone: dict[Kind, int] = {"logged_model": 0, "run": 0}
        points = 0
        for kind in gone:
            while batch := self._marked(kind, until):
                points += sum(self._without_points(kind, row) for row in batch)
                self._remove(kind, batch, actor)
                gone[kind] += len(batch)
        return Waste(
            runs=gone["run"],
            points=points,
            logged_models=gone["logged_model"],
            experiments=self._remove_experiments(until, actor),
            files=before.files,
            size_bytes=before.size_bytes,
            needed=before.needed,
            left_over=len(self._artifacts.collect()),
            runs_shown=before.runs_shown,
        )

    # ------------------------------------------------------------ inside

    def _until(self, older_than_s: float) -> int:
        if older_than_s < 0:
            raise Invalid(f"older than {older_than_s:g} s", hint="a time that has passed: 0 or more")
        return self._clock() - int(older_than_s * 1000)

    def _marked(self, kind: Kind, until: int) -> list[Row]:
        """The next few that are due; from now on they are found no more."""
        with self._db.write(synced=False) as tx:
            batch = store.due(tx, kind, until_at_ms=until, limit=ROWS_AT_ONCE)
            for row in batch:
                store.mark(tx, kind, row["id"])
        return batch

    def _without_points(self, kind: Kind, row: Row) -> int:
        """Remove its points, in pieces; returns how many there were."""
        total = 0
        while True:
            began_s = time.monotonic()
            with self._db.write(synced=False) as tx:
                gone = store.delete_points(tx, kind, row["no"], limit=POINTS_AT_ONCE)
            total += gone
            if gone < POINTS_AT_ONCE:
                return total
            self._pause(time.monotonic() - began_s)  # others write for as long

    def _remove(self, kind: Kind, batch: Sequence[Row], actor: Actor) -> None:
        began_s = time.monotonic()
        with self._db.write() as tx:
            for row in batch:
                if path := artifact_path(row["artifact_uri"]):
                    self._artifacts.delete(path)
                if kind == "run":
                    store.delete_run(tx, row["no"], row["id"])
                else:
                    store.delete_model(tx, row["id"])
            self._governance.record("gc", "workspace", actor, facts={f"{kind}s": [row["id"] for row in batch]})
        self._pause(time.monotonic() - began_s)

    def _remove_experiments(self, until: int, actor: Actor) -> int:
        with self._db.write() as tx:
            empty = store.empty_experiments(tx, until_at_ms=until)
            for row in empty:
                if path := artifact_path(row["artifact_location"]):
                    self._artifacts.delete(path)
                store.delete_experiment(tx, row["id"])
            if empty:
                names = {str(row["id"]): row["name"] for row in empty}
                self._governance.record("gc", "workspace", actor, facts={"experiments": names})
        return len(empty)
