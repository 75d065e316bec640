"""Watched endpoints as the rest of the house meets them: status, drift, quality, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlspine.core.errors import Conflict, Invalid, NotFound
from mlspine.core.plan import LogSettings
from mlspine.watching.spec import read_spec
from tests.unit.watching.desk import ME, Desk, answered


def rows_of(frame: Any) -> list[dict[str, Any]]:
    features = ["amount", "age", "country"]
    return [
        {
            "id": f"r{at}",
            "event_time": row["ts"].isoformat(),
            "features": {name: row[name] for name in features},
            "prediction": row["prediction"],
            "score": row["score"],
            **({"label": row["label"]} if "label" in row else {}),
        }
        for at, row in enumerate(frame.to_dict("records"))
    ]


def test_rows_that_are_sent_are_judged_measured_and_shown_without_claims_about_processes(desk: Desk) -> None:
    desk.watch(owner="ada")
    rows = rows_of(answered(1500, seed=1, start="2026-05-30", seconds=20))
    receipt = desk.workspace.watching.record("fraud", rows)
    assert (receipt.received, receipt.recorded, receipt.duplicates, receipt.labels) == (1500, 1500, 0, 1500)
    again = desk.workspace.watching.record("fraud", rows)
    assert (again.recorded, again.duplicates, again.told_apart) == (0, 1500, True)
    reports = desk.workspace.monitoring.check("fraud", force=True)
    assert desk.counted() == 1500
    assert [each.rows for each in reports] == [540, 540]
    assert {each.severity for each in reports} == {"OK"}
    measured = desk.workspace.monitoring.quality("fraud")[0]
    assert (measured.labelled_rows, measured.metrics[0].name) == (1500, "auc")
    status = desk.workspace.status.read("fraud").endpoints[0]
    assert (status.verdict, status.url) == ("healthy", "")
    told = " ".join(each.evidence for each in (*status.questions, *status.checks, status.infrastructure))
    assert "somebody else's server" in told
    for unknowable in ("P99", "mlspine rollback", "kept warm", "promote", "drill"):
        assert unknowable not in told + status.next_step
    assert desk.workspace.deployment.plan().endpoints == ()


def test_a_shift_of_a_column_is_a_warning_as_for_a_served_model(desk: Desk) -> None:
    desk.watch()
    desk.workspace.watching.record("fraud", rows_of(answered(3000, seed=2, start="2026-05-30", shift=15, seconds=10)))
    desk.workspace.monitoring.check("fraud", force=True)
    assert any(alert.cause.startswith("drift:amount") for alert in desk.workspace.monitoring.alerts("fraud"))
    assert desk.workspace.status.read("fraud").endpoints[0].verdict == "alert"


def test_nothing_is_served_promoted_or_rolled_back_and_each_refusal_says_why(desk: Desk) -> None:
    watched = desk.watch()
    deployment = desk.workspace.deployment
    for asked in (
        lambda: deployment.serve("fraud", actor=ME),
        lambda: deployment.promote("fraud", 1, actor=ME),
        lambda: deployment.rollback("fraud", actor=ME),
    ):
        with pytest.raises(Invalid, match="somebody else's server"):
            asked()
    with pytest.raises(Conflict):
        desk.workspace.moves.delete("fraud", actor=ME)
    assert deployment.get("fraud").current.cause == "watch"
    assert watched.version.stage == "Production"


def test_another_reference_is_a_new_version_and_the_same_again_changes_nothing(desk: Desk) -> None:
    first = desk.watch()
    assert desk.watch() == first
    second = desk.watch(rows=answered(3000, seed=9))
    assert (second.version.version, second.revision) == (2, 2)
    assert desk.workspace.registry.get("fraud", 1).stage == "Archived"
    spec = read_spec(desk.workspace.path, "fraud")
    assert spec is not None
    assert (spec.version, spec.release_hash) == (2, second.version.release_hash)
    actions = [each.action for each in desk.workspace.governance.entries(limit=10)]
    assert actions.count("watch") == actions.count("ship") == 2


def test_a_redacted_column_never_reaches_the_log(desk: Desk) -> None:
    desk.watch(log=LogSettings(redact=("country",)))
    desk.workspace.watching.record("fraud", rows_of(answered(20)))
    assert desk.logged("select count(*) from (describe log) where column_name = 'country'") == 0
    with pytest.raises(Invalid, match="cannot redact 'contry'"):
        desk.watch(log=LogSettings(redact=("contry",)))


def test_outputs_are_learned_where_the_reference_has_none(desk: Desk) -> None:
    desk.watch(rows=answered(3000)[["amount", "age", "country", "ts"]], task="binary")
    frame = answered(2500, seed=3, start="2026-05-30", seconds=20)
    desk.workspace.watching.record("fraud", rows_of(frame))
    release_hash = desk.workspace.deployment.get("fraud").current.release_hash
    learned = desk.workspace.predictions.learned("fraud", release_hash)
    assert learned is not None
    assert learned.rows == 1000


def test_rows_that_cannot_be_kept_are_told_one_by_one_and_the_others_kept(desk: Desk) -> None:
    desk.watch()
    good = {"features": {"amount": 1, "age": 2, "country": "de"}, "prediction": 1, "score": 0.9}
    rows: list[Any] = [
        good,
        {**good, "features": {"amount": "much"}},
        {**good, "prediction": None, "score": None},
        {"features": {"amont": 1}, "prediction": 1},
        {**good, "event_time": "tomorrow"},
        {**good, "event_time": "2027-01-01T00:00:00Z"},
        {**good, "score": "high"},
        {**good, "prediction": "maybe"},
        [1, 2, 3],
        {**good, "features": [1, 2]},
        {**good, "laebl": 1},
        {"features": {"amount": {"of": 3}}, "prediction": 1},
        {"features": {"amount": 3, "age": 2.5}, "prediction": 0},
    ]
    receipt = desk.workspace.watching.record("fraud", rows)
    assert (receipt.recorded, receipt.refused_rows, receipt.told_apart) == (1, 12, False)
    told = {each.row: each.why for each in receipt.refused}
    assert told[1] == "amount: 'much' is not a number"
    assert told[2] == "no prediction"
    assert told[3] == "it has none of the features amount, age, country"
    assert told[5] == 'event_time: "2027-01-01T00:00:00Z" is more than a day ahead of now'
    assert told[7] == 'prediction: "maybe" is not what fraud answers'
    assert told[8] == "a row is an object, this is [1,2,3]"
    assert told[10] == "'laebl' is no part of a row; label?"
    assert told[12] == "age: 2.5 is not a whole number"
    assert sorted(told) == list(range(1, 13))


def test_absent_values_are_missing_values_and_scores_alone_are_answers(desk: Desk) -> None:
    desk.watch(threshold=0.8)
    rows = [{"features": {"amount": 1}, "score": share} for share in (0.79, 0.8, np.nan)]
    receipt = desk.workspace.watching.record("fraud", [*rows[:2], {"amount": 2, "score": 0.95, "age": None}])
    assert receipt.recorded == 3
    mixed = [{"amount": 3, "score": 0.99, "prediction": 0}, {"amount": 3, "score": 0.995}]
    assert desk.workspace.watching.record("fraud", mixed).recorded == 2
    assert desk.logged("select list(_prediction order by _score) from log") == [0, 1, 1, 0, 1]
    assert desk.logged("select count(*) from log where age is null and country is null") == 5


def test_flat_rows_may_call_time_and_outputs_as_the_reference_does(desk: Desk) -> None:
    desk.watch(rows=answered(900).rename(columns={"prediction": "yhat", "label": "outcome"}))
    row = {"amount": 1, "age": 2, "country": "de", "ts": "2026-05-03T04:05:06", "yhat": 1, "outcome": 0, "id": "a"}
    assert desk.workspace.watching.record("fraud", [row]).labels == 1
    assert desk.logged("select _prediction from log where _event_time = '2026-05-03 04:05:06'") == 1


def test_names_that_are_not_watched_are_told(desk: Desk) -> None:
    with pytest.raises(NotFound, match="no endpoint"):
        desk.workspace.watching.record("fraud", [{}])
    desk.watch()
    with pytest.raises(Invalid, match="no rows"):
        desk.workspace.watching.record("fraud", [])
    with pytest.raises(Invalid, match="nobody said where the log"):
        desk.workspace.watching.read("fraud")
