"""Files of runs: put, replaced, listed, laid out, deleted; equal content once."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine import migrations
from mlspine.artifacts import Artifact, Entry, store
from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from mlspine.core.ids import digest_bytes

from .conftest import Room, alone

MODEL = "1/abc/artifacts/model"
DAY_MS = 24 * 3_600_000


def put_model(room: Room) -> dict[str, bytes]:
    files = {
        "MLmodel": b"flavors: {}",
        "data/model.pkl": b"\x80" * 3_000_000,
        "data/deep/er": b"",
        "requirements": b"x",
    }
    for name, data in files.items():
        room.artifacts.put(f"{MODEL}/{name}", data)
    return files


def test_what_was_put_is_read(room: Room, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    put = room.artifacts.put("1/a/text.txt", b"bytes")
    room.artifacts.put("1/a/file.txt", tmp_path / "file")
    assert put == Artifact(
        path="1/a/text.txt", digest=digest_bytes(b"bytes"), size_bytes=5, created_at_ms=room.clock.now_ms
    )
    assert room.artifacts.find("1/a/text.txt") == room.artifacts.get("1/a/text.txt") == put
    with room.artifacts.open("1/a/file.txt") as file:
        file.seek(5)
        assert file.read() == b"a file"
    assert room.drafts == []


def test_what_is_absent_is_not_found(room: Room) -> None:
    room.artifacts.put("a/b", b"")
    assert room.artifacts.find("a") is None
    for path in ("a", "b", "a/b/c"):
        with pytest.raises(NotFound, match=f"no artifact '{path}'"):
            room.artifacts.open(path)


def test_a_draft_written_in_pieces_is_one_file(room: Room) -> None:
    upload = room.artifacts.begin()
    for piece in (b"one ", bytearray(b"two "), b"", b"three"):
        upload.write(piece)
    assert room.artifacts.find("numbers") is None
    artifact = room.artifacts.finish("numbers", upload)
    assert (artifact.digest, artifact.size_bytes) == (digest_bytes(b"one two three"), 13)
    with room.artifacts.open("numbers") as file:
        assert file.read() == b"one two three"


def test_an_aborted_draft_leaves_nothing(room: Room) -> None:
    upload = room.artifacts.begin()
    upload.write(b"half")
    assert len(room.drafts) == 1
    upload.abort()
    upload.abort()
    assert room.drafts == []
    assert room.stored == []


def test_a_second_put_replaces_the_first(room: Room) -> None:
    room.artifacts.put("a", b"old")
    with room.artifacts.open("a") as held:
        assert room.artifacts.put("a", b"newer").size_bytes == 5
        assert held.read() == b"old"
    with room.artifacts.open("a") as file:
        assert file.read() == b"newer"
    assert [each.path for each in room.artifacts.walk()] == ["a"]


def test_equal_content_is_stored_once(room: Room) -> None:
    for path in ("1/a/conda.yaml", "1/b/conda.yaml", "1/b/conda.yaml"):
        room.artifacts.put(path, b"name: env")
    assert room.stored == [digest_bytes(b"name: env")]
    assert room.drafts == []
    room.artifacts.delete("1/a")
    with room.artifacts.open("1/b/conda.yaml") as file:
        assert file.read() == b"name: env"


def test_a_file_cannot_be_where_a_directory_is_or_below_a_file(room: Room) -> None:
    room.artifacts.put("a/b/c", b"c")
    with pytest.raises(Invalid, match=r"Invalid path: 'a/b' is a directory"):
        room.artifacts.put("a/b", b"x")
    with pytest.raises(Invalid, match=r"Invalid path: 'a/b/c/d/e' lies in 'a/b/c', which is a file"):
        room.artifacts.put("a/b/c/d/e", b"x")
    with pytest.raises(Invalid, match="Invalid path"):
        room.artifacts.put("a/../b", b"x")
    assert [each.path for each in room.artifacts.walk()] == ["a/b/c"]
    assert room.drafts == []
    for beside in ("a/b0", "a/b.c", "a/b-", "a/bc/d"):
        room.artifacts.put(beside, b"")


def test_a_directory_lists_what_lies_right_in_it(room: Room) -> None:
    put_model(room)
    room.artifacts.put("1/abc/artifacts/model.txt", b"beside")
    assert room.artifacts.list(MODEL) == (
        Entry(name="MLmodel", is_dir=False, size_bytes=11),
        Entry(name="data", is_dir=True),
        Entry(name="requirements", is_dir=False, size_bytes=1),
    )
    assert [each.name for each in room.artifacts.list("1/abc/artifacts")] == ["model", "model.txt"]
    assert room.artifacts.list() == (Entry(name="1", is_dir=True),)
    for nothing in (f"{MODEL}/MLmodel", "absent", f"{MODEL}/dat", f"{MODEL}/data/model.pkl/x"):
        assert room.artifacts.list(nothing) == ()
    with pytest.raises(Invalid, match="Invalid path"):
        room.artifacts.list("../..")


def test_a_listing_steps_over_what_is_deep_and_misses_nothing_beside_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE_ROWS", 3)
    names = {f"top/big/{n:02}" for n in range(20)} | {
        "top/big-",
        "top/big.",
        "top/big0",
        "top/biga/x",
        "top/a",
        "top/z",
    }
    for name in names:
        room.artifacts.put(name, b"")
    reads = []
    read = type(room.db).read
    monkeypatch.setattr(type(room.db), "read", lambda *args, **params: reads.append(args) or read(*args, **params))
    listed = [each.name for each in room.artifacts.list("top")]
    assert listed == sorted({name.split("/")[1] for name in names})
    assert len(reads) < 6
    assert {each.path for each in room.artifacts.walk()} == names


def test_a_directory_is_laid_out_as_files(room: Room, tmp_path: Path) -> None:
    files = put_model(room)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "model", tmp_path / "empty"):
        room.artifacts.copy_to(MODEL, folder)
        found = {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
        assert found == files
        assert [each.name for each in folder.parent.glob(".*")] == []
    with pytest.raises(Conflict, match="has files already"):
        room.artifacts.copy_to(MODEL, tmp_path / "empty")
    with pytest.raises(NotFound, match="no artifacts below 'absent'"):
        room.artifacts.copy_to("absent", tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_changing_a_laid_out_file_leaves_what_is_stored(room: Room, tmp_path: Path) -> None:
    room.artifacts.put("m/a", b"stored")
    room.artifacts.copy_to("m", tmp_path / "m")
    (tmp_path / "m" / "a").write_bytes(b"changed")
    with room.artifacts.open("m/a") as file:
        assert file.read() == b"stored"


def test_damaged_content_is_not_laid_out(room: Room, tmp_path: Path) -> None:
    artifact = room.artifacts.put("m/a", b"good")
    room.blobs.put(f"artifacts/{artifact.digest[:2]}/{artifact.digest}", b"evil")
    with pytest.raises(Corrupt, match="'m/a' is not what was put"):
        room.artifacts.copy_to("m", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_delete_takes_a_file_or_everything_below(room: Room) -> None:
    put_model(room)
    room.artifacts.put(f"{MODEL}s/kept", b"")
    assert room.artifacts.delete(f"{MODEL}/MLmodel") == 1
    assert room.artifacts.delete(MODEL) == 3
    assert room.artifacts.delete(MODEL) == 0
    assert [each.path for each in room.artifacts.walk()] == [f"{MODEL}s/kept"]
    with pytest.raises(Invalid, match="Invalid path"):
        room.artifacts.delete("")


@pytest.mark.parametrize("path", ["a/x", "b"])
def test_two_puts_at_once_that_exclude_each_other_leave_one(room: Room, path: str) -> None:
    errors: list[Exception] = []

    def put(path: str) -> None:
        try:
            room.artifacts.put(path, path.encode())
        except Invalid as exc:
            errors.append(exc)

    threads = [threading.Thread(target=put, args=(each,)) for each in ("a", path) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {each.path for each in room.artifacts.walk()}
    assert (found, len(errors)) == (({"a", "b"}, 0) if path == "b" else (found, 4))
    assert len(found) == (2 if path == "b" else 1)
    assert room.drafts == []


def test_a_full_disk_stores_nothing_and_says_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = room.artifacts.begin()

    class Full:
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            file.close()

    file = upload._file
    monkeypatch.setattr(upload, "_file", Full())
    with pytest.raises(Unavailable, match="no space left to write"):
        upload.write(b"x")
    upload.abort()
    assert room.drafts == []
    with pytest.raises(Unavailable, match=r"the file has 1,000,000,000,000 MB and the disk of .* MB left"):
        room.artifacts.begin(expected_bytes=10**18)


# ---------------------------------------------------------------- what is left over


def test_left_over_content_goes_after_a_day(room: Room) -> None:
    for path, data in (("a", b"1"), ("b", b"1"), ("c", b"2"), ("d", b"3")):
        room.artifacts.put(path, data)
    room.artifacts.delete("a")
    room.artifacts.delete("c")
    room.artifacts.put("d", b"4")
    left = tuple(sorted((digest_bytes(b"2"), digest_bytes(b"3"))))
    assert room.artifacts.unreferenced() == left
    room.clock.now_ms += DAY_MS - 1
    assert room.artifacts.collect(dry_run=True) == room.artifacts.collect() == ()
    room.clock.now_ms += 1
    assert sorted(room.artifacts.collect(dry_run=True)) == list(left)
    assert len(room.stored) == 4
    assert sorted(room.artifacts.collect()) == list(left)
    assert room.stored == sorted((digest_bytes(b"1"), digest_bytes(b"4")))
    assert room.artifacts.unreferenced() == room.artifacts.collect() == ()


def test_content_without_a_row_is_noticed_and_goes_a_day_later(room: Room) -> None:
    digest = digest_bytes(b"stored by a process that was killed then")
    room.blobs.put(f"artifacts/{digest[:2]}/{digest}", b"stored by a process that was killed then")
    room.clock.now_ms += 10 * DAY_MS
    assert room.artifacts.unreferenced() == (digest,)
    assert room.artifacts.collect() == ()
    room.clock.now_ms += DAY_MS
    assert room.artifacts.collect() == (digest,)
    assert room.stored == []


def test_content_that_is_put_again_stays(room: Room) -> None:
    room.artifacts.put("a", b"again")
    room.artifacts.delete("a")
    room.clock.now_ms += DAY_MS
    room.artifacts.put("b", b"again")
    assert room.artifacts.collect() == ()
    room.artifacts.delete("b")
    assert room.artifacts.collect() == ()  # the day begins anew
    room.clock.now_ms += DAY_MS
    assert len(room.artifacts.collect()) == 1


@pytest.mark.parametrize("at", ["_keep", "_record"])
def test_a_collection_at_any_moment_of_an_upload_takes_nothing_from_it(
    room: Room, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.artifacts.put("old", b"again")
    room.artifacts.delete("old")
    room.clock.now_ms += DAY_MS
    collect = room.opened().collect
    step: Callable[..., object] = getattr(room.artifacts, at)

    def collected_first(*args: object, **named: object) -> object:
        collect()
        return step(*args, **named)

    monkeypatch.setattr(room.artifacts, at, collected_first)
    room.artifacts.put("new", b"again")
    collect()
    with room.artifacts.open("new") as file:
        assert file.read() == b"again"
    room.clock.now_ms += 2 * DAY_MS
    assert collect() == ()


def test_an_upload_that_took_half_a_day_to_store_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    adopt = room.blobs.adopt

    def slow(key: str, file: Path) -> None:
        adopt(key, file)
        room.clock.now_ms += DAY_MS // 2 + 1

    monkeypatch.setattr(room.blobs, "adopt", slow)
    with pytest.raises(Unavailable, match="storing 'a' took too long"):
        room.artifacts.put("a", b"x")
    assert room.artifacts.find("a") is None


def test_drafts_of_a_killed_process_are_swept_and_one_being_written_is_left(room: Room) -> None:
    mine = room.artifacts.begin()
    mine.write(b"slowly")
    (room.folder / "drafts" / "of-a-killed-process").write_bytes(b"half")
    (room.folder / "drafts" / "just-made").write_bytes(b"")
    for name in (mine.path.name, "of-a-killed-process"):
        os.utime(room.folder / "drafts" / name, (0, 0))
    room.opened()
    assert sorted(each.name for each in room.drafts) == sorted([mine.path.name, "just-made"])
    os.utime(room.folder / "drafts" / "just-made", (0, 0))
    room.artifacts.collect()
    assert [each.name for each in room.drafts] == [mine.path.name]
    room.artifacts.finish("a", mine)
    assert room.drafts == []


# ---------------------------------------------------------------- any paths


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with alone(tmp_path_factory.mktemp("local")) as room:
        room.db.migrate(migrations.scripts())
        yield room


NAME = st.text(st.sampled_from("ab-./0ä\U0001f600 "), min_size=1, max_size=3).filter(
    lambda name: "/" not in name and name not in (".", "..")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=12), page_rows=st.integers(1, 4))
def test_any_listing_is_that_of_the_same_files_on_a_disk(
    local: Room, monkeypatch: pytest.MonkeyPatch, wanted: list[str], page_rows: int
) -> None:
    monkeypatch.setattr(store, "PAGE_ROWS", page_rows)
    for top in local.artifacts.list():
        local.artifacts.delete(top.name)
    put: set[str] = set()
    for path in wanted:
        clash = any(path.startswith(each + "/") or each.startswith(path + "/") for each in put)
        try:
            local.artifacts.put(path, path.encode())
        except Invalid:
            assert clash, path
        else:
            assert not clash, path
            put.add(path)
    assert [each.path for each in local.artifacts.walk()] == sorted(put)
    for directory in {"", "/".join(wanted[:1]), *(path.rpartition("/")[0] for path in put)}:
        inside = [
            path.removeprefix(f"{directory}/") for path in put if not directory or path.startswith(f"{directory}/")
        ]
        assert [each.name for each in local.artifacts.list(directory)] == sorted(
            {name.split("/")[0] for name in inside}
        )
