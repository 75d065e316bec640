"""The door of retraining: what a renewal or a gate came to becomes evidence, a ledger line and a stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mlspine.core.ids import now_ms
from mlspine.core.public import public
from mlspine.core.types import Actor, Evidence, ModelVersion, Struct
from mlspine.governance.promotion import Comparison, Mode, Verdict, judge
from mlspine.governance.service import Governance
from mlspine.ports import Database
from mlspine.registry.service import Registry


class Attempt(Struct, frozen=True, kw_only=True):
    """One run of a recipe: what it was fitted on and how long that took. `parent`: the version it renews."""

    parent: int
    rows: int
    rows_from: str
    recipe: str
    seed: int
    fitted_s: float
    warnings: tuple[str, ...] = ()


class Concluded(Struct, frozen=True, kw_only=True):
    """A verdict, and whether it moved the version to Staging."""

    version: ModelVersion
    verdict: Verdict
    staged: bool
    attempt: Attempt | None = None


class Retraining:
    """Judges and records. Fitting and comparing happen where the person is (`renewal`), never in control."""

    def __init__(
        self, *, db: Database, registry: Registry, governance: Governance, clock: Callable[[], int] = now_ms
    ) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._clock = clock

    @public("administer")  # the figures are the caller's own: whoever reports them is believed
    def conclude(
        self, comparison: Comparison, *, mode: Mode, attempt: Attempt | None = None, actor: Actor, reason: str = ""
    ) -> Concluded:
        """Judge a comparison by the gate and act on the verdict, all in one transaction.

        Deposits evidence "gate" and, with an attempt, "retrain" on the model. Ledger: "retrain" for an attempt,
        "stage" when the verdict moves a version that is in no stage yet to Staging.
        """
        verdict = judge(comparison, mode)
        subject = f"model:{comparison.model}"
        with self._db.write():
            version = self._registry.get(comparison.model, comparison.candidate)
            facts = _facts(version, verdict)
            self._governance.record_evidence(
                "gate", subject, actor, passed=verdict.passed, document={**facts, **_plain(verdict)}
            )
            if attempt is not None:
                document = {**facts, **msgspec.to_builtins(attempt)}
                self._governance.record_evidence("retrain", subject, actor, passed=True, document=document)
                self._governance.record("retrain", subject, actor, reason, document)
            staged = verdict.passed and version.stage in ("None", "Archived")
            if staged:
                self._registry.set_stage(version.model, version.version, "Staging")
                moved = {**facts, "stage": "Staging", "previous_stage": version.stage}
                self._governance.record("stage", subject, actor, verdict.paragraph, moved)
                version = msgspec.structs.replace(version, stage="Staging")
        return Concluded(version=version, verdict=verdict, staged=staged, attempt=attempt)

    @public("administer")
    def failed(self, model: str, *, why: str, parent: int, actor: Actor) -> Evidence:
        """Keep that a renewal was tried and did not get as far as a candidate: evidence "retrain", not passed."""
        version = self._registry.get(model, parent)
        return self._governance.record_evidence(
            "retrain", f"model:{version.model}", actor, passed=False, document={"parent": parent, "why": why}
        )


def _facts(version: ModelVersion, verdict: Verdict) -> dict[str, Any]:
    gain = verdict.comparison.gain
    return {
        "version": version.version,
        "release": version.release_hash,
        "against": verdict.comparison.production,
        "verdict": verdict.status,
        "mode": verdict.mode,
        "metric": gain.metric,
        "margin": verdict.margin,
        "gain": msgspec.to_builtins(gain.interval),
        "judged_rows": gain.rows,
    }


def _plain(verdict: Verdict) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(verdict)
    return plain
