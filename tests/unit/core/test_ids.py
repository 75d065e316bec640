"""Ids sort by time, digests depend on content only, references read one way."""

from __future__ import annotations

import uuid
from pathlib import Path

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.errors import Invalid
from mlspine.core.ids import (
    ModelRef,
    check_name,
    digest_bytes,
    digest_file,
    digest_json,
    parse_model_ref,
    uuid7,
)

MOMENT = st.integers(0, 2**48 - 1)


@given(at_ms=MOMENT)
def test_uuid7_is_a_version_7_uuid_that_holds_its_time(at_ms: int) -> None:
    parsed = uuid.UUID(uuid7(at_ms))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == at_ms


@given(first=MOMENT, second=MOMENT)
def test_uuid7_texts_sort_by_their_time(first: int, second: int) -> None:
    if first < second:
        assert uuid7(first) < uuid7(second)


def test_uuid7_of_one_moment_differ() -> None:
    assert len({uuid7(0) for _ in range(1000)}) == 1000


def test_digests_of_a_file_and_of_its_bytes_agree(tmp_path: Path) -> None:
    for size in (0, 1, 3_000_000):
        data = bytes(size)
        file = tmp_path / str(size)
        file.write_bytes(data)
        assert digest_file(file) == digest_bytes(data) == blake3.blake3(data).hexdigest()


def test_equal_values_have_one_digest_whatever_their_order() -> None:
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


@pytest.mark.parametrize("name", ["churn", "Churn-2.0_b", "9", "a" * 63])
def test_a_name_that_can_stand_in_a_url_is_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "a" * 64, "é", "a\n", None, 3])
def test_a_name_that_cannot_is_refused_with_an_example(name: object) -> None:
    with pytest.raises(Invalid) as caught:
        check_name(name)  # type: ignore[arg-type]
    assert 'e.g. name="churn"' in caught.value.hint


@pytest.mark.parametrize("name", ["v2", "PING", "Invocations"])
def test_a_name_that_is_a_route_is_refused_with_another(name: str) -> None:
    with pytest.raises(Invalid, match="reserved") as caught:
        check_name(name)
    assert f"{name}-model" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("churn", ModelRef("churn", "name")),
        ("churn:3", ModelRef("churn", "version", version=3)),
        ("churn@champion", ModelRef("churn", "alias", alias="champion")),
        ("Churn, June@champion", ModelRef("Churn, June", "alias", alias="champion")),
        ("ann@home:3", ModelRef("ann@home", "version", version=3)),
    ],
)
def test_references_read_in_three_forms(text: str, expected: ModelRef) -> None:
    assert parse_model_ref(text) == expected


@pytest.mark.parametrize("text", ["churn:", "churn:0", "churn:x", "churn:-1", "churn@", "@a", ":1", "a/b:1"])
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_model_ref(text)
