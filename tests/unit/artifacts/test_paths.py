"""What an artifact may be called."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.artifacts.paths import check_path
from mlspine.core.errors import Invalid


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../../b", "a\\b", "..\\a",
        "a\0b", "a\nb", "C:/windows", "%2e%2e/a", "a/%2E%2e/b", "a/%2e%2e%2fb", "%2fetc/passwd", "a%5c..%5cb", "a%00b",
        "\udce4", "x" * 256, "ä" * 128, "/".join(["directory"] * 500),
    ],
)  # fmt: skip
def test_a_path_that_leaves_its_root_or_is_none_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="Invalid path"):
        check_path(path)


@pytest.mark.parametrize(
    "path",
    ["a", "1/0c3f/artifacts/model/MLmodel", "a b/ü.txt", "100%", "50%25", "..a/b..", "...", "a=b;c#d?e", "x" * 255],
)
def test_an_ordinary_path_is_itself(path: str) -> None:
    assert check_path(path) == path


@given(st.text(st.sampled_from("ab./\\%25eEfF2c0:"), max_size=24))
def test_no_path_that_passes_leaves_its_root_before_or_after_decoding(path: str) -> None:
    try:
        check_path(path)
    except Invalid:
        return
    for each in (path, unquote(path)):
        assert not PurePosixPath(each).is_absolute()
        assert ".." not in PurePosixPath(each).parts
        assert "\\" not in each
    assert str(PurePosixPath(path)) == path
    assert check_path(unquote(quote(path))) == path
