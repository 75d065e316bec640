"""Experiments: names under which runs are gathered."""

from __future__ import annotations

from typing import Literal

from mlspine.core.types import Struct

Lifecycle = Literal["active", "deleted"]
View = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
DEFAULT = 0


class Experiment(Struct, frozen=True, kw_only=True):
    """One experiment. Number 0 is there from the start; a deleted one keeps its name until it is gone for good."""

    id: int
    name: str
    artifact_location: str
    lifecycle_stage: Lifecycle
    created_at_ms: int
    updated_at_ms: int
    tags: dict[str, str] = {}
