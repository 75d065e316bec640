"""The circumstances: seeds, owner."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlspine.registry import capture


def test_the_owner_is_who_git_says(tmp_path: Path, monkeypatch: Any) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "user.email", "ann@example.org"], cwd=tmp_path, check=True)
    assert capture.git_owner(tmp_path) == "ann@example.org"
    monkeypatch.setenv("PATH", "")
    assert capture.git_owner(tmp_path) == ""


def test_seeds_of_every_part_are_found() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=7))
    seeds = capture.seeds(model)
    assert seeds["parameters"] == {"randomforestclassifier__random_state": 7}
    assert len(seeds["python_state"]) == len(seeds["numpy_state"]) == 64


def test_an_object_whose_parameters_fail_has_no_seeds() -> None:
    class Odd:
        def get_params(self, deep: bool) -> dict[str, Any]:
            raise RuntimeError

    assert capture.seeds(Odd())["parameters"] == {}
