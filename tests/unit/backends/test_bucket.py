"""Other people's buckets, for reading: globs, copies, and what is wrong in words."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlspine.backends.bucket import Buckets
from mlspine.core.errors import Invalid, NotFound
from tests.s3 import s3_bucket


@pytest.fixture
def bucket() -> Iterator[tuple[str, Buckets]]:
    with s3_bucket() as (url, endpoint):
        name = url.split("/")[2]
        for key in ("logs/day=1/a.csv", "logs/day=2/b.csv", "logs/day=2/deep/c.csv", "logs/d.csv", "logs/notes.txt"):
            request = urllib.request.Request(
                f"{endpoint}/{name}/{key}",
                data=key.encode(),
                method="PUT",
                headers={"Content-Type": "application/octet-stream"},
            )
            urllib.request.urlopen(request, timeout=30).close()
        yield f"s3://{name}", Buckets(endpoint)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("logs/day=*/*.csv", ["day=1/a.csv", "day=2/b.csv"]),
        ("logs/**/*.csv", ["d.csv", "day=1/a.csv", "day=2/b.csv", "day=2/deep/c.csv"]),
        ("logs/d.csv", ["d.csv"]),
        ("logs/day=?/b.csv", ["day=2/b.csv"]),
    ],
)
def test_a_glob_means_the_objects_it_looks_like(bucket: tuple[str, Buckets], pattern: str, names: list[str]) -> None:
    url, buckets = bucket
    found = buckets.find(f"{url}/{pattern}")
    assert sorted(found) == [f"{url}/logs/{name}" for name in names]
    assert all(mark.split()[0].isdigit() for mark in found.values())


def test_a_copy_is_what_lies_there(bucket: tuple[str, Buckets], tmp_path: Path) -> None:
    url, buckets = bucket
    buckets.fetch(f"{url}/logs/day=1/a.csv", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "logs/day=1/a.csv"


def test_what_is_not_there_is_told(bucket: tuple[str, Buckets], tmp_path: Path) -> None:
    url, buckets = bucket
    with pytest.raises(NotFound, match="no object"):
        buckets.find(f"{url}/nothing/*.csv")
    with pytest.raises(NotFound, match="no object"):
        buckets.fetch(f"{url}/logs/gone.csv", tmp_path / "gone.csv")
    with pytest.raises(NotFound, match="no such bucket"):
        buckets.find("s3://nobodys-bucket-here/*.csv")
    with pytest.raises(Invalid, match="names no object"):
        buckets.find("s3://bucket")
