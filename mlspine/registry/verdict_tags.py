"""What the registry itself says of a version, as tags that MLflow clients can read. Computed, never stored. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlspine.core.types import Evidence, ModelVersion


def verdict_of(version: ModelVersion, evidence: Sequence[Evidence]) -> Evidence | None:
    """The newest verdict of the promotion gate on this very release. evidence: of kind "gate", newest first."""
    if not version.release_hash:
        return None
    return next((each for each in evidence if each.document.get("release") == version.release_hash), None)


def said_tags(version: ModelVersion, verdict: Evidence | None) -> dict[str, str]:
    """Its release, what it lacks in short, and the gate's verdict with its numbers."""
    lacking = ", ".join(gap.partition(":")[0] for gap in version.missing)
    said = {"mlspine.release": version.release_hash, "mlspine.missing": lacking}
    if verdict is not None:
        said |= _verdict(verdict.document)
    return {key: value for key, value in said.items() if value}


def _verdict(document: dict[str, Any]) -> dict[str, str]:
    gain = document.get("gain") or {}
    found = {
        "mlspine.verdict": document.get("verdict"),
        "mlspine.verdict.against": document.get("against"),
        "mlspine.verdict.mode": document.get("mode"),
        "mlspine.verdict.metric": document.get("metric"),
        "mlspine.verdict.margin": document.get("margin"),
        "mlspine.verdict.gain": gain.get("value"),
        "mlspine.verdict.gain.low": gain.get("lo"),
        "mlspine.verdict.gain.high": gain.get("hi"),
        "mlspine.verdict.rows": document.get("judged_rows"),
        "mlspine.verdict.why": document.get("paragraph"),
    }
    return {key: str(value) for key, value in found.items() if value is not None}
