"""Where versions stand: their stages and aliases, moved, and models renamed or deleted. One place for whoever asks.

Production and gated aliases ask the promotion gate. The change, what the gate said, the approval it used and the
ledger line are one transaction: all of it is stored, or nothing.
"""

from __future__ import annotations

from typing import Any

from mlspine.core.errors import Conflict, Invalid
from mlspine.core.plan import Revision
from mlspine.core.public import public
from mlspine.core.types import Actor, Decision, ModelVersion, Stage, Struct
from mlspine.deployment import store
from mlspine.deployment.endpoint import rollback_target
from mlspine.deployment.judging import Judge, Judged
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.ports import Database
from mlspine.registry.catalogue import Catalogue
from mlspine.registry.naming import check_alias, check_stage
from mlspine.registry.service import Registry

LINES_READ = 1_000


class Moved(Struct, frozen=True, kw_only=True):
    """A version where it stands now. archived: versions that left the stage for it."""

    version: ModelVersion
    warnings: tuple[str, ...] = ()
    archived: tuple[int, ...] = ()
    approved_by: str = ""


class Moves:
    """Stages and aliases. Where an endpoint answers with a model, its Production is what answers."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        catalogue: Catalogue,
        deployment: Deployment,
        governance: Governance,
        gated_aliases: tuple[str, ...],
    ) -> None:
        self._db = db
        self._registry = registry
        self._catalogue = catalogue
        self._deployment = deployment
        self._governance = governance
        self._gated = frozenset(gated_aliases)
        self._judge = Judge(registry=registry, governance=governance)

    # ------------------------------------------------------------ stages

    @public("operate")
    def transition(
        self, name: str, version: int, *, stage: str, archive_existing: bool = False, actor: Actor, reason: str = ""
    ) -> Moved:
        """Move a version to a stage; archive_existing: those that are in it are archived.

        To Production while an endpoint answers with that model is a promotion: proved, committed and applied, and
        the version it leaves is archived. Ledger: "stage", or "promote". Raises Denied when the gate refuses,
        Conflict for taking away what answers.
        """
        wanted = check_stage(stage)
        if archive_existing and wanted not in ("Staging", "Production"):
            raise Invalid(
                f"versions that are in stage {wanted} cannot be archived for another",
                hint="archive_existing_versions goes with Staging and Production",
            )
        self._registry.get(name, version)
        live = self._live(name)
        if live is None:
            return self._stage(name, version, wanted, archive_existing, actor, reason)
        if wanted == "Production":
            switched = self._deployment.promote(name, version, actor=actor, reason=reason)
            moved = self._registry.get(name, version)
            left = switched.previous_version if switched.changed else 0
            return Moved(version=moved, warnings=switched.warnings, archived=(left,) if left else ())
        if live.version == version:
            raise Conflict(
                f"endpoint {name} answers with {name}:{version}, so it stays in Production",
                hint=f"bring another one forward: mlspine promote {name} VERSION; or go back: mlspine rollback {name}",
            )
        return self._stage(name, version, wanted, archive_existing, actor, reason)

    def _stage(self, name: str, version: int, stage: Stage, archive_existing: bool, actor: Actor, reason: str) -> Moved:
        with self._db.write():
            target = self._registry.get(name, version)
            there = [each for each in self._registry.versions(name) if each.stage == stage]
            others = [each for each in there if each.version != version]
            judged, came_back = Judged(Decision(allowed=True)), False
            if stage == "Production" and target.stage != stage:
                judged, came_back = self._asked(target, others[-1] if others else None, f"{stage} of {name}", actor)
            archived = others if archive_existing else []
            for each in archived:
                self._registry.set_stage(name, each.version, "Archived")
            self._registry.set_stage(name, version, stage)
            if target.stage != stage or archived:
                facts = {
                    "place": f"{stage} of {name}",
                    "stage": stage,
                    "previous_stage": target.stage,
                    "previous_version": others[-1].version if others else 0,
                    "archived": [each.version for each in archived],
                    "came_back": came_back,
                }
                self._told("stage", target, judged, facts, actor, reason)
            return self._moved(name, version, judged, archived=tuple(each.version for each in archived))

    # ------------------------------------------------------------ aliases

    def is_gated(self, alias: str) -> bool:
        """Whether moving this alias asks the gate."""
        return alias in self._gated

    @public("operate")
    def set_alias(self, name: str, *, alias: str, version: int, actor: Actor, reason: str = "") -> Moved:
        """Point `NAME@ALIAS` at a version. Ledger: "alias". Raises Denied when it is gated and the gate refuses."""
        check_alias(alias)
        with self._db.write():
            target = self._registry.get(name, version)
            before = self._registry.aliases(name).get(alias, 0)
            judged, came_back = Judged(Decision(allowed=True)), False
            if before == version:
                return self._moved(name, version, judged)
            if self.is_gated(alias):
                held = self._registry.get(name, before) if before else None
                judged, came_back = self._asked(target, held, f"{name}@{alias}", actor)
            self._registry.set_alias(name, alias=alias, version=version)
            facts = {
                "place": f"{name}@{alias}",
                "alias": alias,
                "previous_version": before,
                "came_back": came_back,
            }
            self._told("alias", target, judged, facts, actor, reason)
            return self._moved(name, version, judged)

    @public("operate")
    def delete_alias(self, name: str, *, alias: str, actor: Actor, reason: str = "") -> None:
        """Take an alias away; nothing happens when there is none. Ledger: "alias"."""
        check_alias(alias)
        with self._db.write():
            before = self._catalogue.model(name).aliases.get(alias, 0)
            if self._registry.delete_alias(name, alias):
                facts = {"place": f"{name}@{alias}", "alias": alias, "version": 0, "previous_version": before}
                self._governance.record("alias", f"model:{name}", actor, reason, facts)

    # ------------------------------------------------------------ names, and away

    @public("operate")
    def rename(self, name: str, *, new_name: str, actor: Actor) -> None:
        """Another name for a model with all it has. Conflict while an endpoint goes by the old one."""
        with self._db.write():
            self._refuse_served(name, "renamed")
            self._catalogue.rename(name, new_name, actor=actor)

    @public("operate")
    def delete(self, name: str, *, actor: Actor) -> None:
        """Remove a model with its versions, tags and aliases. Conflict while there is an endpoint of it."""
        with self._db.write():
            self._refuse_served(name, "deleted")
            self._catalogue.delete(name, actor=actor)

    @public("operate")
    def delete_version(self, name: str, version: int, *, actor: Actor) -> None:
        """Remove a version. Conflict for one that an endpoint answers with, or has: its answers are on record.

        So too for a candidate, now or before, and for a shadow while it is one.
        """
        with self._db.write():
            revisions = store.revisions(self._db, name)
            if any(_has_part_in(each, version) for each in revisions) or _is_shadow(revisions, version):
                raise self._in_use(name, version, revisions)
            self._catalogue.delete_version(name, version, actor=actor)

    # ------------------------------------------------------------ inside

    def _live(self, name: str) -> Revision | None:
        """What the model's endpoint answers with; None without one, or when it cannot answer."""
        revisions = store.revisions(self._db, name)
        return revisions[-1] if revisions and revisions[-1].version else None

    def _asked(
        self, target: ModelVersion, replaced: ModelVersion | None, place: str, actor: Actor
    ) -> tuple[Judged, bool]:
        """The gate's word on a move, and whether it takes back the move before it."""
        came_back = replaced is not None and self._takes_back(target, replaced, place)
        judged = self._judge.judge(
            "move",
            target,
            where=place,
            replaced=replaced,
            first_deployment=replaced is None,
            rollback_target=replaced is not None,
            came_back=came_back,
            actor=actor,
        )
        return judged, came_back

    def _takes_back(self, target: ModelVersion, replaced: ModelVersion, place: str) -> bool:
        """Whether the newest move of this place put `replaced` where `target` stood. Taking that back is a step on."""
        lines = self._governance.entries(f"model:{target.model}", limit=LINES_READ)
        last = next((each.facts for each in reversed(lines) if each.facts.get("place") == place), None)
        if last is None or last.get("came_back"):
            return False
        return last.get("previous_version") == target.version and last.get("version") == replaced.version

    def _told(
        self, action: str, target: ModelVersion, judged: Judged, facts: dict[str, Any], actor: Actor, reason: str
    ) -> None:
        """Use the approval up and write the ledger line, in the transaction of the change."""
        approval = judged.approval
        if approval:
            self._governance.use_approval(approval, used_for=f"{action} {facts['place']}")
        known = {
            "version": target.version,
            "release": target.release_hash,
            "warnings": list(judged.decision.warnings),
            "approved_by": approval.actor if approval else "",
            "approval": approval.id if approval else "",
        }
        self._governance.record(action, f"model:{target.model}", actor, reason, {**known, **facts})

    def _moved(self, name: str, version: int, judged: Judged, *, archived: tuple[int, ...] = ()) -> Moved:
        return Moved(
            version=self._registry.get(name, version),
            warnings=judged.decision.warnings,
            archived=archived,
            approved_by=judged.approval.actor if judged.approval else "",
        )

    def _refuse_served(self, name: str, what: str) -> None:
        if store.find_endpoint(self._db, name) is not None:
            raise Conflict(
                f"endpoint {name} goes by model {name}: it cannot be {what}",
                hint=f"see what answers: mlspine status {name}",
            )

    def _in_use(self, name: str, version: int, revisions: list[Revision]) -> Conflict:
        current, back = revisions[-1], rollback_target(revisions)
        if current.version == version:
            return Conflict(
                f"endpoint {name} answers with {name}:{version}",
                hint=f"bring another one forward first: mlspine promote {name} VERSION; or: mlspine rollback {name}",
            )
        if version in (current.traffic.candidate, current.traffic.shadow):
            what, verb = ("answers a share of the requests", "split")
            if current.traffic.candidate != version:
                what, verb = ("is asked along unseen", "shadow")
            return Conflict(
                f"{name}:{version} {what} at endpoint {name}", hint=f"end that first: mlspine {verb} {name} --off"
            )
        why = "is what a rollback brings back" if back and back.version == version else "has answered"
        return Conflict(
            f"{name}:{version} {why} at endpoint {name}, so it stays on record",
            hint="archive it instead: move it to stage Archived",
        )


def _has_part_in(revision: Revision, version: int) -> bool:
    """Whether people were answered by it then."""
    return version in (revision.version, revision.traffic.candidate)


def _is_shadow(revisions: list[Revision], version: int) -> bool:
    return bool(revisions) and revisions[-1].traffic.shadow == version
