import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.errors import Invalid
from mlspine.serving.request_id import new_request_id, read_request_id


@given(st.integers(0, 2**48 - 1))
def test_it_is_a_version_7_uuid_of_its_millisecond(at_ms: int) -> None:
    text = new_request_id(at_ms)
    made = uuid.UUID(text)
    assert (made.version, made.variant, str(made)) == (7, uuid.RFC_4122, text)
    assert made.int >> 80 == at_ms


def test_they_differ_within_a_millisecond() -> None:
    assert len({new_request_id(0) for _ in range(10_000)}) == 10_000


def test_the_callers_own_id_is_taken_in_canonical_form() -> None:
    given_id = b"{0123ABCD-0123-4123-8123-0123456789AB}"
    assert read_request_id(given_id) == "0123abcd-0123-4123-8123-0123456789ab"


@given(st.binary(max_size=20))
def test_anything_else_is_refused(given_id: bytes) -> None:
    with pytest.raises(Invalid, match="no UUID"):
        read_request_id(given_id)
