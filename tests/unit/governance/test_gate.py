"""The preflight gate: what stops a change, what is only said."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.types import Decision
from mlspine.governance.gate import Action, Facts, decide


def facts(**changes: Any) -> Facts:
    known = {
        "ref": "churn:2",
        "endpoint": "churn",
        "tier": "low",
        "owner": "ann@example.org",
        "owner_assumed": False,
        "trusted": True,
        "first_deployment": False,
        "rollback_target": True,
        "baseline_present": True,
        "missing_dependencies": [],
        "approved": True,
    }
    return msgspec.convert({**known, **changes}, type=Facts)


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize("tier", ["low", "medium", "high"])
def test_a_release_with_everything_passes_without_a_word(action: Action, tier: str) -> None:
    assert decide(action, facts(tier=tier)) == Decision(allowed=True)


@pytest.mark.parametrize("action", [each for each in get_args(Action) if each != "move"])
@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"trusted": False}, "mlspine trust churn:2"),
        ({"missing_dependencies": ["lightgbm", "polars"]}, "pip install lightgbm polars"),
        ({"recorded_rows": 100, "reproduced_rows": 99}, "mlspine status churn"),
    ],
)
def test_what_cannot_answer_as_it_did_is_refused_always(action: Action, changes: dict[str, Any], command: str) -> None:
    decision = decide(action, facts(**changes))
    assert not decision.allowed
    assert len(decision.refusals) == 1
    assert command in decision.refusals[0]


@pytest.mark.parametrize("action", ["serve", "promote"])
def test_no_baseline_is_refused_at_every_tier(action: Action) -> None:
    decision = decide(action, facts(baseline_present=False))
    assert not decision.allowed
    assert "mlspine.ship(" in decision.refusals[0]


@pytest.mark.parametrize("missing", [{"owner": ""}, {"owner_assumed": True}, {"rollback_target": False}])
@pytest.mark.parametrize("action", ["serve", "promote"])
def test_owner_and_way_back_are_warned_of_at_low_and_refused_above(action: Action, missing: dict[str, Any]) -> None:
    low = decide(action, facts(**missing))
    assert low.allowed
    assert len(low.warnings) == 1
    for tier in ("medium", "high"):
        above = decide(action, facts(tier=tier, **missing))
        assert (above.allowed, above.refusals, above.warnings) == (False, low.warnings, ())


@pytest.mark.parametrize("tier", ["low", "medium", "high"])
def test_a_first_deployment_hears_nothing_of_a_way_back(tier: str) -> None:
    assert decide("serve", facts(tier=tier, first_deployment=True, rollback_target=False)) == Decision(allowed=True)


def test_paperwork_never_stops_a_rollback() -> None:
    decision = decide("rollback", facts(tier="high", owner="", rollback_target=False, baseline_present=False))
    assert decision.allowed
    assert len(decision.warnings) == 3


def test_every_problem_is_named_at_once() -> None:
    decision = decide(
        "serve",
        facts(tier="high", owner="", trusted=False, baseline_present=False, missing_dependencies=["xgboost"]),
    )
    assert len(decision.refusals) == 4


@given(
    tier=st.sampled_from(["low", "medium", "high"]),
    flags=st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in (
                "owner_assumed",
                "trusted",
                "first_deployment",
                "rollback_target",
                "baseline_present",
            )
        }
    ),
    action=st.sampled_from(get_args(Action)),
)
def test_allowed_means_exactly_no_refusal_and_rollback_is_the_most_lenient(
    tier: str, flags: dict[str, bool], action: Action
) -> None:
    known = facts(tier=tier, **flags)
    decision = decide(action, known)
    assert decision.allowed == (not decision.refusals)
    if decision.allowed and action != "move":  # which changes no traffic: what cannot run is only said at tier low
        assert decide("rollback", known).allowed


# ---------------------------------------------------------------- moves: stages and gated aliases


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"trusted": False}, "mlspine trust churn:2"),
        ({"baseline_present": False, "fill": "mlspine ship models:/churn/2 --data ROWS"}, "models:/churn/2"),
        ({"replaces": "churn:1"}, "mlspine gate churn:2"),
        ({"gate_refusal": "churn:2 does not pass the gate.", "verdict": "REFUSED"}, "mlspine gate churn:2"),
    ],
)
def test_a_move_lacking_evidence_is_warned_of_at_tier_low_and_refused_above(
    changes: dict[str, Any], command: str
) -> None:
    low = decide("move", facts(**changes))
    assert low.allowed
    assert command in low.warnings[0]
    for tier in ("medium", "high"):
        assert decide("move", facts(tier=tier, **changes)).refusals == low.warnings


@pytest.mark.parametrize("action", ["promote", "serve"])
def test_a_step_forward_above_tier_low_needs_a_comparison(action: Action) -> None:
    unjudged = facts(tier="medium", replaces="churn:1")
    assert "was not compared with churn:1" in decide(action, unjudged).refusals[0]
    assert decide(action, msgspec.structs.replace(unjudged, verdict="PASSED")).allowed
    assert decide("rollback", unjudged).allowed


def test_what_could_not_be_estimated_is_said_and_at_tier_high_refused() -> None:
    known = facts(tier="medium", replaces="churn:1", verdict="NOT_ESTIMABLE")
    assert "could not be estimated" in decide("move", known).warnings[0]
    assert not decide("move", msgspec.structs.replace(known, tier="high")).allowed


def test_tier_high_needs_a_second_person_unless_it_goes_back() -> None:
    alone = facts(tier="high", approved=False)
    for action in ("serve", "promote", "move"):
        assert "mlspine approve churn:2" in decide(action, alone).refusals[0]  # type: ignore[arg-type]
    assert decide("rollback", alone).allowed
    assert decide("move", msgspec.structs.replace(alone, came_back=True)).allowed
    assert decide("promote", msgspec.structs.replace(alone, tier="medium")).allowed
