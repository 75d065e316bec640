"""States of random number generators: taken, put back, and read after a journey as text."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from mlspine.core.errors import Corrupt
from mlspine.tracking import generators


def test_what_is_drawn_after_restoring_is_what_was_drawn() -> None:
    np.random.standard_normal()  # leaves the second of a pair behind, which belongs to the state
    kept = generators.states()
    first = (random.random(), np.random.standard_normal(3).tolist(), np.random.randint(100))
    assert set(generators.restore(kept)) == {"random", "numpy"}
    assert (random.random(), np.random.standard_normal(3).tolist(), np.random.randint(100)) == first


def test_a_library_that_is_not_imported_is_neither_recorded_nor_imported() -> None:
    code = (
        "import sys; from mlspine.tracking import generators as g; kept = g.states();"
        "print(sorted(kept), g.restore(kept | {'torch': kept['random']}), 'numpy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['random'] ('random',) False"


def test_states_that_are_no_states_are_said_to_be_broken() -> None:
    with pytest.raises(Corrupt, match="random states"):
        generators.restore({"random": "no base 85: \\"})
