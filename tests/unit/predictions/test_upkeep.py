from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.core.config import LogConfig
from mlspine.core.errors import Invalid
from mlspine.core.ids import digest_bytes
from mlspine.predictions.spool import spool_files

from .conftest import BASE_MS, HOUR_MS, ME, Log, sample

DAY_MS = 24 * HOUR_MS


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def balanced(log: Log, endpoint: str = "shop") -> bool:
    """Profile rows = ever logged = in the log + expired + forgotten."""
    counted = log.predictions.counters(endpoint)
    ever = sum(each.rows for each in counted)
    gone = sum(each.expired_rows + each.forgotten_rows for each in counted)
    return log.profile_rows(endpoint) == ever == log.predictions.summary(endpoint).rows + gone


def test_old_rows_go_and_outcomes_stay_for_late_labels(tmp_path: Path) -> None:
    log = Log(tmp_path, config=LogConfig(retention_days=7, label_delay_days=20))
    for day in range(4):
        log.answer(sample(2), at_ms=BASE_MS + day * DAY_MS)
        log.predictions.ingest()
    log.now_ms = BASE_MS + 9 * DAY_MS
    done = log.predictions.housekeep()
    assert (done.expired_rows, done.expired_files) == (4, 2)
    assert log.ask("select count(*) from log") == [[4]]
    assert log.ask("select count(*) from outcomes") == [[8]]
    assert balanced(log)
    assert len(set(log.blobs.list())) == 8  # readers may still be at the old files
    assert log.predictions.housekeep().swept_files == 2
    assert len(set(log.blobs.list())) == 6
    log.now_ms = BASE_MS + 40 * DAY_MS
    log.predictions.housekeep()
    assert log.ask("select count(*) from outcomes") == [[0]]
    assert balanced(log)
    log.close()


def test_the_log_keeps_within_its_size_by_dropping_the_oldest(tmp_path: Path) -> None:
    log = Log(tmp_path, config=LogConfig(retention_bytes=10_000))
    for hour in range(5):
        log.answer(sample(20), at_ms=BASE_MS + hour * HOUR_MS)
        log.predictions.ingest()
    log.predictions.housekeep()
    held = log.db.read("select sum(size_bytes) as size, max(rows) as rows from segment where kind = 'log'")[0]
    assert 0 < held["size"] <= 10_000
    assert log.ask("select max(epoch_ms(_event_time)) from log") == [[BASE_MS + 4 * HOUR_MS]]
    assert balanced(log)
    log.close()


def test_small_files_are_merged_and_say_the_same(log: Log) -> None:
    sql = "select * from log order by _event_time, _row"
    for number in range(20):
        log.answer(sample(3, number), at_ms=BASE_MS + number, keys=["a", None, "b"])
        log.predictions.ingest()
    files = log.db.read("select count(*) as n from segment where kind = 'log'")[0]["n"]
    assert files < 16
    rows = log.ask(sql)
    assert len(rows) == 60
    for number in range(20):
        assert rows[number * 3][rows_of_columns(log).index("city")] == sample(3, number)["city"][0]
    assert balanced(log)
    log.predictions.housekeep()
    assert set(log.blobs.list()) == {row["key"] for row in log.db.read("select key from segment")}
    assert log.ask(sql) == rows


def rows_of_columns(log: Log) -> list[str]:
    return log.predictions.query("shop", "select * from log limit 0").columns


def test_profiles_are_kept_for_over_a_year_before_the_newest_event(log: Log) -> None:
    for days in (0, 390, 410):
        log.answer(sample(1), at_ms=BASE_MS + days * DAY_MS)
    log.predictions.ingest()
    assert log.predictions.housekeep().dropped_hours == 1
    assert len(log.predictions.sub_windows("shop")) == 2


def test_forgetting_removes_a_person_from_every_file_and_leaves_the_rest(log: Log) -> None:
    key = "subject-4711-of-oslo"
    mine = log.answer(sample(4, 1), keys=[key, "other", key, None])
    log.answer(sample(2, 2), endpoint="bank", keys=[key, "other"])
    untouched = log.answer(sample(2, 3), release="b" * 64, keys=["other", "more"])
    log.predictions.add_label_table("shop", {"id": [f"{mine}:0", f"{mine}:1"], "label": [1, 0]})
    log.predictions.add_label_table("shop", {"key": [key, "other"], "label": [1, 1]})
    log.answer(sample(1), keys=[key])  # still in the spool
    assert key.encode() in everything_on_disk(log.folder)

    receipt = log.predictions.forget(key, actor=ME)

    assert (receipt.rows, receipt.outcomes, receipt.labels) == (4, 4, 2)
    assert receipt.endpoints == ("bank", "shop")
    assert log.ask("select _row, _key from log where _release[1] = 'a' order by _row") == [
        [1, "other"],
        [3, None],
    ]
    assert log.ask(f"select count(*) from log where _id = '{untouched}'") == [[2]]
    assert log.ask("select _id, _key from labels order by _id") == [[mine, None], [None, "other"]]
    assert log.ask("select count(*) from log", endpoint="bank") == [[1]]
    assert key.encode() not in everything_on_disk(log.folder)
    assert len(spool_files(log.spool_dir)) == 1
    assert balanced(log)
    assert balanced(log, "bank")


def test_forgetting_is_in_the_ledger_by_a_digest_only(log: Log) -> None:
    log.answer(sample(1), keys=["anna"])
    log.predictions.forget("anna", actor=ME)
    (line,) = log.governance.entries()
    assert (line.action, line.actor, line.subject) == ("forget", "tester", f"subject:{digest_bytes(b'anna')}")
    assert line.facts["rows"] == 1
    assert log.governance.verify().intact
    assert "anna" not in str(line)


def test_the_log_goes_on_after_forgetting(log: Log) -> None:
    log.answer(sample(2), keys=["anna", "ben"])
    log.predictions.forget("anna", actor=ME)
    log.answer(sample(1), keys=["anna"], received_at_ms=log.now_ms + 1)
    log.predictions.ingest()
    assert log.ask("select _key from log order by _key") == [["anna"], ["ben"]]
    assert log.predictions.ingest().damaged_bytes == 0
    assert log.reopen().ingest().rows == 0
    assert balanced(log)


def test_what_was_answered_before_forgetting_and_arrives_after_it_is_left_out(log: Log) -> None:
    log.answer(sample(1), keys=["ben"])
    log.predictions.forget("anna", actor=ME)
    log.answer(sample(2), keys=["anna", "ben"], received_at_ms=log.now_ms)
    log.answer(sample(1), keys=["anna"], received_at_ms=log.now_ms)
    assert log.predictions.ingest().rows == 3
    assert log.ask("select _key from log order by _key") == [["ben"], ["ben"]]
    assert balanced(log)


def test_nobody_by_that_key_removes_nothing(log: Log) -> None:
    log.answer(sample(2), keys=["anna", 'o\'neill "x"'])
    receipt = log.predictions.forget("nobody", actor=ME)
    assert (receipt.rows, receipt.labels, receipt.files, receipt.endpoints) == (0, 0, 0, ())
    assert log.predictions.forget('o\'neill "x"', actor=ME).rows == 1
    with pytest.raises(Invalid):
        log.predictions.forget("", actor=ME)


def test_a_label_that_waits_for_a_person_is_forgotten_too(log: Log) -> None:
    log.predictions.add_label_table("shop", {"key": ["anna"], "label": [1]})
    assert log.predictions.forget("anna", actor=ME).labels == 1
    assert log.ask("select count(*) from labels") == [[0]]
