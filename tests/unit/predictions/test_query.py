from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlspine.core.errors import Invalid
from mlspine.predictions import query

from .conftest import BASE_MS, Log, sample


def test_the_four_views_hold_what_was_answered_and_what_came_true(log: Log) -> None:
    request_id = log.answer(sample(3), keys=["a", "b", "c"])
    log.predictions.add_label_table("shop", {"id": [f"{request_id}:2"], "label": [1]})
    result = log.predictions.query("shop", "select _id, _row, _score, label, source from labelled")
    assert result.columns == ["_id", "_row", "_score", "label", "source"]
    assert result.rows == [[request_id, 2, 1.0, "1", "rows"]]
    for view, rows in {"log": 3, "outcomes": 3, "labels": 1}.items():
        assert log.ask(f"select count(*) from {view}") == [[rows]]


def test_before_the_first_row_every_view_is_there_and_empty(log: Log) -> None:
    for view in query.VIEWS:
        assert log.ask(f"select * from {view}") == []


def test_results_are_json_values(log: Log) -> None:
    log.answer(sample(1), at_ms=BASE_MS)
    log.predictions.ingest()
    values = "_event_time, [1, 2], {'a': 1.5}, null, 12345678901234567890::hugeint, date '2013-01-01'"
    sql = f"select {values} from log"
    assert log.ask(sql) == [["2023-11-14T22:00:00Z", [1, 2], {"a": 1.5}, None, 12345678901234567890, "2013-01-01"]]


def test_a_wrong_column_is_answered_with_those_there_are(log: Log) -> None:
    log.answer(sample(1))
    log.predictions.ingest()
    with pytest.raises(Invalid) as refused:
        log.ask("select amont from log")
    text = str(refused.value)
    assert "amont" in text
    assert "amount due" in text
    assert any(line.startswith("labelled: _id, _row") for line in refused.value.details)


@pytest.mark.parametrize("sql", ["selec 1", "select 1; select 2", "", "create table t (a int)", "drop view log"])
def test_only_one_select_is_taken(log: Log, sql: str) -> None:
    with pytest.raises(Invalid):
        log.ask(sql)


def test_nothing_but_the_log_can_be_reached(log: Log, tmp_path: Path) -> None:
    log.answer(sample(1))
    log.predictions.ingest()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    segment = next(iter(log.blobs.list("log/")))
    for sql in (
        f"select * from '{tmp_path}/secret.csv'",
        f"select * from read_text('{tmp_path}/secret.csv')",
        f"select * from glob('{tmp_path}/*')",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"copy (select 1) to '{log.blobs.locate(segment)}'",
        f"attach '{tmp_path}/store.db'",
        "install httpfs",
        "set enable_external_access = true",
    ):
        with pytest.raises(Invalid):
            log.ask(sql)
    assert not (tmp_path / "out.csv").exists()
    assert log.ask("select count(*) from log") == [[1]]


def test_a_result_is_cut_at_its_bound_and_says_so(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAX_RESULT_ROWS", 10)
    assert not log.predictions.query("shop", "select * from range(10)").truncated
    cut = log.predictions.query("shop", "select * from range(11)")
    assert (len(cut.rows), cut.truncated) == (10, True)


def test_a_file_merged_away_while_it_is_read_is_read_under_its_new_name(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.answer(sample(4))
    log.predictions.ingest()
    views, calls = query._views, []

    def merged_meanwhile(scans):
        if not calls:
            calls.append(1)
            old = log.predictions._archive
            group = query.store.segments(log.db, kind="log")
            new = old.rewrite(group)
            with log.db.write() as tx:
                query.store.drop_segments(tx, [each.key for each in group])
                query.store.add_segment(tx, new)
            old.discard(group)
        return views(scans)

    monkeypatch.setattr(query, "_views", merged_meanwhile)
    assert log.ask("select count(*) from log") == [[4]]
    assert calls == [1]


def test_files_of_different_releases_and_types_are_one_table(log: Log) -> None:
    log.answer({"x": np.array([1.5])}, prediction=np.array([1]))
    log.answer({"y": np.array([2])}, release="b" * 64, prediction=np.array(["late"], dtype=object))
    log.predictions.ingest()
    assert log.ask("select _prediction, x, y from log order by _release") == [
        ["1", 1.5, None],
        ["late", None, 2],
    ]
