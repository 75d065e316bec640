"""How much each column moves the output."""

from __future__ import annotations

import numpy as np

from mlspine.core.types import Columns
from mlspine.registry.flavors import Outputs
from mlspine.registry.importance import influence

RNG = np.random.default_rng(0)
ROWS: Columns = {name: RNG.normal(size=1000) for name in ("strong", "weak", "ignored")}


def _linear(columns: Columns) -> Outputs:
    return Outputs(3.0 * columns["strong"] + columns["weak"], None)


def test_shares_follow_the_weights_of_a_linear_model() -> None:
    shares = influence(_linear, ROWS, "regression")
    assert sum(shares.values()) == 1.0
    assert shares["ignored"] == 0.0
    assert 2.5 < shares["strong"] / shares["weak"] < 3.5


def test_labels_without_probabilities_count_changed_predictions() -> None:
    def sign(columns: Columns) -> Outputs:
        return Outputs(np.where(columns["strong"] > 0, "up", "down").astype(object), None)

    assert influence(sign, ROWS, "binary") == {"strong": 1.0, "weak": 0.0, "ignored": 0.0}


def test_probabilities_count_where_there_are_any() -> None:
    def shares(columns: Columns) -> Outputs:
        second = 1 / (1 + np.exp(-columns["weak"]))
        return Outputs(np.zeros(len(second)), np.column_stack([1 - second, second]))

    assert influence(shares, ROWS, "binary")["weak"] == 1.0


def test_a_constant_model_has_no_importance() -> None:
    assert influence(lambda columns: Outputs(np.zeros(len(columns["weak"])), None), ROWS, "regression") == {}


def test_a_model_too_slow_for_the_budget_has_none_rather_than_half() -> None:
    clock = iter(range(100))
    assert influence(_linear, ROWS, "regression", budget_s=1.5, timer=lambda: next(clock)) == {}


def test_the_same_rows_give_the_same_shares() -> None:
    assert influence(_linear, ROWS, "regression") == influence(_linear, ROWS, "regression")
