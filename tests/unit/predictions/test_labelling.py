"""Labels find their predictions: by id and key, in any order, early or late, once or often."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.core.errors import Invalid
from mlspine.core.ids import uuid7
from mlspine.predictions import segment
from mlspine.predictions.labelling import unmatched_labels

from .conftest import BASE_MS, HOUR_MS, ME, Log, sample


def milliseconds(stamps: np.ndarray) -> list[int]:
    return stamps.astype("datetime64[ms]").astype(int).tolist()


def current(log: Log, **window: Any) -> list[tuple[int, Any]]:
    """(event time, label) of what is labelled."""
    found = log.predictions.labelled("shop", **window)
    return list(zip(milliseconds(found["event_time"]), found["label"].tolist(), strict=True))


def test_a_label_by_id_finds_its_row(log: Log) -> None:
    request_id = log.answer(sample(3), at_ms=[BASE_MS, BASE_MS + 1, BASE_MS + 2])
    receipt = log.predictions.add_label_table("shop", {"id": [f"{request_id}:1"], "label": [1]})
    assert (receipt.read, receipt.matched, receipt.parked, receipt.duplicates) == (1, 1, 0, 0)
    assert current(log) == [(BASE_MS + 1, 1)]
    found = log.predictions.labelled("shop")
    assert (found["prediction"].tolist(), found["score"].tolist()) == ([0], [0.5])
    assert log.predictions.summary("shop").labelled_rows == 1


def test_a_bare_id_is_the_only_row_of_its_request_and_refused_when_there_are_more(log: Log) -> None:
    single, double = log.answer(sample(1)), log.answer(sample(2))
    log.predictions.add_label_table("shop", {"id": [single], "label": [0]})
    assert current(log) == [(BASE_MS, 0)]
    with pytest.raises(Invalid, match=f"{double}:0"):
        log.predictions.add_label_table("shop", {"id": [double], "label": [0]})


def test_a_label_before_its_prediction_waits_for_it(log: Log) -> None:
    request_id = uuid7()
    receipt = log.predictions.add_label_table("shop", {"id": [f"{request_id}:0"], "label": [1]})
    assert (receipt.matched, receipt.parked) == (0, 1)
    assert receipt.examples_unmatched == (f"{request_id}:0",)
    assert log.predictions.summary("shop").parked_labels == 1
    log.answer(sample(1), request_id=request_id)
    log.predictions.ingest()
    assert current(log) == [(BASE_MS, 1)]
    summary = log.predictions.summary("shop")
    assert (summary.labelled_rows, summary.parked_labels) == (1, 0)


def test_a_key_means_the_latest_prediction_no_later_than_the_label(log: Log) -> None:
    for hour in range(3):
        log.answer(sample(1), at_ms=BASE_MS + hour * HOUR_MS, keys=["k"])
    table = {"key": ["k"], "label": [1], "label_time": [BASE_MS + HOUR_MS]}
    assert log.predictions.add_label_table("shop", table).matched == 1
    assert current(log) == [(BASE_MS + HOUR_MS, 1)]
    early = {"key": ["k"], "label": [1], "label_time": [BASE_MS - 1]}
    assert log.predictions.add_label_table("shop", early).parked == 1


def test_a_key_can_mean_all_predictions_up_to_the_label(log: Log) -> None:
    for hour in range(3):
        log.answer(sample(1), at_ms=BASE_MS + hour * HOUR_MS, keys=["k"])
    table = {"key": ["k"], "label": [1], "label_time": [BASE_MS + HOUR_MS]}
    log.predictions.add_label_table("shop", table, all_matches=True)
    assert current(log) == [(BASE_MS, 1), (BASE_MS + HOUR_MS, 1)]


def test_the_newest_label_time_wins_in_whatever_order_labels_come(log: Log) -> None:
    request_id = log.answer(sample(1), keys=["k"])
    labels = [
        {"id": [f"{request_id}:0"], "label": [0], "label_time": [BASE_MS + 20]},
        {"key": ["k"], "label": [1], "label_time": [BASE_MS + 30]},
        {"id": [request_id], "label": [0], "label_time": [BASE_MS + 10]},
    ]
    for table in labels:
        log.predictions.add_label_table("shop", table)
    assert current(log) == [(BASE_MS, 1)]
    assert current(log, as_of_ms=BASE_MS + 29) == [(BASE_MS, 0)]
    assert current(log, as_of_ms=BASE_MS + 9) == []
    assert log.predictions.summary("shop").labelled_rows == 1


def test_of_labels_of_one_moment_the_last_in_the_file_wins(log: Log) -> None:
    request_id = log.answer(sample(1))
    table = {"id": [f"{request_id}:0"] * 3, "label": [0, 1, 0], "label_time": [BASE_MS] * 3}
    assert log.predictions.add_label_table("shop", table).duplicates == 1  # label 0 stands twice
    assert current(log) == [(BASE_MS, 0)]


def test_a_file_sent_twice_changes_nothing(log: Log) -> None:
    ids = [f"{log.answer(sample(1))}:0" for _ in range(5)]
    for times in ({}, {"label_time": [BASE_MS + n for n in range(5)]}):
        table = {"id": ids, "label": [0, 1, 0, 1, 0], **times}
        log.predictions.add_label_table("shop", table)
        log.now_ms += 1_000
        before = log.ask("select count(*) from labels")
        again = log.predictions.add_label_table("shop", table)
        assert (again.read, again.duplicates, again.matched) == (5, 5, 0)
        assert log.ask("select count(*) from labels") == before


def test_a_correction_taken_back_is_no_duplicate(log: Log) -> None:
    id_ = f"{log.answer(sample(1))}:0"
    for label in (0, 1, 0):
        log.now_ms += 1_000
        assert log.predictions.add_label_table("shop", {"id": [id_], "label": [label]}).duplicates == 0
    assert current(log) == [(BASE_MS, 0)]
    assert log.ask("select count(*) from labels") == [[3]]


def test_a_window_shows_its_own_rows_and_release(log: Log) -> None:
    for hour, release in itertools.product(range(3), ("a" * 64, "b" * 64)):
        id_ = log.answer(sample(1), at_ms=BASE_MS + hour * HOUR_MS, release=release)
        log.predictions.add_label_table("shop", {"id": [f"{id_}:0"], "label": [hour % 2]})
    window = {"from_at_ms": BASE_MS + HOUR_MS, "to_at_ms": BASE_MS + 2 * HOUR_MS}
    assert current(log, **window) == [(BASE_MS + HOUR_MS, 1)] * 2
    assert current(log, **window, release_hash="b" * 64) == [(BASE_MS + HOUR_MS, 1)]
    assert len(log.predictions.predicted("shop", **window)["score"]) == 2
    assert len(log.predictions.predicted("shop", **window, release_hash="b" * 64)["score"]) == 1
    assert len(log.predictions.predicted("shop")["score"]) == 6


def test_a_key_s_newest_prediction_outside_the_window_still_takes_the_label(log: Log) -> None:
    for hour in range(2):
        log.answer(sample(1), at_ms=BASE_MS + hour * HOUR_MS, keys=["k"])
    table = {"key": ["k"], "label": [1], "label_time": [BASE_MS + 2 * HOUR_MS]}
    log.predictions.add_label_table("shop", table)
    assert current(log, to_at_ms=BASE_MS + HOUR_MS) == []


def test_text_answers_get_text_labels_and_numbers_refuse_words(log: Log) -> None:
    words = log.answer(sample(1), endpoint="words", prediction=np.array(["late"], dtype=object), score=np.array([0.9]))
    log.predictions.add_label_table("words", {"id": [words], "label": ["on time"]})
    found = log.predictions.labelled("words")
    assert (found["prediction"].tolist(), found["label"].tolist()) == (["late"], ["on time"])
    number = log.answer(sample(1))
    with pytest.raises(Invalid, match="row 2: label 'late', but the model answers numbers"):
        log.predictions.add_label_table("shop", {"id": [number, number], "label": ["1", "late"]})
    assert log.ask("select count(*) from labels") == [[0]]


def test_numbers_and_flags_keep_their_type(log: Log) -> None:
    price = log.answer(sample(1), endpoint="price", prediction=np.array([12.5]))
    log.predictions.add_label_table("price", {"id": [price], "label": [13]})
    assert log.predictions.labelled("price")["label"].tolist() == [13.0]
    flag = log.answer(sample(1), endpoint="flag", prediction=np.array([True]))
    log.predictions.add_label_table("flag", {"id": [flag], "label": ["False"]})
    assert log.predictions.labelled("flag")["label"].tolist() == [False]


def test_no_labels_give_empty_columns(log: Log) -> None:
    found = log.predictions.labelled("shop")
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
        ("event_time", "prediction", "score", "label", "label_time"), 0
    )
    assert log.predictions.add_label_table("shop", {"id": [], "label": []}).read == 0
    assert log.predictions.summary("shop").parked_labels == 0


def test_labels_come_from_a_file_or_as_rows_with_their_source_noted(log: Log, tmp_path: Path) -> None:
    ids = [f"{log.answer(sample(1))}:0" for _ in range(2)]
    (tmp_path / "outcomes.csv").write_text(f"id,label\n{ids[0]},1\n")
    by_file = log.predictions.add_labels("shop", path=str(tmp_path / "outcomes.csv"), actor=ME)
    by_rows = log.predictions.add_labels("shop", rows=[{"id": ids[1], "label": 0}], source="desk", actor=ME)
    assert (by_file.matched, by_rows.matched) == (1, 1)
    assert log.ask("select source from labels order by source") == [
        ["desk by tester"],
        ["outcomes.csv by tester"],
    ]
    for wrong in ({}, {"path": "x.csv", "rows": []}):
        with pytest.raises(Invalid, match="path and rows"):
            log.predictions.add_labels("shop", actor=ME, **wrong)


def test_many_label_files_are_merged_and_say_the_same(log: Log) -> None:
    ids = [f"{log.answer(sample(1), at_ms=BASE_MS + n)}:0" for n in range(18)]
    for n, id_ in enumerate(ids):
        log.predictions.add_label_table("shop", {"id": [id_], "label": [n % 2]})
    assert current(log) == [(BASE_MS + n, n % 2) for n in range(18)]
    files = log.db.read("select count(*) as n from segment where kind = 'labels'")[0]["n"]
    assert files < 16


# ---------------------------------------------------------------- against a plain rendering of the rules

PREDICTIONS = st.lists(st.tuples(st.sampled_from(["k1", "k2", None]), st.integers(0, 4)), min_size=1, max_size=6)
LABELS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 6), st.sampled_from(["k1", "k2", "k3"])),  # by id of the n-th, or by key
        st.integers(0, 9),
        st.integers(0, 6),
        st.booleans(),
    ),
    max_size=8,
)


def expected(predictions: list, labels: list) -> tuple[dict[int, int], int]:
    """The label of each prediction by its number, and how many labels wait; said in the plainest way."""
    newest: dict[int, tuple[tuple[int, int], int]] = {}
    parked = 0
    for order, (target, label, at, every) in enumerate(labels):
        if isinstance(target, int):
            hits = [target] if target < len(predictions) else []
        else:
            hits = [n for n, (key, event) in enumerate(predictions) if key == target and event <= at]
            if hits and not every:
                latest = max(predictions[n][1] for n in hits)
                hits = [max(n for n in hits if predictions[n][1] == latest)]
        parked += not hits
        for hit in hits:
            if hit not in newest or (at, order) >= newest[hit][0]:
                newest[hit] = ((at, order), label)
    return {hit: label for hit, (_, label) in newest.items()}, parked


@pytest.fixture(scope="module")
def tables() -> Any:
    """Empty tables of outcomes and labels with the columns segments have."""
    with segment.connect() as connection:
        for kind in ("outcomes", "labels"):
            columns = segment.COLUMNS_OF[kind].items()
            listed = ", ".join(f"{name} {type_ or 'bigint'}" for name, type_ in columns)
            connection.execute(f"create table {kind} ({listed})")
        yield connection


@settings(max_examples=80, deadline=None)
@given(predictions=PREDICTIONS, labels=LABELS)
def test_matching_follows_the_rules_word_by_word(tables: Any, predictions: list, labels: list) -> None:
    tables.execute("delete from outcomes; delete from labels")
    for n, (key, event) in enumerate(predictions):
        tables.execute(
            "insert into outcomes (_id, _row, _key, _event_time, _received_at, _prediction)"
            " values (?, 0, ?, epoch_ms(?), epoch_ms(?), ?)",
            [f"id {n}", key, event, n, n],
        )
    for order, (target, label, at, every) in enumerate(labels):
        id_, key = (f"id {target}", None) if isinstance(target, int) else (None, target)
        tables.execute(
            "insert into labels (_id, _row, _key, label, label_time, received_at, seq, all_matches)"
            " values (?, 0, ?, ?, epoch_ms(?), epoch_ms(?), 0, ?)",
            [id_, key, label, at, order, every],
        )
    newest = segment.newest_labels("outcomes", "labels")
    got = dict(tables.execute(f"select _prediction, cast(label as bigint) from ({newest})").fetchall())
    waiting = tables.execute(f"select count(*) from ({unmatched_labels('outcomes', 'labels')})").fetchone()[0]
    assert (got, waiting) == expected(predictions, labels)
