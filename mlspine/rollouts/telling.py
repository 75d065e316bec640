"""How a roll-out ends in the ledger and in alerts."""

from __future__ import annotations

from typing import Any

import msgspec

from mlspine.core.types import SYSTEM, Actor, Severity
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.rollouts.deciding import Evidence
from mlspine.rollouts.store import Rollout

CAUSE = "rollout"


class Telling:
    """One ledger line for each decision, with its numbers; an alert where a person should know."""

    def __init__(self, *, governance: Governance, monitoring: Monitoring) -> None:
        self._governance = governance
        self._monitoring = monitoring

    def decided(
        self, rollout: Rollout, what: str, why: str, *, actor: Actor = SYSTEM, evidence: tuple[Evidence, ...] = ()
    ) -> None:
        """The ledger line; call it in the transaction of the change."""
        facts: dict[str, Any] = {
            "rollout": rollout.id,
            "version": rollout.version,
            "release": rollout.release_hash,
            "against": rollout.against,
            "step": rollout.step,
            "share": rollout.share,
            "evidence": [msgspec.to_builtins(each) for each in evidence],
        }
        self._governance.record(f"{rollout.kind} {what}", f"endpoint:{rollout.endpoint}", actor, why, facts)

    def came_back(self, rollout: Rollout, why: str) -> None:
        name = rollout.endpoint
        self._raise(
            rollout,
            "CRITICAL",
            f"{name}: version {rollout.version} came back by itself, version {rollout.against} answers",
            why,
            f"mlspine rollout status {name}; once it is mended: mlspine rollout start {name}:VERSION",
        )

    def undecided(self, rollout: Rollout, why: str) -> None:
        self._raise(
            rollout,
            "WARNING",
            f"{rollout.endpoint}: the canary of version {rollout.version} ended without a verdict",
            why,
            f"mlspine rollout status {rollout.endpoint}",
        )

    def asks(self, rollout: Rollout, why: str, action: str) -> None:
        """Somebody has to decide."""
        self._raise(
            rollout, "CRITICAL", f"{rollout.endpoint}: somebody has to decide on version {rollout.version}", why, action
        )

    def waits(self, rollout: Rollout) -> None:
        self._raise(
            rollout,
            "WARNING",
            f"{rollout.endpoint}: the canary of version {rollout.version} has passed and waits for a person",
            rollout.why,
            f"mlspine promote {rollout.endpoint} {rollout.version}",
        )

    def settled(self, rollout: Rollout) -> None:
        """A new roll-out, or one that went well: what was said of those before is over."""
        self._monitoring.clear_alert(rollout.endpoint, CAUSE)

    def _raise(self, rollout: Rollout, severity: Severity, title: str, why: str, action: str) -> None:
        self._monitoring.raise_alert(
            rollout.endpoint, cause=CAUSE, severity=severity, title=title, why=why, action=action
        )
