from __future__ import annotations

import msgspec

from mlspine.core.plan import Endpoint, LogSettings, Proof, Revision
from mlspine.core.types import (
    Alert,
    DriftReport,
    FeedState,
    Interval,
    LogSummary,
    Metric,
    ModelVersion,
    PerformanceReport,
)
from mlspine.monitoring.claims import Claim, Facts, Speed, answer

NOW = 1_760_000_000_000


def revision(number: int, version: int, cause: str = "serve") -> Revision:
    return Revision(
        endpoint="churn",
        number=number,
        version=version,
        release_hash=f"{version:064d}" if version else "",
        cause=cause,  # type: ignore[arg-type]
        log=LogSettings(),
        created_at_ms=NOW,
        actor="ada",
    )


METRIC = Metric(name="auc", status="ESTIMATED", interval=Interval(value=0.8, lo=0.7, hi=0.9), rows_from="out-of-fold")
VERSION = ModelVersion(
    model="churn",
    version=1,
    release_hash=f"{1:064d}",
    stage="Production",
    path="releases/1",
    created_at_ms=NOW,
    owner="ada@example.org",
    metric=METRIC,
    captured={"code": {"commit": "c0ffee" * 6, "dirty_digest": ""}},
)
PROOF = Proof(
    release_hash=VERSION.release_hash,
    recorded_rows=100,
    reproduced_rows=100,
    placement="loop",
    form="matrix",
    load_s=1.0,
    p50_s=0.001,
    p95_s=0.001,
    p99_s=0.001,
    capacity_rows_per_s=1e5,
)
LOG = LogSummary(
    endpoint="churn",
    rows=0,
    first_event_at_ms=0,
    last_event_at_ms=0,
    last_received_at_ms=0,
    segments=0,
    size_bytes=0,
    labelled_rows=0,
    parked_labels=0,
    dropped_rows=0,
)
FRESH = Facts(
    endpoint=Endpoint(name="churn", model="churn", current=revision(1, 1)),
    url="http://127.0.0.1:8080/endpoints/churn/predict",
    version=VERSION,
    proof=PROOF,
    revisions=(revision(1, 1),),
    switch_times={},
    speed=Speed(),
    log=LOG,
    report=None,
    rows_needed=500,
    quality=None,
    alerts=(),
    error_rate=0.01,
    now_ms=NOW,
)
JUDGED = DriftReport(
    endpoint="churn",
    release_hash=VERSION.release_hash,
    version=1,
    reference_id="r",
    from_at_ms=0,
    to_at_ms=NOW,
    rows=600,
    status="JUDGED",
    severity="OK",
    alpha=0.01,
    false_alarm_nominal=0.01,
    false_alarm_measured=None,
    seasonality="",
    features=(),
)


def states(facts: Facts) -> dict[str, str]:
    told = answer(facts)
    return {claim.name: claim.state for claim in (*told.questions, *told.checks)}


def with_(**changes: object) -> Facts:
    return msgspec.structs.replace(FRESH, **changes)


def test_there_are_five_questions_and_eight_checks() -> None:
    told = answer(FRESH)
    assert len(told.questions) == 5
    assert len(told.checks) == 8


def test_a_fresh_endpoint_is_warming_up_and_names_the_rows_it_needs() -> None:
    told = answer(FRESH)
    assert told.verdict == "warming up"
    assert "500 more rows" in told.why
    assert told.data.state == "waiting"


def test_nothing_is_green_that_was_not_exercised() -> None:
    found = states(FRESH)
    assert found["how it is rolled back"] == "amber"
    assert found["how it is updated"] == "amber"
    assert found["monitoring"] == "waiting"
    assert found["how data reaches it"] == "waiting"
    assert found["quality"] == "amber"


def test_a_rollback_done_turns_its_claim_green_with_the_time_it_took() -> None:
    revisions = (revision(1, 1), revision(2, 2, "promote"), revision(3, 1, "rollback"))
    told = answer(with_(revisions=revisions, switch_times={"3": 0.012}))
    claim = next(claim for claim in told.questions if claim.name == "how it is rolled back")
    assert claim.state == "green"
    assert "12 ms" in claim.evidence


def test_too_few_rows_are_never_green() -> None:
    insufficient = msgspec.structs.replace(JUDGED, status="INSUFFICIENT", rows=100)
    assert answer(with_(report=insufficient)).verdict == "warming up"


def test_a_judged_clean_window_is_healthy() -> None:
    log = msgspec.structs.replace(LOG, rows=600, last_received_at_ms=NOW)
    told = answer(with_(report=JUDGED, rows_needed=0, log=log))
    assert told.verdict == "healthy"
    assert told.data.state == "green"


def test_a_dead_serving_process_is_not_in_production() -> None:
    told = answer(with_(speed=None, report=JUDGED))
    assert told.verdict == "not in production"
    assert told.next_step == "mlspine up"


def test_recording_nothing_is_not_in_production() -> None:
    silent = msgspec.structs.replace(revision(1, 1), log=LogSettings(enabled=False))
    told = answer(with_(endpoint=Endpoint(name="churn", model="churn", current=silent)))
    assert told.verdict == "not in production"


def test_an_endpoint_rolled_back_past_its_first_release_cannot_answer() -> None:
    current = revision(2, 0, "rollback")
    told = answer(with_(endpoint=Endpoint(name="churn", model="churn", current=current), version=None, proof=None))
    assert told.verdict == "cannot answer"


def test_an_open_alert_is_the_verdict_and_the_worst_is_named() -> None:
    mild, bad = (
        Alert(
            id=str(n),
            endpoint="churn",
            cause=f"drift:x{n}:up",
            severity=severity,  # type: ignore[arg-type]
            title=f"x{n} moved",
            why="",
            action="",
            opened_at_ms=NOW,
            updated_at_ms=NOW,
        )
        for n, severity in enumerate(("WARNING", "CRITICAL"))
    )
    told = answer(with_(alerts=(mild, bad)))
    assert told.verdict == "alert"
    assert told.why.startswith("CRITICAL: x1 moved")


def test_measured_quality_replaces_the_figure_at_ship() -> None:
    measured = PerformanceReport(
        endpoint="churn",
        release_hash=VERSION.release_hash,
        from_at_ms=0,
        to_at_ms=NOW,
        as_of_ms=NOW,
        predicted_rows=1000,
        labelled_rows=900,
        coverage=0.9,
        status="FINAL",
        metrics=(msgspec.structs.replace(METRIC, rows=900, rows_from="labels"),),
    )
    told = answer(with_(quality=measured))
    assert told.quality.state == "green"
    assert "900 labelled rows" in told.quality.evidence
    worse = msgspec.structs.replace(measured, severity="WARNING")
    assert answer(with_(quality=worse)).quality.state == "red"


def test_failures_above_the_limit_are_red() -> None:
    assert answer(with_(speed=Speed(requests=1000, failures=50))).infrastructure.state == "red"
    assert answer(with_(speed=Speed(requests=1000, failures=5))).infrastructure.state == "green"


def feed(**changes: object) -> FeedState:
    known = FeedState(model="churn", role="source", text="fresh/*.csv", said="declared", last_read_at_ms=NOW - 60_000)
    return msgspec.structs.replace(known, **changes)


def answered(**changes: object) -> Facts:
    return with_(log=msgspec.structs.replace(LOG, rows=900, last_received_at_ms=NOW - 5000), **changes)


def claim(facts: Facts, name: str) -> Claim:
    told = answer(facts)
    return next(each for each in (*told.questions, *told.checks) if each.name == name)


def test_how_data_reaches_it_names_each_feed_and_when_it_was_read() -> None:
    labels = feed(role="labels", text="truth.csv", last_read_at_ms=0)
    told = claim(answered(feeds=(feed(), labels)), "how data reaches it")
    assert told.state == "amber"
    assert "fresh rows from fresh/*.csv, read 1 min ago; labels from truth.csv, not read yet" in told.evidence
    assert claim(answered(feeds=(feed(),)), "how data reaches it").state == "green"


def test_a_feed_with_a_problem_is_red_and_says_it() -> None:
    told = claim(answered(feeds=(feed(problem="no file fresh/*.csv"),)), "how data reaches it")
    assert (told.state, "fresh rows: no file fresh/*.csv" in told.evidence) == ("red", True)


def test_a_fault_of_a_feed_is_a_fault_of_data_reliability() -> None:
    alert = Alert(
        id="1",
        endpoint="churn",
        cause="feed:source:temp",
        severity="WARNING",
        title="churn: temp is gone at the source of fresh rows",
        why="",
        action="",
        opened_at_ms=1,
        updated_at_ms=1,
    )
    told = claim(answered(alerts=(alert,), feeds=(feed(),)), "data reliability")
    assert (told.state, told.evidence) == ("red", alert.title)
    assert "the source was checked 1 min ago" in claim(answered(feeds=(feed(),)), "data reliability").evidence
