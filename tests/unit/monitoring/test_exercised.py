"""No claim is green for what is merely configured, nor for what was exercised too long ago or failed since."""

from __future__ import annotations

import msgspec
import pytest

from mlspine.core.types import Evidence, FeedState
from mlspine.monitoring.claims import Facts
from mlspine.monitoring.exercised import DAY_MS, HOLDS_DAYS
from tests.unit.monitoring.test_status import FRESH, JUDGED, LOG, NOW, claim, revision, states, with_

# Everything a person can set up without exercising anything: processes up and answering the health check, an owner,
# a committed recipe, feeds declared, sinks named, a complete card, an earlier version to go back to.
CARD = {"said": {"owner": "ada@example.org"}, "gaps": []}


def evidence(kind: str, *, passed: bool = True, days_ago: float = 0, document: object = None) -> Evidence:
    return Evidence(
        id=f"{kind}-{days_ago}",
        kind=kind,
        subject="endpoint:churn",
        passed=passed,
        at_ms=NOW - int(days_ago * DAY_MS),
        actor="ada",
        document=document or {},  # type: ignore[arg-type]
    )


CONFIGURED = with_(
    endpoint=msgspec.structs.replace(FRESH.endpoint, previous=revision(1, 1)),
    proof=None,
    sinks=2,
    feeds=(
        FeedState(model="churn", role="source", text="fresh/*.csv", said="declared"),
        FeedState(model="churn", role="labels", text="labels.csv", said="declared"),
    ),
    evidence=(evidence("card", document=CARD),),
)


def test_with_everything_configured_and_nothing_exercised_only_the_commit_is_green() -> None:
    green = {name for name, state in states(CONFIGURED).items() if state == "green"}
    assert green == {"code versioned"}  # measured when it was shipped


def judged(**changes: object) -> Facts:
    log = msgspec.structs.replace(LOG, rows=600, last_received_at_ms=NOW)
    return with_(report=JUDGED, rows_needed=0, log=log, **changes)


def test_monitoring_is_green_only_when_telling_somebody_was_seen_to_work() -> None:
    assert claim(judged(), "monitoring").state == "amber"
    assert "mlspine up --notify" in claim(judged(), "monitoring").evidence
    assert "mlspine alerts test" in claim(judged(sinks=1), "monitoring").evidence
    assert claim(judged(sinks=1, evidence=(evidence("alert-test"),)), "monitoring").state == "green"
    assert claim(judged(sinks=1, delivered_at_ms=NOW), "monitoring").state == "green"
    assert claim(judged(sinks=1, evidence=(evidence("alert-test", passed=False),)), "monitoring").state == "red"
    # tried once, and the sink was taken away since
    assert claim(judged(sinks=0, evidence=(evidence("alert-test"),)), "monitoring").state == "amber"
    assert claim(with_(sinks=1, evidence=(evidence("alert-test"),)), "monitoring").state == "waiting"


@pytest.mark.parametrize("days", [0, HOLDS_DAYS])
def test_a_drilled_rollback_counts_for_a_while(days: int) -> None:
    drilled = with_(evidence=(evidence("drill:rollback", days_ago=days),))
    assert claim(drilled, "how it is rolled back").state == "green"
    assert claim(drilled, "rollback").state == "green"
    old = with_(evidence=(evidence("drill:rollback", days_ago=HOLDS_DAYS + 1),))
    told = claim(old, "rollback")
    assert (told.state, "mlspine drill churn rollback" in told.evidence) == ("amber", True)


def test_a_rollback_done_long_ago_has_to_be_exercised_again() -> None:
    long_ago = msgspec.structs.replace(revision(2, 1, "rollback"), created_at_ms=NOW - (HOLDS_DAYS + 1) * DAY_MS)
    facts = with_(revisions=(revision(1, 2), long_ago))
    assert claim(facts, "rollback").state == "amber"
    drilled = msgspec.structs.replace(facts, evidence=(evidence("drill:rollback"),))
    assert claim(drilled, "rollback").state == "green"


def test_a_drill_that_failed_since_turns_the_claim_red() -> None:
    drills = (evidence("drill:rollback", days_ago=5), evidence("drill:rollback", passed=False, days_ago=1))
    assert claim(with_(evidence=drills), "rollback").state == "red"
    assert claim(with_(evidence=drills), "documentation").state == "red"


def test_coming_forward_after_a_rollback_is_no_update() -> None:
    forward = (revision(1, 1), revision(2, 0, "rollback"), revision(3, 1, "promote"))
    assert claim(with_(revisions=forward), "how it is updated").state == "amber"
    newer = (*forward, revision(4, 2, "promote"))
    assert claim(with_(revisions=newer), "how it is updated").state == "green"


def test_a_drilled_renewal_shows_how_it_is_updated_and_a_mere_candidate_does_not() -> None:
    assert claim(with_(evidence=(evidence("retrain"),)), "how it is updated").state == "amber"
    assert claim(with_(evidence=(evidence("drill:retrain"),)), "how it is updated").state == "green"


def test_documentation_is_green_once_an_owner_is_named_and_the_runbooks_were_followed() -> None:
    drills = (evidence("drill:deploy"), evidence("drill:rollback"))
    assert claim(with_(), "documentation").state == "amber"
    assert claim(with_(evidence=drills), "documentation").state == "green"
    assert claim(with_(evidence=drills[:1]), "documentation").state == "amber"
    nobody = msgspec.structs.replace(FRESH.version, owner="", owner_assumed=False)
    assert claim(with_(version=nobody, evidence=drills), "documentation").state == "amber"
    on_card = (*drills, evidence("card", document={"said": {"owner": "ada"}, "gaps": ["value"]}))
    told = claim(with_(version=nobody, evidence=on_card), "documentation")
    assert (told.state, "card without value" in told.evidence) == ("green", True)
