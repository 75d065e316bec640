from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlspine.predictions import spool
from mlspine.predictions.spool import (
    Batch,
    SpoolWriter,
    encode_column,
    encode_frame,
    read_frames,
    scrub,
    spool_files,
)


def batch(request_id: str, rows: int = 1) -> Batch:
    return Batch("shop", "r", 1, 1, [request_id], [rows], [0], [0.0], [], encode_column("p", np.zeros(rows)))


def ids(folder: Path) -> list[str]:
    return [
        each.request_ids[0] for path in spool_files(folder) for frame in read_frames(path) for each in frame.batches
    ]


def test_a_full_disk_loses_the_frame_it_hit_and_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, "inference-0")
    writer.append([batch("first")])
    with monkeypatch.context() as patched:
        patched.setattr(spool.os, "write", half_a_write(os.write))
        with pytest.raises(OSError, match="No space left"):
            writer.append([batch("lost")])
    writer.append([batch("second")])
    assert ids(tmp_path) == ["first", "second"]
    assert len(spool_files(tmp_path)) == 1


def test_a_disk_too_sick_to_cut_back_gets_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path, "inference-0")
    writer.append([batch("first")])
    with monkeypatch.context() as patched:
        patched.setattr(spool.os, "write", half_a_write(os.write))
        patched.setattr(spool.os, "ftruncate", failing)
        with pytest.raises(OSError, match="No space left"):
            writer.append([batch("lost")])
    writer.append([batch("second")])
    assert ids(tmp_path) == ["first", "second"]
    assert len(spool_files(tmp_path)) == 2


def half_a_write(write):
    calls = iter([True])

    def half(descriptor: int, data: bytes) -> int:
        if next(calls, False):
            return write(descriptor, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    return half


def failing(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_files_rotate_and_keep_their_order(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "inference-0", rotate_bytes=1)
    names = [f"request {n}" for n in range(20)]
    for name in names:
        writer.append([batch(name)])
    assert len(spool_files(tmp_path)) == 20
    assert ids(tmp_path) == names


def test_a_missing_folder_is_an_os_error_and_heals(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    writer = SpoolWriter(folder, "inference-0")
    with pytest.raises(FileNotFoundError):
        writer.append([batch("early")])
    folder.mkdir()
    writer.append([batch("late")])
    assert ids(folder) == ["late"]


def test_a_file_removed_while_it_is_being_opened_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = spool.fcntl.flock
    removed = []

    def lock_late(descriptor: int, how: int) -> None:
        if not removed:  # the reader was faster: an unlocked empty file looks abandoned
            removed.extend(path.unlink() or path for path in spool_files(tmp_path))
        lock(descriptor, how)

    monkeypatch.setattr(spool.fcntl, "flock", lock_late)
    SpoolWriter(tmp_path, "inference-0").append([batch("kept")])
    assert len(removed) == 1
    assert ids(tmp_path) == ["kept"]


def test_spool_files_are_for_the_owner_only(tmp_path: Path) -> None:
    SpoolWriter(tmp_path, "inference-0").append([batch("private")])
    assert spool_files(tmp_path)[0].stat().st_mode & 0o077 == 0


def test_scrubbing_wipes_what_was_read_and_spares_what_comes_after(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "inference-0")
    taken = writer.append([batch("4711")])
    writer.append([batch("later")])
    (path,) = spool_files(tmp_path)
    scrub(path, taken)
    writer.append([batch("last")])
    assert b"4711" not in path.read_bytes()
    assert [frame.batches[0].request_ids for frame in read_frames(path, taken)] == [["later"], ["last"]]


def test_a_length_that_reaches_past_the_end_hides_no_later_frame(tmp_path: Path) -> None:
    cut = encode_frame([batch("cut")])[:-3]
    whole = encode_frame([batch("whole")])
    path = tmp_path / "x.spool"
    path.write_bytes(cut + whole)
    (frame,) = read_frames(path)
    assert frame.batches[0].request_ids == ["whole"]
    assert frame.skipped_bytes == len(cut)


def test_the_inference_process_gets_the_spool_without_duckdb_or_sql() -> None:
    heavy = "duckdb", "sqlite3", "pandas", "pyarrow", "scipy", "mlspine.predictions.service"
    code = f"import sys, mlspine.predictions.spool; print([each for each in {heavy!r} if each in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
