"""`mlspine.log` straight into the store: what is logged, when it is stored, how a run ends."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

import mlspine
from mlspine import active_run
from mlspine.core.errors import Invalid, NotFound
from mlspine.tracking.capture import Captured
from mlspine.tracking.current import current_run
from mlspine.tracking.run import Run
from mlspine.workspace import Workspace


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is found from here, and nothing around it."""
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(tmp_path / ".mlspine"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / ".mlspine"


def _read(there: Path, ask: Callable[[Workspace], Any]) -> Any:
    workspace = Workspace.open(there)
    try:
        return ask(workspace)
    finally:
        workspace.close()


def _run(there: Path, run_id: str) -> Run:
    found: Run = _read(there, lambda workspace: workspace.tracking.run(run_id))
    return found


def _values(there: Path, run_id: str, key: str) -> list[tuple[int, float]]:
    page = _read(there, lambda workspace: workspace.tracking.history(run_id, key))
    return [(point.step, point.value) for point in page.points]


def test_everything_logged_is_read_back_equal(there: Path) -> None:
    with mlspine.log("first", name="calm", params={"lr": 0.1}, tags={"team": "b"}) as run:
        run.param("depth", 3)
        for loss in (0.5, math.nan, -math.inf):
            run.metric("loss", loss)
        run.metrics({"auc": 0.7}, step=9)
        run.metric("auc", 0.8)
        run.tag("note", "é")
    kept = _run(there, run.id)
    assert (kept.name, kept.status, kept.params) == ("calm", "FINISHED", {"lr": "0.1", "depth": "3"})
    assert {"team": "b", "note": "é"}.items() <= kept.tags.items()
    assert _values(there, run.id, "auc") == [(9, 0.7), (10, 0.8)]
    loss = _values(there, run.id, "loss")
    assert sorted(step for step, _ in loss) == [0, 1, 2]
    assert dict(loss)[2] == -sys.float_info.max  # as MLflow keeps infinities
    assert math.isnan(dict(loss)[1])
    assert kept.end_time_ms is not None


def test_points_wait_a_second_at_most_even_when_nothing_follows(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_run, "HELD_S", 0.05)
    with mlspine.log("first") as run:
        run.metric("loss", 1.0)
        deadline = time.monotonic() + 20
        while not _values(there, run.id, "loss"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_more_points_than_one_request_takes_are_all_stored(there: Path) -> None:
    with mlspine.log("first") as run:
        run.metric("held", 0.0)
        run.metrics({f"m{number}": 1.0 for number in range(1_200)})
    assert len(_run(there, run.id).metrics) == 1_201


def test_a_block_that_raises_leaves_a_failed_run_that_says_why(there: Path) -> None:
    run = mlspine.log("first")
    run.metric("loss", 1.0)
    with pytest.raises(ZeroDivisionError), run:
        print(1 / 0)
    kept = _run(there, run.id)
    assert kept.status == "FAILED"
    assert "ZeroDivisionError: division by zero" in kept.tags["mlspine.error"]
    assert _values(there, run.id, "loss") == [(0, 1.0)]
    assert current_run.get() == ""


@pytest.mark.parametrize(("last", "status"), [("", "FINISHED"), ("1 / 0", "FAILED")])
def test_a_run_that_nobody_ends_ends_with_its_process(there: Path, last: str, status: str) -> None:
    code = f"import mlspine\nrun = mlspine.log('first')\nrun.metric('loss', 1.0)\nprint(run.id, flush=True)\n{last}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    assert _run(there, run).status == status
    assert _values(there, run, "loss") == [(0, 1.0)]


def test_an_interrupted_run_is_killed_and_a_clean_exit_finishes_it(there: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mlspine.log("first") as stopped:
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), mlspine.log("first") as ended:
        raise SystemExit(0)
    assert (_run(there, stopped.id).status, _run(there, ended.id).status) == ("KILLED", "FINISHED")


def test_a_run_inside_another_is_its_child(there: Path) -> None:
    with mlspine.log("first") as outer, mlspine.log("first") as inner:
        assert current_run.get() == inner.id
    assert _run(there, inner.id).tags["mlflow.parentRunId"] == outer.id
    assert "mlflow.parentRunId" not in _run(there, outer.id).tags


def test_data_is_recorded_by_digest_and_profile_not_by_rows(there: Path) -> None:
    frame = pd.DataFrame({"age": [20.0, 30.0, None], "city": ["Bern", "Basel", "Bern"]})
    with mlspine.log("first") as run:
        digest = run.data(frame, name="people", source="people.csv")
        assert run.data(frame.copy(), name="again", context="validation") == digest
        assert run.data(frame.assign(age=1.0), name="other") != digest
    people = _run(there, run.id).datasets[0]
    assert (people.name, people.digest, people.tags) == ("people", digest[:36], {"mlflow.data.context": "training"})
    profile = msgspec.json.decode(people.profile)
    assert profile["rows"] == 3
    assert profile["columns"][0]["missing_share"] == pytest.approx(1 / 3)


def test_files_and_folders_are_kept_with_the_capture_beside_them(there: Path) -> None:
    Path("plots/deep").mkdir(parents=True)
    Path("plots/deep/a.txt").write_text("a")
    Path("model.bin").write_bytes(b"\0\1")
    with mlspine.log("first") as run:
        run.artifact("plots", to="out")
        run.artifact("model.bin")
        with pytest.raises(NotFound, match=r"no file 'absent\.txt'"):
            run.artifact("absent.txt")
    root = f"1/{run.id}/artifacts"

    def files(workspace: Workspace) -> dict[str, bytes]:
        found = {}
        for artifact in workspace.artifacts.walk(root):
            with workspace.artifacts.open(artifact.path) as source:
                found[artifact.path.removeprefix(f"{root}/")] = source.read()
        return found

    kept = _read(there, files)
    captured = msgspec.json.decode(kept.pop("mlspine/capture.json"), type=Captured)
    assert kept == {"out/plots/deep/a.txt": b"a", "model.bin": b"\0\1"}
    assert captured.duration_s is not None
    assert captured.peak_memory_bytes > 1_000_000
    assert {"random", "numpy"} <= captured.random.keys()
    assert "pandas" in captured.libraries


def test_what_is_wrong_is_said_where_it_is_logged(there: Path) -> None:
    with mlspine.log("first", params={"lr": 1}) as run:
        with pytest.raises(Invalid, match="Changing param values"):
            run.param("lr", 2)
        with pytest.raises(Invalid, match="is no number"):
            run.metric("loss", "low")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="has ended"):
        run.metric("loss", 1.0)
    _read(there, lambda workspace: workspace.tracking.delete_experiment(1))
    with pytest.raises(Invalid, match="is deleted"):
        mlspine.log("first")


def test_a_version_shipped_inside_names_the_run(there: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    X = pd.DataFrame({"a": [float(n) for n in range(60)]})
    y = (X.a > 30).astype(int)
    with mlspine.log("first") as run:
        inside = mlspine.ship(LogisticRegression().fit(X, y), X, y, name="inside", quiet=True)
    outside = mlspine.ship(LogisticRegression(C=2).fit(X, y), X, y, name="outside", quiet=True)
    assert (inside.run_id, outside.run_id) == (run.id, "")
    assert _read(there, lambda workspace: workspace.registry.get("inside", 1)).run_id == run.id
