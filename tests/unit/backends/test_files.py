"""What is a directory's own: drafts, full and forbidden disks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlspine.backends.files import DRAFT_LIFE_S, FileBlobStore
from mlspine.core.errors import Denied, Invalid, Unavailable


def test_a_draft_of_a_killed_process_is_swept_and_a_fresh_one_is_left(tmp_path: Path) -> None:
    drafts = tmp_path / ".drafts"
    drafts.mkdir()
    for name in ("old", "fresh"):
        (drafts / name).write_bytes(b"half")
    long_ago = (drafts / "old").stat().st_mtime - DRAFT_LIFE_S - 1
    os.utime(drafts / "old", (long_ago, long_ago))
    blobs = FileBlobStore(tmp_path)
    assert [path.name for path in drafts.iterdir()] == ["fresh"]
    assert list(blobs.list()) == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(errno.ENOSPC, Unavailable, "no space left"), (errno.EROFS, Denied, "cannot be written")],
)
def test_a_disk_that_takes_nothing_leaves_the_old_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], words: str
) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.put("a", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(kind, match=words):
            blobs.put("a", b"new")
    assert blobs.get("a") == b"old"
    assert not any((tmp_path / ".drafts").iterdir())


def test_a_file_that_cannot_be_brought_to_disk_is_not_adopted_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = FileBlobStore(tmp_path / "blobs")
    (tmp_path / "draft").write_bytes(b"new")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable, match="no space left"):
            blobs.adopt("a", tmp_path / "draft")
    assert list(blobs.list()) == []
    assert (tmp_path / "draft").read_bytes() == b"new"


def test_a_file_of_another_disk_is_adopted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FileBlobStore(tmp_path / "blobs")
    draft = tmp_path / "elsewhere" / "draft"
    draft.parent.mkdir()
    draft.write_bytes(b"far away")
    replace = Path.replace

    def between_disks(path: Path, target: Path) -> Path:
        if path == draft:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", between_disks)
    blobs.adopt("a", draft)
    assert blobs.get("a") == b"far away"
    assert not draft.exists()


def test_a_key_inside_another_blob_is_refused(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.put("a", b"")
    with pytest.raises(Invalid, match=r"is a blob"):
        blobs.put("a/b", b"")
