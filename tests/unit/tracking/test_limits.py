"""What may be logged: names, lengths, amounts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mlspine.core.errors import Invalid
from mlspine.tracking import limits
from mlspine.tracking.run import DatasetInput, Point


@pytest.mark.parametrize("key", ["loss", "a/b", "a b", "a:b", "a-b.c", "é", "数", ".hidden", "system/cpu_0", "k" * 250])
def test_a_name_that_can_be_is_taken(key: str) -> None:
    assert limits.check_key(key, what="metric") == key


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "/a", "a//b", "a/", "./a", "a/../b", "../a", "a&b", "a\nb", "a\n", "a\x00", "a\\b", "k" * 251],
)
def test_a_name_that_cannot_be_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        limits.check_key(key, what="metric")


def test_a_long_value_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert limits.checked_params([("p", "v" * 6001)]) == {"p": "v" * 6000}
        assert limits.checked_tags([("t", "v" * 8001)]) == {"t": "v" * 8000}
    assert len(caplog.records) == 2
    assert limits.checked_params([("p", "v" * 6000)]) == {"p": "v" * 6000}
    assert len(caplog.records) == 2


def test_a_param_twice_in_one_batch_is_refused_and_a_tag_twice_is_the_last() -> None:
    with pytest.raises(Invalid, match=r"Duplicate parameter keys.*'p'"):
        limits.checked_params([("p", "1"), ("q", "1"), ("p", "1")])
    assert limits.checked_tags([("t", "1"), ("t", "2")]) == {"t": "2"}


def test_a_run_begins_with_tags_of_any_signs_but_not_of_any_length() -> None:
    assert limits.first_tags([("a&b", "1"), ("a&b", "2")]) == {"a&b": "2"}
    for key in ("", "k" * 251):
        with pytest.raises(Invalid, match="1 to 250"):
            limits.first_tags([(key, "x")])


@pytest.mark.parametrize("amounts", [(1000, 0, 0), (0, 100, 100), (800, 100, 100)])
def test_a_batch_within_the_bounds_is_taken(amounts: tuple[int, int, int]) -> None:
    limits.check_amounts(*amounts)


@pytest.mark.parametrize(
    ("amounts", "what"),
    [((1001, 0, 0), "metrics"), ((0, 101, 0), "params"), ((0, 0, 101), "tags"), ((900, 100, 1), "entities")],
)
def test_a_batch_beyond_the_bounds_is_refused_by_what_is_too_much(amounts: tuple[int, int, int], what: str) -> None:
    with pytest.raises(Invalid, match=f"at most .* {what}"):
        limits.check_amounts(*amounts)


@pytest.mark.parametrize(("field", "number"), [("timestamp_ms", 2**63), ("step", 2**63), ("step", -(2**63))])
def test_a_number_beyond_64_bits_is_refused(field: str, number: int) -> None:
    fields: dict[str, Any] = {"key": "k", "value": 0.0, "timestamp_ms": 0, field: number}
    with pytest.raises(Invalid, match="64-bit"):
        limits.check_point(Point(**fields))


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(Invalid, match="negative"):
        limits.check_point(Point(key="k", value=0.0, timestamp_ms=-1))


@pytest.mark.parametrize("location", ["s3://b/a/../c", "..", "s3://b?x=1", "s3://b#x"])
def test_a_place_that_leads_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(Invalid, match="Invalid artifact location"):
        limits.check_artifact_location(location)


def dataset(**fields: str) -> DatasetInput:
    return DatasetInput(**({"name": "n", "digest": "d", "source_type": "t", "source": "s"} | fields))  # type: ignore[arg-type]


def test_a_described_dataset_is_taken() -> None:
    limits.check_datasets([dataset(digest="d" * 36, name="n" * 500)] * 1000)


def test_a_dataset_may_say_little_as_mlflow_takes_it() -> None:
    limits.check_datasets([dataset(name="", digest="", source_type="", source="")])


@pytest.mark.parametrize(
    "bad",
    [
        dataset(name="n" * 501),
        dataset(digest="d" * 37),
        dataset(source="s" * 65_536),
        dataset(schema_text="s" * 1_048_576),
        dataset(profile="p" * 16_777_216),
    ],
)
def test_a_dataset_that_says_too_much_is_refused(bad: DatasetInput) -> None:
    with pytest.raises(Invalid, match="dataset"):
        limits.check_datasets([dataset(), bad])


def test_too_many_datasets_at_once_are_refused() -> None:
    with pytest.raises(Invalid, match="1001 datasets"):
        limits.check_datasets([dataset()] * 1001)
