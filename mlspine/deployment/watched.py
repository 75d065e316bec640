"""Endpoints that somebody else's server answers: a version to judge by, and no traffic here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mlspine.core.errors import Conflict
from mlspine.core.ids import check_name
from mlspine.core.plan import Guards, LogSettings, Revision, Traffic
from mlspine.core.types import Actor, ModelVersion
from mlspine.deployment import store
from mlspine.deployment.endpoint import next_number
from mlspine.deployment.switching import Change, Switching, check_redaction
from mlspine.governance.service import signature
from mlspine.ports import Database

WATCH: Literal["watch"] = "watch"


class Watched:
    """Revisions with the cause "watch"."""

    def __init__(self, *, db: Database, switching: Switching, clock: Callable[[], int]) -> None:
        self._db = db
        self._switching = switching
        self._clock = clock

    def watch(self, version: ModelVersion, *, log: LogSettings, actor: Actor, reason: str) -> Revision:
        """As `Deployment.watch`."""
        name = check_name(version.model, what="endpoint")
        revisions = store.revisions(self._db, name)
        current = revisions[-1] if revisions else None
        if current is not None and current.cause != WATCH:
            raise Conflict(
                f"endpoint {name} is answered from here, and watched for that",
                hint=f"see: mlspine status {name}; give what answers elsewhere a name of its own",
            )
        if current is not None and (current.release_hash, current.log) == (version.release_hash, log):
            return current
        check_redaction(log, version)
        revision = Revision(
            endpoint=name,
            number=next_number(revisions),
            version=version.version,
            release_hash=version.release_hash,
            cause=WATCH,
            log=log,
            created_at_ms=self._clock(),
            actor=signature(actor),
            reason=reason,
        )
        change = Change(live=version, cause=WATCH, action=WATCH, log=log, traffic=Traffic(), guards=Guards())
        with self._db.write() as tx:
            self._switching.commit(tx, revision, current, change, None, actor)
        return revision
