"""The family: what a message shows, and that it survives a pickle."""

from __future__ import annotations

import pickle

import pytest

from mlspine.core.errors import FAMILY, AlreadyExists, MlspineError, closest


def test_the_text_is_message_details_and_hint_on_lines_of_their_own() -> None:
    error = MlspineError("2 columns are wrong", details=("a: text", "b: missing"), hint="see: mlspine models")
    assert str(error) == "2 columns are wrong\n  - a: text\n  - b: missing\n  see: mlspine models"
    assert str(MlspineError("alone")) == "alone"


@pytest.mark.parametrize("code", sorted(FAMILY))
def test_every_member_is_known_by_its_code_and_survives_a_pickle(code: str) -> None:
    kind = FAMILY[code]
    error = pickle.loads(pickle.dumps(kind("what", hint="do", details=["one"])))
    assert type(error) is kind
    assert (error.code, error.message, error.hint, error.details) == (code, "what", "do", ("one",))


def test_statuses_are_those_of_the_drawn_tree_and_exit_codes_differ() -> None:
    statuses = {code: kind.http_status for code, kind in FAMILY.items()}
    assert statuses == {
        "not_found": 404,
        "conflict": 409,
        "already_exists": 409,
        "invalid": 422,
        "denied": 403,
        "unidentified": 401,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 500,
    }
    exit_codes = [kind.exit_code for kind in FAMILY.values() if kind is not AlreadyExists]  # which is a conflict
    assert len(set(exit_codes)) == len(exit_codes)
    assert not {0, 1} & set(exit_codes)


@pytest.mark.parametrize(("word", "near"), [("chrun", "churn"), ("xyz", ""), ("flight", "flights")])
def test_closest_names_what_was_probably_meant(word: str, near: str) -> None:
    assert closest(word, ["churn", "flights"]) == near
