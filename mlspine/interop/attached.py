"""Versions taken from a registry that stays where it is: it is told, as tags, what becomes of them here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from mlspine.core.errors import MlspineError, NotFound
from mlspine.core.public import public
from mlspine.core.types import Actor, Struct
from mlspine.governance.service import Governance
from mlspine.interop.attach import STAGE_TAG, ForeignVersion, write_back
from mlspine.ports import Database, Row
from mlspine.registry.service import Registry
from mlspine.registry.verdict_tags import said_tags, verdict_of

log = logging.getLogger(__name__)

GATES_READ = 100
Write = Callable[[ForeignVersion, Mapping[str, str]], None]


class AttachedVersion(Struct, frozen=True, kw_only=True):
    """A version here and the one it was taken from. told: the tags last written there; problem: why not the newest."""

    model: str
    version: int
    registry: str
    foreign_name: str
    foreign_version: int
    told: dict[str, str]
    problem: str = ""


class Attached:
    """Writes stage, release and verdict of attached versions back to where they came from.

    Credentials are those MLflow's own client would use in the environment of the process that writes
    (MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD); none are kept.
    """

    def __init__(self, *, db: Database, registry: Registry, governance: Governance, write: Write = write_back) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._write = write

    @public("administer")  # this workspace then talks to that registry, with the credentials in its environment
    def attach(
        self, model: str, version: int, *, registry: str, foreign_name: str, foreign_version: int, actor: Actor
    ) -> AttachedVersion:
        """Remember where a version was taken from, and tell that registry. One ledger line."""
        self._registry.get(model, version)
        facts = {"version": version, "registry": registry, "taken": f"models:/{foreign_name}/{foreign_version}"}
        with self._db.write() as tx:
            tx.execute(
                "insert into attached (model, version, registry, foreign_name, foreign_version, told, problem)"
                " values (:model, :version, :registry, :name, :number, '{}', '') on conflict (model, version)"
                " do update set registry = excluded.registry, foreign_name = excluded.foreign_name,"
                " foreign_version = excluded.foreign_version, told = '{}', problem = ''",
                model=model,
                version=version,
                registry=registry,
                name=foreign_name,
                number=foreign_version,
            )
            self._governance.record("attach", f"model:{model}", actor, facts=facts)
        self.tell()
        return next(each for each in self.versions() if (each.model, each.version) == (model, version))

    @public("read")
    def versions(self) -> list[AttachedVersion]:
        """All attached versions, and how far their registries know."""
        return [_version(row) for row in self._db.read("select * from attached order by model, version")]

    def tell(self) -> int:
        """Write what has changed since it was told last; returns how many versions were told of.

        A registry that does not answer keeps its old tags, and is tried again by the next call.
        """
        return sum(map(self._told, self.versions()))

    def _told(self, attached: AttachedVersion) -> bool:
        tags = self._tags(attached)
        news = {key: value for key, value in tags.items() if attached.told.get(key) != value}
        if not news:
            return False
        try:
            self._write(_foreign(attached), news)
        except MlspineError as exc:
            if exc.message != attached.problem:
                log.warning("a registry could not be told", extra={"registry": attached.registry, "why": exc.message})
            self._keep(attached, attached.told, exc.message)
            return False
        self._keep(attached, attached.told | news, "")
        return True

    def _tags(self, attached: AttachedVersion) -> dict[str, str]:
        try:
            version = self._registry.get(attached.model, attached.version)
        except NotFound:
            return {STAGE_TAG: "deleted"}
        evidence = self._governance.evidence(f"model:{attached.model}", kind="gate", limit=GATES_READ)
        return {STAGE_TAG: version.stage, **said_tags(version, verdict_of(version, evidence))}

    def _keep(self, attached: AttachedVersion, told: Mapping[str, str], problem: str) -> None:
        with self._db.write() as tx:
            tx.execute(
                "update attached set told = :told, problem = :problem where model = :model and version = :version",
                told=msgspec.json.encode(told).decode(),
                problem=problem,
                model=attached.model,
                version=attached.version,
            )


def _version(row: Row) -> AttachedVersion:
    return AttachedVersion(
        model=row["model"],
        version=row["version"],
        registry=row["registry"],
        foreign_name=row["foreign_name"],
        foreign_version=row["foreign_version"],
        told=msgspec.json.decode(row["told"], type=dict[str, str]),
        problem=row["problem"],
    )


def _foreign(attached: AttachedVersion) -> ForeignVersion:
    return ForeignVersion(name=attached.foreign_name, version=attached.foreign_version, registry=attached.registry)
