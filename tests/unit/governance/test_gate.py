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
    }
    return msgspec.convert({**known, **changes}, type=Facts)


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize("tier", ["low", "medium", "high"])
def test_a_release_with_everything_passes_without_a_word(action: Action, tier: str) -> None:
    assert decide(action, facts(tier=tier)) == Decision(allowed=True)


@pytest.mark.parametrize("action", get_args(Action))
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
    if decision.allowed:
        assert decide("rollback", known).allowed
