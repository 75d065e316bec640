"""What every BlobStore must do. A backend joins by adding its place to BACKENDS: a context for one test that
gives a factory, which opens the same store for a machine of its own each time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine.backends.files import FileBlobStore
from mlspine.core.errors import Invalid, NotFound
from mlspine.ports import BlobStore
from tests.s3 import s3_bucket


@contextlib.contextmanager
def folder_of_files(folder: Path) -> Iterator[Callable[[], BlobStore]]:
    yield lambda: FileBlobStore(folder / "blobs")


@contextlib.contextmanager
def fresh_bucket(folder: Path) -> Iterator[Callable[[], BlobStore]]:
    with s3_bucket() as (url, endpoint):
        from mlspine.backends.objects import ObjectBlobStore

        numbers = itertools.count()
        yield lambda: ObjectBlobStore(
            url, endpoint=endpoint, cache=folder / f"cache-{next(numbers)}", cache_bytes=1_000_000_000
        )


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Callable[[], BlobStore]]]] = {
    "files": folder_of_files,
    "s3": fresh_bucket,
}
PART = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=20)


@pytest.fixture(params=sorted(BACKENDS))
def open_blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], BlobStore]]:
    with BACKENDS[request.param](tmp_path) as factory:
        yield factory


@pytest.fixture
def blobs(open_blobs: Callable[[], BlobStore]) -> BlobStore:
    return open_blobs()


def test_what_was_put_is_got(blobs: BlobStore) -> None:
    blobs.put("segments/churn/1.parquet", b"\x00rows")
    assert blobs.get("segments/churn/1.parquet") == b"\x00rows"
    with blobs.open("segments/churn/1.parquet") as file:
        file.seek(1)
        assert file.read() == b"rows"


def test_an_empty_blob_is_a_blob(blobs: BlobStore) -> None:
    blobs.put("a", b"")
    assert blobs.get("a") == b""
    assert list(blobs.list()) == ["a"]


def test_a_file_is_copied_and_stays(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"x" * 3_000_000)
    blobs.put("a/b", source)
    source.write_bytes(b"changed")
    assert blobs.get("a/b") == b"x" * 3_000_000


def test_an_adopted_file_becomes_the_blob_and_leaves_its_place(
    open_blobs: Callable[[], BlobStore], blobs: BlobStore, tmp_path: Path
) -> None:
    for content in (b"x" * 6_000_000, b""):
        draft = tmp_path / "draft.bin"
        draft.write_bytes(content)
        blobs.adopt("new folder/b", draft)
        assert not draft.exists()
        assert list(blobs.list()) == ["new folder/b"]
        for store in (blobs, open_blobs()):
            assert store.get("new folder/b") == content
            assert Path(store.locate("new folder/b")).read_bytes() == content
    blobs.delete("new folder/b")
    with pytest.raises(NotFound):
        blobs.get("new folder/b")


def test_what_cannot_be_adopted_stays_where_it_is(blobs: BlobStore, tmp_path: Path) -> None:
    draft = tmp_path / "draft.bin"
    draft.write_bytes(b"x")
    with pytest.raises(Invalid, match="cannot be a blob's key"):
        blobs.adopt("../a", draft)
    assert draft.read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        blobs.adopt("a", tmp_path / "absent")
    assert list(blobs.list()) == []


def test_a_second_put_replaces_the_first_whole(blobs: BlobStore) -> None:
    blobs.put("a", b"long content")
    held = blobs.open("a")
    blobs.put("a", b"short")
    with held:
        assert held.read() == b"long content"  # who was reading keeps what was there
    assert blobs.get("a") == b"short"


def test_a_put_that_fails_half_way_leaves_the_old_blob_and_no_trace(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put("a", b"old")
    with pytest.raises(FileNotFoundError):
        blobs.put("a", tmp_path / "absent")
    assert blobs.get("a") == b"old"
    assert list(blobs.list()) == ["a"]


def test_what_is_absent_is_not_found(blobs: BlobStore) -> None:
    blobs.put("folder/a", b"")
    for key in ("absent", "folder", "folder/a/b"):
        with pytest.raises(NotFound, match=key):
            blobs.get(key)


def test_a_deleted_blob_is_gone_and_deleting_again_is_nothing(blobs: BlobStore) -> None:
    blobs.put("a/b", b"x")
    blobs.delete("a/b")
    blobs.delete("a/b")
    blobs.delete("a/b/c")
    assert list(blobs.list()) == []
    with pytest.raises(NotFound):
        blobs.get("a/b")


def test_list_is_sorted_and_takes_any_prefix(blobs: BlobStore) -> None:
    for key in ("b/2", "b/10", "a", "bc/1", "b/c/d"):
        blobs.put(key, b"")
    assert list(blobs.list()) == ["a", "b/10", "b/2", "b/c/d", "bc/1"]
    assert list(blobs.list("b")) == ["b/10", "b/2", "b/c/d", "bc/1"]
    assert list(blobs.list("b/")) == ["b/10", "b/2", "b/c/d"]
    assert list(blobs.list("b/1")) == ["b/10"]
    assert list(blobs.list("absent/x")) == []


def test_a_located_blob_is_a_file_with_its_bytes_on_every_machine(
    open_blobs: Callable[[], BlobStore], blobs: BlobStore
) -> None:
    blobs.put("new folder/one.bin", b"rows")
    other = open_blobs()
    for store in (blobs, other, other):
        assert Path(store.locate("new folder/one.bin")).read_bytes() == b"rows"
    assert Path(other.locate("new folder/one.bin")).suffix == ".bin"


def test_what_is_absent_cannot_be_located(open_blobs: Callable[[], BlobStore], blobs: BlobStore) -> None:
    blobs.put("folder/a", b"")
    for key in ("absent", "folder", "folder/a/b"):
        with pytest.raises(NotFound, match=key):
            blobs.locate(key)
    blobs.delete("folder/a")
    for store in (blobs, open_blobs()):
        with pytest.raises(NotFound):
            store.locate("folder/a")


def test_what_another_machine_deleted_is_gone_here_after_listing(
    open_blobs: Callable[[], BlobStore], blobs: BlobStore
) -> None:
    other = open_blobs()
    for key in ("log/a", "log/b", "rest"):
        blobs.put(key, key.encode())
        other.locate(key)
    blobs.delete("log/a")
    assert list(other.list("log/")) == ["log/b"]
    with pytest.raises(NotFound):
        other.locate("log/a")
    assert Path(other.locate("rest")).read_bytes() == b"rest"


def test_what_is_being_read_stays_whatever_is_put_meanwhile(blobs: BlobStore) -> None:
    blobs.put("a", b"read me")
    with blobs.reading():
        path = Path(blobs.locate("a"))
        with blobs.reading():
            blobs.put("b", b"other")
        assert path.read_bytes() == b"read me"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "a/./b", "a\\b", "a\0b"])
def test_a_key_cannot_leave_the_store(blobs: BlobStore, key: str) -> None:
    for act in (
        lambda: blobs.put(key, b""),
        lambda: blobs.get(key),
        lambda: blobs.delete(key),
        lambda: blobs.locate(key),
    ):
        with pytest.raises(Invalid, match="cannot be a blob's key"):
            act()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(PART.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3),
    data=st.binary(),
)
def test_any_sane_key_holds_any_bytes(blobs: BlobStore, parts: list[str], data: bytes) -> None:
    key = "/".join(["any", *parts, "blob"])
    blobs.put(key, data)
    assert blobs.get(key) == data
    assert key in list(blobs.list("any/"))
    blobs.delete(key)
