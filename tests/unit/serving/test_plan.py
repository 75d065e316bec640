from pathlib import Path

import numpy as np
import pytest

from mlspine.backends.processes import in_loop_at_death
from mlspine.core.errors import Corrupt
from mlspine.registry.flavors import Outputs
from mlspine.serving.plan import InLoopMark, PlanFile
from tests.serving_harness import make_plan, write_plan


def test_a_plan_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    first, second = make_plan(tmp_path, port=1), make_plan(tmp_path, port=1)
    write_plan(tmp_path, first)
    file = PlanFile(tmp_path / "run")
    assert file.read() == first
    assert file.changed() is None
    write_plan(tmp_path, second)
    assert file.changed() == second
    assert file.changed() is None


def test_a_plan_that_is_gone_changes_nothing_and_half_a_plan_is_corrupt(tmp_path: Path) -> None:
    write_plan(tmp_path, make_plan(tmp_path, port=1))
    file = PlanFile(tmp_path / "run")
    file.read()
    file.path.unlink()
    assert file.changed() is None
    file.path.write_text('{"number": 1')
    with pytest.raises(Corrupt, match="cannot be read"):
        file.changed()


def test_the_mark_names_the_release_exactly_while_its_model_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    mark, release = InLoopMark(run, "inference-0"), "ab" * 32
    seen = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        seen.append(in_loop_at_death(tmp_path, 0))
        if "fail" in columns:
            raise ValueError
        return Outputs(np.zeros(0), None)

    marked = mark.around(predict, release)
    assert in_loop_at_death(tmp_path, 0) is None
    marked({})
    with pytest.raises(ValueError):
        marked({"fail": np.zeros(0)})
    assert seen == [release, release]
    assert in_loop_at_death(tmp_path, 0) is None
    mark.close()


def test_without_a_mark_nobody_died_in_a_call(tmp_path: Path) -> None:
    assert in_loop_at_death(tmp_path, 3) is None
