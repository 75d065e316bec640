"""`mlspine drift` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mlspine.cli.drift import FOUND, drift


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    before = pd.DataFrame({"x": rng.normal(size=3_000), "c": rng.choice(["a", "b"], 3_000)})
    before.to_csv(tmp_path / "before.csv", index=False)
    before[:1_000].to_csv(tmp_path / "same.csv", index=False)
    before[:1_000].assign(x=before["x"] + 1).to_csv(tmp_path / "moved.csv", index=False)
    before[:50].to_csv(tmp_path / "few.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(drift, words, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_it_shows_what_changed_first(files: Path) -> None:
    said = typed("before.csv", "moved.csv")
    assert "moved.csv against before.csv" in said
    assert said.index("WARNING  x") < said.index("OK       c")


def test_the_exit_code_says_no_more_than_was_asked(files: Path) -> None:
    typed("before.csv", "moved.csv")
    typed("before.csv", "moved.csv", "--fail-on", "warning", code=FOUND)
    typed("before.csv", "moved.csv", "--fail-on", "critical")
    typed("before.csv", "same.csv", "--fail-on", "warning")
    typed("before.csv", "few.csv", "--fail-on", "warning", code=FOUND)  # nobody knows is not: nothing changed


def test_json_and_page_hold_the_same_verdict(files: Path) -> None:
    said = typed("before.csv", "moved.csv", "--json", "--html", "drift.html", "--columns", "x")
    found = json.loads(said[said.index("{") :])  # click before 8.2 shows the other stream here too
    assert found["severity"] == "WARNING"
    assert [each["name"] for each in found["features"]] == ["x"]
    assert found["verdict"].split(":")[0] in (files / "drift.html").read_text()


def test_a_saved_reference_stands_for_its_rows(files: Path) -> None:
    first = json.loads(typed("before.csv", "moved.csv", "--json", "--save-reference", "before.profile"))
    again = json.loads(typed("before.profile", "moved.csv", "--json"))
    assert again["features"] == first["features"]
    assert again["false_alarm_rate"] == first["false_alarm_rate"]


def test_a_folder_that_is_not_there_is_said(files: Path) -> None:
    from mlspine.core.errors import Invalid

    with pytest.raises(Invalid, match=r"cannot write none/page\.html"):
        typed("before.csv", "same.csv", "--html", "none/page.html")
