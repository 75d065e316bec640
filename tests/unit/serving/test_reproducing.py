from __future__ import annotations

import numpy as np

from mlspine.registry.flavors import Outputs
from mlspine.serving import reproducing


def test_labels_must_be_equal_and_floats_close() -> None:
    labels, shares = np.array(["a", "b"], dtype=object), np.array([[0.1, 0.9], [np.nan, 0.5]])
    same = reproducing.compare(Outputs(labels, shares * (1 + 1e-12)), Outputs(labels, shares))
    assert same.all
    other = reproducing.compare(Outputs(np.array(["a", "c"], dtype=object), shares), Outputs(labels, shares))
    assert (other.rows, other.of) == (1, 2)
    assert "row 1: 'c'" in other.mismatches[0]
    assert reproducing.compare(Outputs(labels, None), Outputs(labels, shares)).rows == 0


def test_a_converted_classifier_keeps_every_label_and_its_probabilities_within_a_hundred_thousandth() -> None:
    labels, shares = np.array(["a", "b"], dtype=object), np.array([[0.9, 0.1], [0.4, 0.6]])
    nearly = reproducing.Nearly(Outputs(labels, shares))
    assert nearly(Outputs(labels, shares + 5e-6), Outputs(labels, shares)).all
    assert nearly(Outputs(labels, shares + 2e-5), Outputs(labels, shares)).rows == 0
    flipped = np.array(["a", "a"], dtype=object)
    assert nearly(Outputs(flipped, shares), Outputs(labels, shares)).rows == 1


def test_a_converted_regressor_is_judged_by_the_spread_of_what_was_recorded() -> None:
    values = np.array([0.0, 1000.0, 2000.0])
    nearly = reproducing.Nearly(Outputs(values, None))
    assert nearly(Outputs(values + 0.005, None), Outputs(values, None)).all
    assert nearly(Outputs(values + 0.02, None), Outputs(values, None)).rows == 0
    small = Outputs(values / 1e9, None)
    assert reproducing.Nearly(small)(Outputs(small.prediction + 2e-11, None), small).rows == 0
