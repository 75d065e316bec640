"""When no column moved alone, the pair that goes together otherwise is named; else nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.monitoring.cause_rest import what_remains
from mlspine.monitoring.cause_rows import Logged
from mlspine.stats.profile import Reference, build_reference

KINDS = {"a": "numeric", "b": "numeric", "c": "numeric", "place": "categorical"}


def logged(rng: np.random.Generator, r: float, rows: int = 2500) -> Logged:
    """Three numbers, two of them correlated at r, and a level that goes with neither."""
    a, b, c = rng.normal(size=(3, rows))
    place = rng.choice(np.array(["x", "y", None], dtype=object), rows)
    blank = np.empty(rows, dtype=object)
    inputs = {"a": a, "b": r * a + np.sqrt(1 - r * r) * b, "c": c, "place": place}
    return Logged(tuple(map(str, range(rows))), np.arange(rows), inputs, np.zeros(rows), blank, blank, blank)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(logged(np.random.default_rng(9), 0.0).inputs, KINDS)  # type: ignore[arg-type]


def test_a_pair_that_goes_together_otherwise_is_named(reference: Reference) -> None:
    rng = np.random.default_rng(0)
    rest = what_remains(reference, {}, logged(rng, 0.0), logged(rng, 0.5), [], windows_before=10)
    assert rest.interaction.startswith("a and b go together otherwise than before (p ")
    assert rest.auc is not None
    assert rest.auc.lo > 0.5
    assert rest.compared.startswith("earlier windows reach 0.5")


def test_unchanged_rows_and_columns_set_aside_name_nothing(reference: Reference) -> None:
    rng = np.random.default_rng(1)
    assert what_remains(reference, {}, logged(rng, 0.3), logged(rng, 0.3), [], windows_before=10).interaction == ""
    aside = what_remains(reference, {}, logged(rng, 0.0), logged(rng, 0.5), ["b"], windows_before=10)
    assert aside.interaction == ""


def test_without_enough_earlier_windows_there_is_no_yardstick_and_no_claim(reference: Reference) -> None:
    rng = np.random.default_rng(2)
    rest = what_remains(reference, {}, logged(rng, 0.0), logged(rng, 0.6), [], windows_before=2)
    assert (rest.interaction, rest.compared) == ("", "")
    few = what_remains(reference, {}, logged(rng, 0.0, 100), logged(rng, 0.6), [], windows_before=10)
    assert few.auc is None
