"""How far a workspace has come, how far it needs to, and what that costs elsewhere. Pure.

The figures are planning figures of the trade, shown beside the workspace's own; nothing is decided by them.
"""

from __future__ import annotations

from typing import Literal

from mlspine.advisor.facts import Facts
from mlspine.core.types import Struct

Level = Literal[0, 1, 2, 3]
DOZENS, HUNDREDS = 12, 100


class Stage(Struct, frozen=True, kw_only=True):
    """A stretch of growth by models in production, what belongs to it, and what it is planned to cost."""

    name: str
    least_models: int
    adds: str
    defers: str
    plan: str


STAGES = (
    Stage(
        name="first proof of concept",
        least_models=0,
        adds="tracking, artefact store",
        defers="everything else",
        plan="",
    ),
    Stage(
        name="first production model",
        least_models=1,
        adds="serving, registry, dashboard, alerts: all built in",
        defers="feature store, orchestration",
        plan="50-500 USD/month and 2-3 days",
    ),
    Stage(
        name="3-5 models",
        least_models=3,
        adds="pipelines, a retraining policy, action on drift",
        defers="cluster, feature store",
        plan="50-500 USD/month and 2-3 days per model",
    ),
    Stage(
        name="5-10 models",
        least_models=6,
        adds="shared pipelines, capacity planning, an orchestrator if measured",
        defers="feature store service unless features are shared",
        plan="1,000-5,000 USD/month and 2-4 weeks",
    ),
    Stage(
        name="10+ models",
        least_models=11,
        adds="feature store, experiments at scale, dedicated people",
        defers="all but one thing at a time",
        plan="2-4 engineers per 10-30 data scientists",
    ),
)


class Maturity(Struct, frozen=True, kw_only=True):
    """level: what was exercised. target: what the need asks for. missing: from the level to the next one needed."""

    stage: str
    plan: str
    level: Level
    target: Level
    missing: tuple[str, ...]


def stage_of(models: int) -> Stage:
    """The stage of so many models in production.

    >>> stage_of(1).name, stage_of(5).name, stage_of(12).name
    ('first production model', '3-5 models', '10+ models')
    """
    return next(stage for stage in reversed(STAGES) if models >= stage.least_models)


def target(models: int) -> Level:
    """The level that so many models need, and never more.

    >>> target(0), target(4), target(30), target(200)
    (0, 1, 2, 3)
    """
    if models == 0:
        return 0
    return 1 if models < DOZENS else 2 if models < HUNDREDS else 3


def maturity(facts: Facts) -> Maturity:
    """Level 0 to 3 from what was exercised: each level needs all of those below it."""
    needed = target(len(facts.served))
    level: Level = 0
    missing: tuple[str, ...] = ()
    for reached, of_level in ((1, _first_level), (2, _second_level), (3, _third_level)):
        missing = of_level(facts)
        if missing or not facts.served:
            break
        level = reached  # type: ignore[assignment]  # one of the three above
    stage = stage_of(len(facts.served))
    return Maturity(
        stage=stage.name,
        plan=stage.plan,
        level=level,
        target=needed,
        missing=missing if level < needed else (),
    )


def _first_level(facts: Facts) -> tuple[str, ...]:
    """By hand, but repeatable and watched."""
    missing = []
    for model in facts.served:
        missing += [f"{model.name}: {gap.name}" for gap in model.gaps]
        if not model.rollback_exercised and not any(gap.name == "rollback" for gap in model.gaps):
            missing.append(f"{model.name}: rollback")
    if not facts.alert_delivered:
        missing.append("an alert that reached somebody")
    return tuple(missing)


def _second_level(facts: Facts) -> tuple[str, ...]:
    """Renewal and its proof run without somebody's memory."""
    missing = [f"{model.name}: labels by a feed" for model in facts.served if not model.labels.feed]
    missing += [
        f"{model.name}: a retraining that ended at the gate"
        for model in facts.served
        if not model.retrains_by_hand + model.retrains_by_itself
    ]
    return tuple(missing + ([] if facts.practice.ci else ["CI in the repository"]))


def _third_level(facts: Facts) -> tuple[str, ...]:
    """Models renew themselves."""
    return tuple(f"{model.name}: renewed by itself" for model in facts.served if not model.retrains_by_itself)
