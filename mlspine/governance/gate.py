"""The preflight gate: what must be known of a release before it may answer. Pure: facts in, decision out."""

from __future__ import annotations

from typing import Literal

from mlspine.core.types import Decision, Struct, Tier

# "restore" brings back what the store says already: judged like a way back, not like a new step. "move" points
# Production or a gated alias at a version while no endpoint answers with that model. "shadow" lets a release run
# beside the one that answers.
Action = Literal["serve", "promote", "rollback", "restore", "move", "shadow"]


class Facts(Struct, frozen=True, kw_only=True):
    """What the gate looks at. `reproduced_rows` of `recorded_rows`: the parity proof; 0 of 0: not yet run."""

    ref: str  # NAME:VERSION
    endpoint: str  # what changes: an endpoint, or the "Production of NAME" or "NAME@ALIAS" that moves
    tier: Tier  # the stricter one of the version and of what it replaces
    owner: str
    owner_assumed: bool
    trusted: bool
    first_deployment: bool
    rollback_target: bool
    baseline_present: bool
    missing_dependencies: tuple[str, ...] = ()
    recorded_rows: int = 0
    reproduced_rows: int = 0
    gate_refusal: str = ""  # what the promotion gate said of it last, where that was a refusal
    replaces: str = ""  # NAME:VERSION it takes the place of; "" when nothing stood there
    verdict: str = ""  # of the promotion gate on the two of them; "" when they were never compared
    fill: str = ""  # the command that fills in a version which came by an MLflow client; "" when it is whole
    came_back: bool = False  # a "move" that takes back the one before it
    approved: bool = False  # by a second person, for this release, and not used yet


def decide(action: Action, facts: Facts) -> Decision:
    """What stops this change and what is only said.

    Refused at every tier, where traffic changes: untrusted code, missing dependencies, recorded predictions not
    reproduced, no baseline. Warned at tier low and refused above it: those where no traffic changes, no named
    owner, a refusal by the promotion gate or no comparison at all, no way back (a first deployment has none and
    hears nothing of it). Refused at tier high alone: what nobody else approved, and a comparison that could not be
    estimated. A rollback is refused only for what would keep the release from answering as it did: paperwork never
    stands between an incident and the way back. A shadow answers nobody: it only has to be able to run.
    """
    if action == "shadow":
        return Decision(allowed=not _cannot_run(facts), refusals=tuple(_cannot_run(facts)), warnings=())
    way_back = action in ("rollback", "restore") or facts.came_back
    judged_gently = facts.tier == "low" or way_back
    refusals: list[str] = []
    warnings: list[str] = []
    by_tier = warnings if judged_gently else refusals
    (by_tier if action == "move" else refusals).extend(_cannot_run(facts))
    without_baseline = by_tier if action == "move" else warnings if way_back else refusals
    without_baseline.extend(_no_baseline(facts))
    by_tier.extend([*_no_owner(facts), *([] if action == "move" else _no_way_back(action, facts))])
    if not way_back:
        by_tier.extend([*_refused_by_promotion(facts), *_not_compared(facts)])
        (refusals if facts.tier == "high" else warnings).extend(_not_estimable(facts))
        refusals.extend(_not_approved(facts))
    return Decision(allowed=not refusals, refusals=tuple(refusals), warnings=tuple(warnings))


def _cannot_run(facts: Facts) -> list[str]:
    problems = []
    if not facts.trusted:
        problems.append(
            f"{facts.ref} came as a file whose code is not trusted yet;"
            f" when its origin is right: mlspine trust {facts.ref}"
        )
    if facts.missing_dependencies:
        names = " ".join(facts.missing_dependencies)
        problems.append(f"{facts.ref} needs packages that are not installed: pip install {names}")
    if facts.reproduced_rows < facts.recorded_rows:
        problems.append(
            f"{facts.ref}: only {facts.reproduced_rows} of {facts.recorded_rows} recorded predictions held;"
            f" compare the environments: mlspine status {facts.endpoint}"
        )
    return problems


def _no_baseline(facts: Facts) -> list[str]:
    if facts.baseline_present:
        return []
    again = "ship it again with its training rows: mlspine.ship(model, X, y, name=...)"
    way = f"fill it in: {facts.fill}" if facts.fill else again
    return [f"{facts.ref} has no baseline to judge live data by; {way}"]


def _no_owner(facts: Facts) -> list[str]:
    if facts.owner and not facts.owner_assumed:
        return []
    who = f"the owner {facts.owner} is assumed from git" if facts.owner else "nobody owns it"
    return [f'{facts.ref}: {who}; name one: mlspine.ship(..., owner="NAME")']


def _no_way_back(action: Action, facts: Facts) -> list[str]:
    if facts.rollback_target or facts.first_deployment:
        return []
    if action == "rollback":
        return [f"{facts.endpoint} has nothing further back; a second rollback ends in: cannot answer"]
    return [f"{facts.endpoint} would have no earlier release to go back to; ship and serve another one first"]


def _refused_by_promotion(facts: Facts) -> list[str]:
    if not facts.gate_refusal:
        return []
    return [f"{facts.gate_refusal} Judge it again on other rows: mlspine gate {facts.ref} --data FILE"]


def _not_compared(facts: Facts) -> list[str]:
    if not facts.replaces or facts.verdict:
        return []
    return [f"{facts.ref} was not compared with {facts.replaces}; compare them: mlspine gate {facts.ref}"]


def _not_estimable(facts: Facts) -> list[str]:
    if facts.verdict != "NOT_ESTIMABLE":
        return []
    return [
        f"whether {facts.ref} is better than {facts.replaces} could not be estimated;"
        f" judge it again on more rows: mlspine gate {facts.ref} --data FILE"
    ]


def _not_approved(facts: Facts) -> list[str]:
    if facts.tier != "high" or facts.approved:
        return []
    return [f"{facts.ref} needs the approval of a second person; theirs to type: mlspine approve {facts.ref}"]
