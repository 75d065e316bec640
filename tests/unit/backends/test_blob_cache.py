"""Copies of blobs on one machine: bounded, and never taken away from who reads them."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from mlspine.backends.blob_cache import BlobCache


def keep(cache: BlobCache, name: str, size: int = 100) -> Path:
    return cache.keep(name, io.BytesIO(b"x" * size))


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "blobs").rglob("*") if path.is_file())


def aged(folder: Path, name: str, seconds: float) -> None:
    path = folder / "blobs" / name
    stamp = path.stat().st_mtime - seconds
    os.utime(path, (stamp, stamp))


def test_beyond_the_bound_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=250)
    for age, name in ((30, "a"), (20, "b")):
        keep(cache, name)
        aged(tmp_path, name, age)
    assert cache.path("a") is not None  # used now
    keep(cache, "c")
    assert held(tmp_path) == ["a", "c"]
    assert cache.path("b") is None


def test_a_process_that_finds_a_full_cache_makes_room_too(tmp_path: Path) -> None:
    first = BlobCache(tmp_path, max_bytes=1_000)
    for name in "abcd":
        keep(first, name)
        aged(tmp_path, name, 60)
    keep(BlobCache(tmp_path, max_bytes=250), "e")
    assert len(held(tmp_path)) == 2
    assert "e" in held(tmp_path)


def test_what_is_being_read_outlives_the_bound_deletion_and_another_process(tmp_path: Path) -> None:
    cache, other = BlobCache(tmp_path, max_bytes=250), BlobCache(tmp_path, max_bytes=250)
    keep(cache, "a")
    with cache.pinned():
        path = cache.path("a")
        assert path is not None
        other.drop("a")
        for name in "bcde":
            keep(other, name)
        assert path.read_bytes() == b"x" * 100
    assert not path.exists()
    assert list((tmp_path / ".pins").iterdir()) == []


def test_one_larger_than_the_bound_can_still_be_read(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=10)
    with cache.pinned():
        assert keep(cache, "large").read_bytes() == b"x" * 100
    assert held(tmp_path) == []


def test_readers_in_many_threads_and_a_writer_that_keeps_evicting(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=350)
    wrong: list[bytes] = []

    def read(number: int) -> None:
        for turn in range(30):
            name = f"{(number + turn) % 6}"
            with cache.pinned():
                path = cache.path(name) or cache.keep(name, io.BytesIO(name.encode() * 100))
                found = path.read_bytes()
            if found != name.encode() * 100:
                wrong.append(found)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(path.stat().st_size for path in (tmp_path / "blobs").iterdir()) <= 350


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    cache = BlobCache(tmp_path, max_bytes=1_000)
    keep(cache, "a")
    with cache.pinned():
        path = cache.path("a")
        assert path is not None
        cache.drop("a")
        assert path.read_bytes() == b"x" * 100


def test_pins_and_drafts_of_a_killed_process_are_swept_when_they_are_old(tmp_path: Path) -> None:
    BlobCache(tmp_path, max_bytes=10)
    for folder in (".pins", ".drafts"):
        for name in ("old", "fresh"):
            place = tmp_path / folder / name
            place.mkdir()
            if name == "old":
                os.utime(place, (1, 1))
    BlobCache(tmp_path, max_bytes=10)
    assert [path.name for path in tmp_path.rglob("*") if path.name in ("old", "fresh")] == ["fresh", "fresh"]
