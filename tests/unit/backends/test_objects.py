"""What is an object store's own: how it is named, and what it says when it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.backends import objects
from mlspine.backends.objects import ObjectBlobStore
from mlspine.core.errors import Invalid, NotFound, Unavailable
from tests.desk import free_port
from tests.s3 import s3_bucket


def opened(folder: Path, url: str, endpoint: str, cache_bytes: int = 1_000_000) -> ObjectBlobStore:
    return ObjectBlobStore(url, endpoint=endpoint, cache=folder / "cache", cache_bytes=cache_bytes)


@pytest.mark.parametrize("url", ["s3://", "bucket/prefix", "https://host/bucket", "s3://key:secret@bucket/prefix"])
def test_only_a_bucket_and_a_prefix_are_a_place(tmp_path: Path, url: str) -> None:
    with pytest.raises(Invalid, match="no S3 URL") as caught:
        opened(tmp_path, url, "")
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with s3_bucket() as (_, endpoint):
        blobs = opened(tmp_path, "s3://absent-bucket/prefix", endpoint)
        for act in (lambda: blobs.put("a", b""), lambda: list(blobs.list())):
            with pytest.raises(NotFound, match=r"absent-bucket/prefix: there is no such bucket"):
                act()


def test_a_store_that_does_not_answer_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_MAX_RETRIES", 0)
    with s3_bucket() as (url, _):
        blobs = opened(tmp_path, url, f"http://127.0.0.1:{free_port()}")
        with pytest.raises(Unavailable, match=r"s3://test-.* does not answer") as caught:
            blobs.get("a")
    assert "\n" not in caught.value.message


def test_two_places_of_one_bucket_are_apart(tmp_path: Path) -> None:
    with s3_bucket() as (url, endpoint):
        one, other = opened(tmp_path / "1", url, endpoint), opened(tmp_path / "2", url + "-other", endpoint)
        one.put("a", b"1")
        assert list(other.list()) == []


def test_an_adopted_file_takes_no_room_in_the_cache_until_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"model")
    with s3_bucket() as (url, endpoint):
        blobs = opened(tmp_path, url, endpoint)
        blobs.put("a", b"old")
        blobs.adopt("a", tmp_path / "draft")
        assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
        assert Path(blobs.locate("a")).read_bytes() == b"model"


def test_a_large_file_goes_in_parts_and_comes_back_whole(tmp_path: Path) -> None:
    source = tmp_path / "large.bin"
    source.write_bytes(bytes(range(256)) * 50_000)
    with s3_bucket() as (url, endpoint):
        opened(tmp_path / "1", url, endpoint).put("large.bin", source)
        other = opened(tmp_path / "2", url, endpoint)
        with other.reading():  # it is larger than the cache
            assert Path(other.locate("large.bin")).read_bytes() == source.read_bytes()


def test_what_this_machine_put_it_does_not_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_bucket() as (url, endpoint):
        blobs = opened(tmp_path, url, endpoint)
        blobs.put("log/a", b"rows")
        monkeypatch.setattr(objects.obstore, "get", None)
        assert Path(blobs.locate("log/a")).read_bytes() == b"rows"


def test_a_full_disk_of_this_machine_does_not_keep_a_blob_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with s3_bucket() as (url, endpoint):
        blobs = opened(tmp_path, url, endpoint)
        monkeypatch.setattr("mlspine.backends.blob_cache.shutil.copyfileobj", full)
        blobs.put("a", b"rows")
        assert blobs.get("a") == b"rows"
