"""Which facts the gate is told of a version that is to answer, or to stand in Production or under a gated alias."""

from __future__ import annotations

from typing import NamedTuple

from mlspine.core.types import Actor, Decision, Evidence, ModelVersion
from mlspine.governance.approval import Approval
from mlspine.governance.gate import Action
from mlspine.governance.service import Governance
from mlspine.registry.bare import fill_command
from mlspine.registry.prepare import TIERS
from mlspine.registry.service import Registry

GATES_READ = 1_000


class Judged(NamedTuple):
    """What the gate said, and the approval the change stands on, to be used up with it."""

    decision: Decision
    approval: Approval | None = None


class Judge:
    """Asks governance, with what registry and evidence know."""

    def __init__(self, *, registry: Registry, governance: Governance) -> None:
        self._registry = registry
        self._governance = governance

    def judge(
        self,
        action: Action,
        target: ModelVersion,
        *,
        where: str,
        replaced: ModelVersion | None,
        first_deployment: bool,
        rollback_target: bool,
        came_back: bool = False,
        approved: bool = False,
        own_env: bool = False,
        actor: Actor,
    ) -> Judged:
        """The gate's decision; raises Denied. where: the endpoint, or what is moved.

        replaced: what stands there now; the target itself when only settings change. approved: an approval of the
        target was used up when it began to answer, and holds for what follows. own_env: the target runs in an
        environment of its own, so nothing has to be installed here.
        """
        moves = replaced is None or replaced.version != target.version
        tier = max(target.tier, replaced.tier if replaced else target.tier, key=TIERS.index)
        approval = self._approval(target, actor) if moves and tier == "high" and not approved else None
        verdicts = self._verdicts(target)
        decision = self._governance.require(
            action=action,
            facts={
                "ref": f"{target.model}:{target.version}",
                "endpoint": where,
                "tier": tier,
                "owner": target.owner,
                "owner_assumed": target.owner_assumed,
                "trusted": target.trusted,
                "first_deployment": first_deployment,
                "rollback_target": rollback_target,
                "baseline_present": self._registry.has_baseline(target),
                "missing_dependencies": [] if own_env else self._registry.missing_dependencies(target),
                "gate_refusal": _refusal(verdicts),
                "replaces": f"{replaced.model}:{replaced.version}" if replaced and moves else "",
                "verdict": self._pair(target, replaced, verdicts) if replaced and moves else "",
                "fill": _fill(target) if target.bare else "",
                "came_back": came_back,
                "approved": approved or approval is not None or not moves,
            },
            actor=actor,
        )
        return Judged(decision, approval)

    def _approval(self, target: ModelVersion, actor: Actor) -> Approval | None:
        if not target.release_hash:
            return None
        return self._governance.approval_for(f"model:{target.model}", target.release_hash, requester=actor)

    def _verdicts(self, target: ModelVersion) -> list[Evidence]:
        """What the promotion gate said of this release, newest first."""
        if not target.release_hash:
            return []
        found = self._governance.evidence(f"model:{target.model}", kind="gate", limit=GATES_READ)
        return [each for each in found if each.document.get("release") == target.release_hash]

    def _pair(self, target: ModelVersion, replaced: ModelVersion, verdicts: list[Evidence]) -> str:
        """The newest verdict on the two, or on the target and what is in Production; "" when there is none."""
        if target.release_hash and target.release_hash == replaced.release_hash:
            return "PRODUCTION_ITSELF"
        live = (each.version for each in self._registry.versions(target.model) if each.stage == "Production")
        against = {replaced.version, *live}
        documents = (each.document for each in verdicts)
        return next(
            (str(each["verdict"]) for each in documents if each.get("against", replaced.version) in against), ""
        )


def _refusal(verdicts: list[Evidence]) -> str:
    """What the newest verdict says, where it is a refusal."""
    document = verdicts[0].document if verdicts else {}
    return str(document["paragraph"]) if document.get("verdict") == "REFUSED" else ""


def _fill(target: ModelVersion) -> str:
    if target.release_hash:
        return fill_command(target.model, target.version)
    return f"mlspine ship FILE --name {target.model} --data ROWS"
