"""What labels come to is kept up to date as they and their predictions come: always as if all were counted anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine.core.ids import uuid7
from mlspine.predictions import counting, segment, store
from mlspine.predictions.counting import bin_end_ms, delay_bin

from .conftest import BASE_MS, HOUR_MS, ME, Log, sample

DAY_MS = 24 * HOUR_MS


def anew(log: Log, endpoint: str = "shop") -> tuple[int, int]:
    """Labelled rows and waiting labels by a join over everything."""
    with segment.connect() as connection:
        scans = [
            segment.scan(
                [log.blobs.locate(each.key) for each in store.segments(log.db, endpoint=endpoint, kind=kind)], kind
            )
            for kind in ("outcomes", "labels")
        ]
        matched = f"select count(distinct (_id, _row)) from ({segment.matched_labels(*scans)})"
        found = connection.execute(matched).fetchone()
        parked = connection.execute(f"select count(*) from {scans[1]}").fetchone()
        joined = connection.execute(
            f"select count(distinct (source, seq, label_received_at)) from ({segment.matched_labels(*scans)})"
        ).fetchone()
    assert found is not None
    assert parked is not None
    assert joined is not None
    return int(found[0]), int(parked[0]) - int(joined[0])


def counted(log: Log) -> tuple[int, int]:
    summary = log.predictions.summary("shop")
    return summary.labelled_rows, summary.parked_labels


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.integers(0, 3), st.sampled_from(["k1", "k2", None]), st.integers(0, 60)),
        st.tuples(st.just("label id"), st.integers(0, 3), st.integers(0, 1), st.integers(0, 80)),
        st.tuples(st.just("label key"), st.sampled_from(["k1", "k2", "k3"]), st.integers(0, 1), st.integers(0, 80)),
        st.tuples(st.just("label all"), st.sampled_from(["k1", "k2"]), st.integers(0, 1), st.integers(0, 80)),
    ),
    min_size=2,
    max_size=7,
)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_kept_counts_are_those_of_a_join_over_everything(tmp_path_factory: Any, steps: list) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    ids = [uuid7() for _ in range(4)]
    answered: set[int] = set()
    try:
        for number, (what, whom, more, hour) in enumerate(steps):
            log.now_ms += 1_000
            at = BASE_MS + hour * HOUR_MS
            if what == "answer":
                if whom not in answered:
                    log.answer(sample(1), request_id=ids[whom], at_ms=at, keys=[more])
                    log.predictions.ingest()
                    answered.add(whom)
            else:
                name = {"id": [ids[whom]]} if what == "label id" else {"key": [whom]}
                table = {**name, "label": [more], "label_time": [at]}
                log.predictions.add_label_table("shop", table, source=str(number), all_matches=what == "label all")
        log.predictions.ingest()
        assert counted(log) == anew(log)
        days = log.predictions.label_days("shop")
        assert sum(day.labelled_rows for day in days) == counted(log)[0]
    finally:
        log.close()


def test_the_days_tell_which_labels_came_when_and_how_long_they_took(log: Log) -> None:
    ids = [f"{log.answer(sample(1), at_ms=BASE_MS + day * DAY_MS)}:0" for day in range(3)]
    log.predictions.add_label_table("shop", {"id": ids[:2], "label": [0, 1], "label_time": [BASE_MS + 2 * DAY_MS] * 2})
    first = log.predictions.label_days("shop")
    assert [(day.labelled_rows, day.changed) for day in first] == [(1, 1), (1, 1)]
    assert [day.delays for day in first] == [{delay_bin(2 * DAY_MS): 1}, {delay_bin(DAY_MS): 1}]
    log.predictions.add_label_table("shop", {"id": ids[1:], "label": [0, 0], "label_time": [BASE_MS + 3 * DAY_MS] * 2})
    after = log.predictions.label_days("shop")
    # A correction touches its day and adds no row; the first label tells the delay.
    assert [(day.labelled_rows, day.changed) for day in after] == [(1, 1), (1, 2), (1, 2)]
    assert after[1].delays == first[1].delays


def test_a_label_without_a_time_took_from_the_answer_to_its_receipt(log: Log) -> None:
    log.now_ms = BASE_MS + 400 * DAY_MS
    id_ = log.answer(sample(1), at_ms=BASE_MS, received_at_ms=log.now_ms - HOUR_MS)
    log.predictions.add_label_table("shop", {"id": [f"{id_}:0"], "label": [1]})
    (day,) = log.predictions.label_days("shop")
    assert day.delays == {delay_bin(HOUR_MS): 1}


def test_bins_of_delays_hold_what_they_say() -> None:
    for delay_ms in (0, 1, 999, 1_000, 5_000, HOUR_MS, 30 * DAY_MS, 10**15):
        number = delay_bin(delay_ms)
        assert delay_ms < bin_end_ms(number) or number == counting.LAST_BIN
        assert number == 0 or bin_end_ms(number - 1) <= delay_ms


def test_a_store_from_before_is_counted_on_the_first_occasion(log: Log) -> None:
    ids = [f"{log.answer(sample(1))}:0" for _ in range(3)]
    log.predictions.add_label_table("shop", {"id": [*ids, "unknown:0"], "label": [0, 1, 1, 0]})
    with log.db.write() as tx:
        tx.execute("delete from label_state")
        tx.execute("delete from label_day")
        tx.execute("update segment set first_id = null, last_id = null, keyed = null, settled = 0")
    log.reopen()
    assert counted(log) == (3, 1)
    log.answer(sample(1))
    log.predictions.ingest()
    assert counted(log) == (3, 1)
    assert store.label_state(log.db, "shop") is not None


def test_forgetting_and_expiry_are_counted(log: Log) -> None:
    ids = [f"{log.answer(sample(1), keys=[key])}:0" for key in ("a", "b")]
    log.predictions.add_label_table("shop", {"id": ids, "label": [0, 1]})
    log.predictions.forget("a", actor=ME)
    assert counted(log) == (1, 0)
    log.now_ms += 400 * DAY_MS
    log.predictions.housekeep()
    assert counted(log) == (0, 0)


def test_labels_read_only_the_files_they_can_be_of(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for day in range(6):
        at_ms = BASE_MS + day * DAY_MS
        ids.append(log.answer(sample(20), at_ms=at_ms, received_at_ms=at_ms, request_id=uuid7(at_ms)))
        log.predictions.ingest()
    read: set[str] = set()
    scan = segment.scan

    def noted(paths: Any, kind: Any) -> str:
        read.update(path for path in paths if kind == "outcomes")
        return scan(paths, kind)

    monkeypatch.setattr(segment, "scan", noted)
    log.predictions.add_label_table("shop", {"id": [f"{ids[0]}:{row}" for row in range(20)], "label": [1] * 20})
    # The newest file tells the type of the answers; of the others only the one of the ids is read.
    assert len(read) == 2
    read.clear()
    log.predictions.ingest()
    log.predictions.summary("shop")
    assert read == set()
    assert len(log.predictions.labelled("shop", from_at_ms=BASE_MS, to_at_ms=BASE_MS + DAY_MS)["label"]) == 20
    assert len(read) == 1


@pytest.mark.slow
def test_ten_thousand_late_labels_reach_one_of_twenty_files_of_a_million_predictions(tmp_path: Path) -> None:
    from benchmarks.monitoring import labels

    assert labels.write(tmp_path, 1_000_000)["rows"] == 1_000_000
    labels.make_labels(tmp_path, 1_000_000, 10_000, "late")
    found = labels.add(tmp_path, "late")
    assert found["read"] == found["matched"] + found["duplicates"] > 9_000
    assert found["parked"] == 0
    # Repeats change nothing, and a correction adds no row.
    assert found["labelled_rows"] < found["matched"]
    assert (found["files"], found["files_read"]) == (20, 1)
