from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlspine.core.errors import NotFound
from mlspine.core.types import SubWindow
from mlspine.predictions import ingest
from mlspine.predictions.spool import spool_files
from mlspine.stats import profile as profiles
from mlspine.stats.profile import Profile, Reference

from .conftest import BASE_MS, HOUR_MS, RELEASE, Log, references, sample


def inputs_of(window: SubWindow, reference: Reference) -> Profile:
    return profiles.decode(window.inputs, reference)


def same_counts(a: Profile, b: Profile) -> bool:
    pairs = zip(a.parts, b.parts, strict=True)
    return a.rows == b.rows and all((x.counts == y.counts).all() and x.names == y.names for x, y in pairs)


def test_rows_reach_the_log_as_they_were_answered(log: Log) -> None:
    table = sample(3)
    request_id = log.answer(table, keys=["k1", None, "k3"], at_ms=[BASE_MS, BASE_MS + 1, BASE_MS + 2])
    assert log.predictions.ingest().rows == 3
    rows = log.ask(
        "select _id, _row, _key, _release, _version, _revision, _path, _caller, _prediction, _score,"
        ' "amount due", city, repeat, epoch_ms(_event_time), epoch_ms(_received_at), _latency_s'
        " from log order by _row"
    )
    for i, row in enumerate(rows):
        amount = table["amount due"][i]
        assert row == [
            request_id, i, ["k1", None, "k3"][i], RELEASE, 1, 1, "live", None, int(i == 2), i / 2,
            None if np.isnan(amount) else amount, table["city"][i], bool(table["repeat"][i]), BASE_MS + i,
            BASE_MS + 7, 0.002,
        ]  # fmt: skip
    narrow = log.ask("select _id, _row, _key, _prediction, _score from outcomes order by _row")
    assert narrow == [[row[0], row[1], row[2], row[8], row[9]] for row in rows]


def test_hourly_profiles_count_what_one_pass_over_the_rows_counts(log: Log) -> None:
    parts = [sample(50, seed) for seed in range(9)]
    for number, part in enumerate(parts):
        log.answer(part, at_ms=BASE_MS + number % 3 * HOUR_MS + number)
        if number % 4 == 0:
            log.predictions.ingest()
    log.predictions.ingest()
    windows = log.predictions.sub_windows("shop")
    assert [window.start_at_ms for window in windows] == [BASE_MS + hour * HOUR_MS for hour in range(3)]
    reference = log.references.inputs
    for hour, window in enumerate(windows):
        rows = {name: np.concatenate([parts[n][name] for n in range(9) if n % 3 == hour]) for name in parts[0]}
        assert same_counts(inputs_of(window, reference), profiles.profile(reference, rows))
        assert window.rows == 150
        assert (window.inputs_reference_id, window.release_hash) == (reference.id, RELEASE)
        assert log.references.outputs is not None
        assert profiles.decode(window.outputs, log.references.outputs).rows == 150


def test_one_request_over_several_hours_counts_in_each(log: Log) -> None:
    log.answer(sample(4), at_ms=[BASE_MS + HOUR_MS, BASE_MS, BASE_MS + HOUR_MS, BASE_MS - 1])
    log.predictions.ingest()
    rows = {window.start_at_ms: window.rows for window in log.predictions.sub_windows("shop")}
    assert rows == {BASE_MS - HOUR_MS: 1, BASE_MS: 1, BASE_MS + HOUR_MS: 2}
    chosen = log.predictions.sub_windows("shop", from_at_ms=BASE_MS, to_at_ms=BASE_MS + HOUR_MS)
    assert [window.rows for window in chosen] == [1]


def test_ingesting_twice_adds_nothing(log: Log) -> None:
    log.answer(sample(5))
    assert (log.predictions.ingest().rows, log.predictions.ingest().rows) == (5, 0)
    assert log.profile_rows() == log.predictions.summary("shop").rows == 5


def test_a_withheld_column_is_counted_as_absent_not_as_missing(log: Log) -> None:
    table = sample(20)
    del table["city"]
    log.answer(table)
    log.predictions.ingest()
    (window,) = log.predictions.sub_windows("shop")
    reference = log.references.inputs
    counted = inputs_of(window, reference)
    assert counted.rows == 20
    assert counted.parts[reference.parts_of("city")[0]].counts.sum() == 0
    with pytest.raises(Exception, match="city"):
        log.ask("select city from log")


def test_with_every_column_withheld_the_rows_are_still_counted(log: Log) -> None:
    log.answer({"ignored": np.arange(7.0)})
    log.predictions.ingest()
    (window,) = log.predictions.sub_windows("shop")
    assert inputs_of(window, log.references.inputs).rows == window.rows == 7


def test_a_column_that_cannot_be_read_as_its_kind_costs_only_itself(log: Log) -> None:
    table = sample(6)
    table["amount due"] = np.array(["twelve"] * 6, dtype=object)
    log.answer(table)
    log.predictions.ingest()
    (window,) = log.predictions.sub_windows("shop")
    reference = log.references.inputs
    counted = inputs_of(window, reference)
    assert counted.parts[reference.parts_of("amount due")[0]].counts.sum() == 0
    assert counted.parts[reference.parts_of("city")[0]].counts.sum() == 6
    assert log.ask('select distinct "amount due" from log') == [["twelve"]]


def test_rows_of_an_unknown_release_are_logged_without_a_profile(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> None:
        raise NotFound("no such release")

    monkeypatch.setattr(log.predictions._ingest, "_references_of", gone)
    log.answer(sample(3))
    assert log.predictions.ingest().rows == 3
    (window,) = log.predictions.sub_windows("shop")
    assert (window.rows, window.inputs, window.outputs) == (3, b"", b"")


def test_a_score_baseline_is_learned_from_the_first_thousand_rows_which_are_not_judged(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path, learning=True)
    rng = np.random.default_rng(0)
    scores = rng.random(2_600)
    at = 0
    for rows in (400, 300, 500, 1_400):  # the thousandth row falls inside the third
        score = scores[at : at + rows]
        log.answer(sample(rows, at), score=score, at_ms=BASE_MS + (at // 1_200) * HOUR_MS)
        log.predictions.ingest()
        at += rows
        assert (log.predictions.learned("shop", RELEASE) is not None) == (at >= 1_000)
    learned = log.predictions.learned("shop", RELEASE)
    assert learned is not None
    assert (learned.rows, learned.reference.rows) == (1_000, 1_000)
    low = learned.reference.profile.parts[learned.reference.parts_of("score")[0]].low
    assert low == scores[:1_000].min()
    first, second = log.predictions.sub_windows("shop")
    assert (first.rows, profiles.decode(first.outputs, learned.reference).rows) == (1_200, 200)
    assert (second.rows, profiles.decode(second.outputs, learned.reference).rows) == (1_400, 1_400)
    assert first.outputs_reference_id == learned.reference.id
    log.close()


def test_while_learning_outputs_are_left_empty(tmp_path: Path) -> None:
    log = Log(tmp_path, learning=True)
    log.answer(sample(999))
    log.predictions.ingest()
    (window,) = log.predictions.sub_windows("shop")
    assert (window.outputs, window.outputs_reference_id) == (b"", "")
    log.close()


def test_text_answers_teach_a_baseline_over_files_and_memory(tmp_path: Path) -> None:
    log = Log(tmp_path, learning=True)
    words = np.array(["yes", "no"], dtype=object)
    for rows in (600, 600):
        log.answer(sample(rows), prediction=words[np.arange(rows) % 2], score=np.full(rows, np.nan))
        log.predictions.ingest()
    learned = log.predictions.learned("shop", RELEASE)
    assert learned is not None
    assert learned.reference.names == ("prediction",)
    log.close()


def test_memory_is_bounded_by_taking_a_large_spool_in_parts(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MAX_ROWS", 100)
    taken = []
    commit = log.predictions._ingest._commit

    def noting(chunk, changes):
        taken.append(sum(batch.rows for batch in chunk.batches))
        commit(chunk, changes)

    monkeypatch.setattr(log.predictions._ingest, "_commit", noting)
    for number in range(12):
        log.answer(sample(30, number))
    log.predictions.ingest()
    assert taken == [120, 120, 120]
    assert log.profile_rows() == log.predictions.summary("shop").rows == 360


def test_a_failure_before_the_commit_leaves_nothing_and_loses_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.answer(sample(8))
    with monkeypatch.context() as patched:
        patched.setattr(ingest.store, "count", failing)
        with pytest.raises(OSError, match="disk"):
            log.predictions.ingest()
    assert log.predictions.summary("shop").rows == log.profile_rows() == 0
    log.predictions.ingest()
    assert log.predictions.summary("shop").rows == log.profile_rows() == 8
    keys = {row["key"] for row in log.db.read("select key from segment")}
    assert set(log.blobs.list()) == keys  # the files of the failed attempt are swept


def failing(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


def test_files_left_by_a_kill_are_swept_at_the_next_start(log: Log) -> None:
    log.answer(sample(2))
    log.predictions.ingest()
    before = set(log.blobs.list())
    log.blobs.put("log/shop/left-over.parquet", b"half a thought")
    (log.spool_dir / "left.draft").write_bytes(b"x")
    log.reopen().ingest()
    assert set(log.blobs.list()) == before
    assert list(log.spool_dir.glob("*.draft")) == []


def test_a_spool_file_is_deleted_once_read_and_left_by_its_writer(log: Log) -> None:
    log.answer(sample(2))
    log.predictions.ingest()
    assert len(spool_files(log.spool_dir)) == 1  # its writer lives
    log.writer.close()
    log.predictions.ingest()
    assert spool_files(log.spool_dir) == []
    assert log.db.read("select * from spool_position") == []
    log.answer(sample(3))
    log.predictions.ingest()
    assert log.predictions.summary("shop").rows == 5


def test_the_torn_tail_of_a_dead_writer_is_given_up_but_not_that_of_a_living_one(log: Log) -> None:
    log.answer(sample(2))
    (path,) = spool_files(log.spool_dir)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:-5])
    log.predictions.ingest()
    assert spool_files(log.spool_dir) == [path]
    log.writer.close()
    log.predictions.ingest()
    assert spool_files(log.spool_dir) == []
    assert log.predictions.summary("shop").rows == 2


def test_damage_in_the_middle_costs_one_frame_and_is_told(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        log.answer(sample(2))
    (path,) = spool_files(log.spool_dir)
    data = bytearray(path.read_bytes())
    size = len(data) // 3
    data[size + size // 2] ^= 0xFF
    path.write_bytes(data)
    done = log.predictions.ingest()
    assert (done.rows, done.damaged_bytes) == (4, size)
    assert log.profile_rows() == log.predictions.summary("shop").rows == 4
    assert any("damaged" in record.message for record in caplog.records)


def test_endpoints_and_releases_are_kept_apart(log: Log) -> None:
    log.answer(sample(2))
    log.answer(sample(3), release="b" * 64)
    log.answer(sample(4), endpoint="bank", at_ms=BASE_MS + HOUR_MS)
    log.predictions.ingest()
    assert log.predictions.endpoints() == ["bank", "shop"]
    summary = log.predictions.summary("shop")
    assert summary.rows_by_release == {RELEASE: 2, "b" * 64: 3}
    assert [w.rows for w in log.predictions.sub_windows("shop", release_hash="b" * 64)] == [3]
    assert log.predictions.latest_event("bank") == BASE_MS + HOUR_MS
    assert log.ask("select count(*) from log", endpoint="bank") == [[4]]


def test_the_summary_tells_what_there_is(log: Log) -> None:
    nothing = log.predictions.summary("shop")
    assert (nothing.rows, nothing.segments, nothing.last_event_at_ms) == (0, 0, 0)
    log.answer(sample(2), at_ms=[BASE_MS, BASE_MS + 50], received_at_ms=BASE_MS + 90)
    log.answer(sample(1), at_ms=BASE_MS + 20, dropped_rows=7, received_at_ms=BASE_MS + 95)
    log.predictions.ingest()
    summary = log.predictions.summary("shop")
    assert (summary.rows, summary.dropped_rows) == (3, 7)
    assert (summary.first_event_at_ms, summary.last_event_at_ms) == (BASE_MS, BASE_MS + 50)
    assert summary.last_received_at_ms == BASE_MS + 95
    stored = sum((log.folder / "blobs" / key).stat().st_size for key in log.blobs.list())
    assert (summary.segments, summary.size_bytes) == (2, stored)


def test_an_empty_request_moves_on_without_a_trace(log: Log) -> None:
    log.answer(sample(0))
    log.answer(sample(1))
    log.predictions.ingest()
    assert log.predictions.summary("shop").rows == log.profile_rows() == 1


def test_nothing_to_ingest_opens_no_duckdb(log: Log) -> None:
    log.predictions.ingest()
    assert log.predictions._archive._connection is None


def test_references_of_a_release_are_read_once(log: Log) -> None:
    asked = []

    def counting(release_hash: str):
        asked.append(release_hash)
        return references()

    log.predictions._ingest = ingest.Ingest(
        db=log.db,
        archive=log.predictions._archive,
        references_of=counting,
        clock=lambda: BASE_MS,
        spool_dir=log.spool_dir,
    )
    for _ in range(3):
        log.answer(sample(1))
        log.predictions.ingest()
    assert asked == [RELEASE]
