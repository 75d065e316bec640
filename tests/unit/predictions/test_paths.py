"""Which way an answer took decides what it is evidence of: of a release, of a rule, or of a shadow nobody heard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine.core.config import LogConfig
from mlspine.core.errors import Invalid
from mlspine.predictions.segment import rows_of
from mlspine.stats.profile import decode as decode_profile

from .conftest import BASE_MS, HOUR_MS, ME, RELEASE, Log, sample

CANDIDATE = "c" * 64
SHADOW = "d" * 64


def divided(log: Log) -> dict[str, str]:
    """One request of two rows each way, with one shadow's view of the first; ids by path."""
    rows = sample(2)
    ids = {
        "live": log.answer(rows, keys=["anna", "bert"]),
        "candidate": log.answer(rows, path="candidate", release=CANDIDATE, version=2),
        "fallback": log.answer(rows, path="fallback", release="b" * 64, version=9),
        "rule": log.answer(rows, path="rule", prediction=np.array([7, 7]), score=np.array([np.nan, np.nan])),
    }
    log.answer(rows, path="shadow", release=SHADOW, version=3, request_id=ids["live"], keys=["anna", "bert"])
    log.predictions.ingest()
    return ids


def test_answers_belong_to_the_release_that_gave_them_and_a_shadow_s_to_no_log(log: Log) -> None:
    divided(log)
    assert log.ask("select _path, _release, _version, count(*) from log group by all order by 1") == [
        ["candidate", CANDIDATE, 2, 2],
        ["fallback", "b" * 64, 9, 2],
        ["live", RELEASE, 1, 2],
        ["rule", "", 0, 2],
    ]
    assert log.ask("select count(*), count(distinct _id) from outcomes") == [[8, 4]]
    summary = log.predictions.summary("shop")
    assert summary.rows == log.profile_rows() == 8
    assert SHADOW not in summary.rows_by_release
    assert all(each.release_hash != SHADOW for each in log.predictions.counters("shop"))


def test_a_shadow_s_answers_stand_beside_those_that_were_sent(log: Log) -> None:
    ids = divided(log)
    assert log.ask("select _id, _row, _release, _version, _key from shadow order by _row") == [
        [ids["live"], 0, SHADOW, 3, "anna"],
        [ids["live"], 1, SHADOW, 3, "bert"],
    ]
    compared = "select count(*), max(abs(s._score - l._score)) from shadow s join log l using (_id, _row)"
    assert log.ask(compared) == [[2, 0.0]]
    with pytest.raises(Invalid, match="failed") as caught:
        log.ask("select nothing from shadow")
    assert any(each.startswith("shadow: _id, _row, _key") for each in caught.value.details)


def test_an_answer_by_rule_enters_no_profile_of_a_model(log: Log) -> None:
    divided(log)
    windows = {each.release_hash: each for each in log.predictions.sub_windows("shop")}
    assert windows.keys() == {RELEASE, CANDIDATE, "b" * 64, ""}
    assert (windows[""].rows, windows[""].inputs, windows[""].outputs) == (2, b"", b"")
    assert log.references.outputs is not None
    assert decode_profile(windows[RELEASE].outputs, log.references.outputs).rows == 2
    assert "" not in log.predictions.event_spans("shop")


def test_a_label_of_an_answer_by_rule_is_no_evidence_about_a_release(log: Log) -> None:
    ids = divided(log)
    rows: list[dict[str, Any]] = [{"id": f"{ids[path]}:0", "label": 1} for path in ("live", "candidate", "rule")]
    assert log.predictions.add_labels("shop", rows=rows, actor=ME).matched == 3
    assert len(log.predictions.labelled("shop", release_hash=RELEASE)["label"]) == 1
    assert len(log.predictions.labelled("shop", release_hash=CANDIDATE)["label"]) == 1
    assert log.ask("select _release, count(*) from labelled group by 1 order by 1")[0] == ["", 1]


def test_a_label_by_key_goes_to_what_was_answered_not_to_what_a_shadow_thought(log: Log) -> None:
    log.answer(sample(1), keys=["anna"])
    log.answer(sample(1), keys=["anna"], path="shadow", release=SHADOW, at_ms=BASE_MS + HOUR_MS)
    log.predictions.ingest()
    log.predictions.add_labels("shop", rows=[{"key": "anna", "label": 1}], actor=ME)
    assert log.ask("select _release from labelled") == [[RELEASE]]


def test_rows_that_were_lost_are_counted_whatever_batch_tells_of_them(log: Log) -> None:
    log.answer(sample(1))
    log.answer(sample(1), path="shadow", release=SHADOW, dropped_rows=5)
    log.predictions.ingest()
    assert log.predictions.summary("shop").dropped_rows == 5


def test_a_shadow_learns_no_baseline_of_outputs(tmp_path: Any) -> None:
    log = Log(tmp_path, learning=True)
    log.answer(sample(1_200), path="shadow", release=SHADOW)
    log.answer(sample(10))
    log.predictions.ingest()
    assert log.predictions.learned("shop", SHADOW) is None
    log.close()


def test_forgetting_a_person_takes_what_a_shadow_made_of_them_too(log: Log) -> None:
    ids = divided(log)
    late = log.answer(sample(1), keys=["anna"])
    log.answer(sample(1), path="shadow", release=SHADOW, request_id=late)  # without the key
    receipt = log.predictions.forget("anna", actor=ME)
    assert (receipt.rows, receipt.shadow_rows) == (2, 2)
    assert log.ask("select _id, _row from shadow") == [[ids["live"], 1]]
    # What comes in later of the time before stays out as well.
    log.answer(sample(1), keys=["anna"], path="shadow", release=SHADOW)
    log.predictions.ingest()
    assert log.ask("select count(*) from shadow") == [[1]]


def test_a_shadow_s_answers_go_when_outcomes_go(tmp_path: Any) -> None:
    log = Log(tmp_path, config=LogConfig(retention_days=1, label_delay_days=3))
    divided(log)
    log.now_ms = BASE_MS + 2 * 24 * HOUR_MS
    log.predictions.housekeep()
    assert (log.ask("select count(*) from log"), log.ask("select count(*) from shadow")) == ([[0]], [[2]])
    log.now_ms = BASE_MS + 5 * 24 * HOUR_MS
    log.predictions.housekeep()
    assert log.ask("select count(*) from shadow") == [[0]]
    log.predictions.housekeep()  # files go one sweep later
    assert list(log.blobs.list("shadow/")) == []
    log.close()


PATHS = st.lists(st.sampled_from(["live", "candidate", "fallback", "rule", "shadow"]), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=PATHS, cut=st.integers(0, 12))
def test_rows_of_the_log_are_rows_of_outcomes_and_profiles_whatever_paths_are_mixed(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], cut: int
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    for n, path in enumerate(paths):
        log.answer(sample(1 + n % 3), path=path, release=CANDIDATE if path == "candidate" else RELEASE)
        if n == cut:
            log.predictions.ingest()
            log.db.close()
            log.reopen()
    log.predictions.ingest()
    rows = {"answers": 0, "shadow": 0}
    for n, path in enumerate(paths):
        rows["shadow" if path == "shadow" else "answers"] += 1 + n % 3
    held = {kind: log.ask(f"select count(*) from {kind}")[0][0] for kind in ("log", "outcomes", "shadow")}
    assert held == {"log": rows["answers"], "outcomes": rows["answers"], "shadow": rows["shadow"]}
    assert log.profile_rows() == rows["answers"] == sum(each.rows for each in log.predictions.counters("shop"))
    log.close()


def test_batches_of_one_release_in_two_roles_are_never_mixed() -> None:
    from mlspine.predictions.spool import Batch, encode_column

    def batch(path: str) -> Batch:
        return Batch(
            endpoint="shop",
            release_hash=RELEASE,
            version=1,
            revision=1,
            request_ids=["r"],
            row_counts=[1],
            received_at_ms=[1],
            latency_s=[0.0],
            inputs=[encode_column("age", np.array([1.0]))],
            prediction=encode_column("prediction", np.array([1])),
            path=path,
        )

    found = rows_of([batch(path) for path in ("live", "shadow", "rule", "candidate")])
    assert [(each.role, each.release_hash, each.size, list(each.inputs)) for each in found] == [
        ("release", RELEASE, 2, ["age"]),
        ("shadow", RELEASE, 1, []),
        ("rule", "", 1, ["age"]),
    ]
