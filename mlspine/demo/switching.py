"""What a switch did while callers kept calling, as figures and words."""

from __future__ import annotations

from typing import Literal

from mlspine.core.types import ModelVersion
from mlspine.demo.chart import spell
from mlspine.demo.figures import SwitchUnderLoad
from mlspine.demo.page import measure
from mlspine.demo.replay import Outcome
from mlspine.deployment.service import Switched


def switch_figures(
    verb: Literal["promote", "rollback"], switched: Switched, outcome: Outcome, *, asked_at_ms: int, connections: int
) -> SwitchUnderLoad:
    """A promote or rollback with what callers saw of it meanwhile."""
    proof = switched.proof
    return SwitchUnderLoad(
        verb=verb,
        from_version=switched.previous_version,
        to_version=switched.revision.version,
        requests=len(outcome.answers),
        failed=outcome.failed,
        requests_per_s=len(outcome.answers) / outcome.seconds,
        connections=connections,
        p50_s=outcome.quantile_s(0.5),
        p99_s=outcome.quantile_s(0.99),
        ready_s=max(0.0, (switched.committed_at_ms - asked_at_ms) / 1000),
        effective_s=switched.effective_s,
        seen_by_callers_s=outcome.effective_s(
            old_version=switched.previous_version, committed_at_ms=switched.committed_at_ms
        ),
        reproduced_rows=proof.reproduced_rows if proof else 0,
        recorded_rows=proof.recorded_rows if proof else 0,
    )


def quality_text(version: ModelVersion) -> str:
    """What a release was measured at when it was shipped."""
    metric = version.metric
    if metric is None or metric.interval is None:
        return "quality not estimable"
    return f"{measure(metric.name)} {spell(metric.interval)}"


def proof_text(switched: Switched) -> str:
    """What the serving process reproduced before it took the release."""
    proof = switched.proof
    return f"{proof.reproduced_rows} of {proof.recorded_rows} recorded predictions reproduced" if proof else ""
