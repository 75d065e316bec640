from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlspine.core.plan import LogSettings
from mlspine.core.types import Columns
from mlspine.predictions.spool import Batch, SpoolWriter, decode_columns, encode_frame, read_frames, spool_files
from mlspine.registry.flavors import Outputs
from mlspine.serving import recorder as recorder_module
from mlspine.serving.recorder import Call, Recorder, Source, make_batch
from mlspine.serving.request import Answered, Request
from mlspine.serving.rows import Table


def source(**more: Any) -> Source:
    known: dict[str, Any] = {
        "endpoint": "churn",
        "release_hash": "ab",
        "version": 2,
        "revision": 5,
        "columns": ("a", "city"),
        "time_column": "",
        "key_column": "",
        "log": LogSettings(),
    }
    return Source(**(known | more))


def request(name: str, rows: int = 1, **more: Any) -> Request:
    return Request(Table(rows), name, received_at_ms=1000, began_s=0.0, **more)


def columns(rows: int, **more: Any) -> Columns:
    return {"a": np.arange(rows, dtype=np.float64), "city": np.array(["x"] * rows, dtype=object), **more}


def answered(rows: int) -> Answered:
    shares = np.column_stack([np.full(rows, 0.25), np.full(rows, 0.75)])
    return Answered(Outputs(np.ones(rows, dtype=np.int64), shares), "binary")


def call(asked: Source, *requests: Request, **more: Any) -> Call:
    rows = sum(each.table.size for each in requests)
    return Call(asked, requests, columns(rows, **more), answered(rows))


def written(folder: Path) -> list[Batch]:
    return [batch for file in spool_files(folder) for frame in read_frames(file) for batch in frame.batches]


def test_several_calls_become_one_batch_in_order() -> None:
    asked = source()
    batch = make_batch([call(asked, request("r1"), request("r2", 2)), call(asked, request("r3"))])
    assert (batch.endpoint, batch.version, batch.revision, batch.release_hash) == ("churn", 2, 5, "ab")
    assert (batch.request_ids, batch.row_counts, batch.rows) == (["r1", "r2", "r3"], [1, 2, 1], 4)
    assert decode_columns(batch.inputs)["a"].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert np.frombuffer(batch.score).tolist() == [0.75] * 4
    assert (batch.event_at_ms, batch.keys) == ([], [])


def test_redacted_columns_are_not_in_the_batch_even_as_key() -> None:
    asked = source(log=LogSettings(redact=("city",)), key_column="city")
    batch = make_batch([call(asked, request("r1"), city=np.array(["secret"], dtype=object))])
    assert [column.name for column in batch.inputs] == ["a"]
    assert batch.keys == []
    assert b"secret" not in encode_frame([batch])


def test_event_time_is_the_column_else_the_header_else_the_receipt() -> None:
    asked = source(time_column="at")
    at = np.array(["1970-01-01T00:00:05", "NaT", "NaT"], dtype="datetime64[us]")
    requests = [request("r1", 2, event_at_ms=7), request("r2")]
    assert make_batch([call(asked, *requests, at=at)]).event_at_ms == [5000, 7, 1000]
    assert make_batch([call(source(), request("r1", 2, event_at_ms=7))]).event_at_ms == [7, 7]


def test_keys_are_the_column_else_the_header() -> None:
    asked = source(key_column="who")
    who = np.array([7.0, None, "x"], dtype=object)
    requests = [request("r1", 2, key="from header"), request("r2")]
    assert make_batch([call(asked, *requests, who=who)]).keys == ["7", "from header", "x"]
    assert make_batch([call(source(), request("r1", key="k"), request("r2"))]).keys == ["k", None]


def test_what_is_recorded_is_in_the_spool_after_a_flush(tmp_path: Path) -> None:
    async def run() -> None:
        recorder = Recorder(SpoolWriter(tmp_path, "p"))
        recorder.start()
        record = recorder.recording(source())
        for i in range(10):
            record([request(str(i))], columns(1), answered(1))
        assert recorder.unwritten_rows == 10
        assert await recorder.flush() == 0
        assert sum(batch.rows for batch in written(tmp_path)) == 10
        await recorder.stop()

    asyncio.run(run())


def test_stopping_writes_what_is_left(tmp_path: Path) -> None:
    async def run() -> None:
        recorder = Recorder(SpoolWriter(tmp_path, "p"))
        recorder.start()
        recorder.recording(source())([request("r")], columns(1), answered(1))
        await recorder.stop()

    asyncio.run(run())
    assert [batch.request_ids for batch in written(tmp_path)] == [["r"]]


def test_nothing_is_recorded_when_the_log_is_off(tmp_path: Path) -> None:
    async def run() -> None:
        recorder = Recorder(SpoolWriter(tmp_path, "p"))
        recorder.start()
        recorder.recording(source(log=LogSettings(enabled=False)))([request("r")], columns(1), answered(1))
        await recorder.stop()

    asyncio.run(run())
    assert spool_files(tmp_path) == []


def test_rows_that_cannot_be_written_are_counted_and_hold_up_nobody(tmp_path: Path) -> None:
    class Picky(SpoolWriter):
        def append(self, batches: list[Batch]) -> int:
            if batches[0].request_ids == ["odd"]:
                raise ValueError("cannot be encoded")
            return super().append(batches)

    async def run() -> None:
        recorder = Recorder(Picky(tmp_path, "p"))
        recorder.start()
        record = recorder.recording(source())
        for name in ("odd", "even"):
            record([request(name)], columns(1), answered(1))
            await recorder.flush()
        record([request("broken")], {}, answered(1))
        record([request("last")], columns(1), answered(1))
        assert await recorder.flush() == 0
        assert recorder.dropped_rows == 3
        await recorder.stop()

    asyncio.run(run())
    assert [batch.request_ids for batch in written(tmp_path)] == [["even"]]


class FullDisk(SpoolWriter):
    """Takes nothing while it is full."""

    full = True

    def append(self, batches: list[Batch]) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().append(batches)


def test_a_full_disk_costs_the_oldest_rows_beyond_the_bound_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "SLICE_ROWS", 1)
    monkeypatch.setattr(recorder_module, "RETRY_EVERY_S", 0.01)

    async def run() -> None:
        writer = FullDisk(tmp_path, "p")
        recorder = Recorder(writer, max_backlog_bytes=2_000)
        recorder.start()
        record = recorder.recording(source())
        for i in range(50):
            record([request(str(i))], columns(1), answered(1))
        left = await recorder.flush()
        assert 0 < left < 50
        assert recorder.dropped_rows + left == 50
        writer.full = False
        while recorder.unwritten_rows:
            await asyncio.sleep(0.005)
        kept = [name for batch in written(tmp_path) for name in batch.request_ids]
        assert kept == [str(i) for i in range(50)][-left:]
        await recorder.stop()

    asyncio.run(run())


def test_what_must_be_recorded_is_kept_and_pushes_out_what_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "SLICE_ROWS", 1)
    monkeypatch.setattr(recorder_module, "RETRY_EVERY_S", 0.01)

    async def run() -> None:
        writer = FullDisk(tmp_path, "p")
        recorder = Recorder(writer, max_backlog_bytes=2_000)
        recorder.start()
        bank = recorder.recording(source(endpoint="bank", log_first=True))
        shop = recorder.recording(source(endpoint="shop"))
        assert not recorder.is_full()
        for i in range(30):
            shop([request(f"shop{i}")], columns(1), answered(1))
            bank([request(f"bank{i}")], columns(1), answered(1))
        await recorder.flush()
        assert recorder.is_full()
        writer.full = False
        while recorder.unwritten_rows:
            await asyncio.sleep(0.005)
        assert not recorder.is_full()
        shop([request("shop-last")], columns(1), answered(1))
        await recorder.flush()
        batches = written(tmp_path)
        kept = {name for batch in batches if batch.endpoint == "bank" for name in batch.request_ids}
        assert kept == {f"bank{i}" for i in range(30)}
        told = {batch.endpoint: 0 for batch in batches}
        for batch in batches:
            told[batch.endpoint] += batch.dropped_rows
        assert told == {"bank": 0, "shop": recorder.dropped_rows}
        assert recorder.dropped_rows > 20
        await recorder.stop()

    asyncio.run(run())


class Picky(SpoolWriter):
    """Cannot encode one certain request, alone or among others."""

    def append(self, batches: list[Batch]) -> int:
        if any("poison" in batch.request_ids for batch in batches):
            raise ValueError("this cannot be encoded")
        return super().append(batches)


def test_one_batch_that_cannot_be_encoded_costs_none_of_those_written_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "SLICE_CALLS", 1)

    async def run() -> None:
        recorder = Recorder(Picky(tmp_path, "p"))
        recorder.start()
        record = recorder.recording(source())
        for name in ("a", "b", "poison", "c", "d"):
            record([request(name)], columns(1), answered(1))
        assert await recorder.flush() == 0
        record([request("e")], columns(1), answered(1))
        await recorder.stop()
        assert recorder.dropped_rows == 1

    asyncio.run(run())
    assert [name for batch in written(tmp_path) for name in batch.request_ids] == ["a", "b", "c", "d", "e"]
    assert "cannot be encoded and are left out" in caplog.text


def test_many_calls_are_one_frame_of_several_batches(tmp_path: Path) -> None:
    rounds = []

    async def run() -> None:
        recorder = Recorder(SpoolWriter(tmp_path, "p"), drained=lambda: rounds.append(1))
        recorder.start()
        record = recorder.recording(source())
        for i in range(3 * recorder_module.SLICE_CALLS):
            record([request(str(i))], columns(1), answered(1))
        await asyncio.sleep(0)
        await recorder.flush()
        await recorder.stop()

    asyncio.run(run())
    (file,) = spool_files(tmp_path)
    (frame,) = read_frames(file)
    assert [len(batch.request_ids) for batch in frame.batches] == [recorder_module.SLICE_CALLS] * 3
