"""A run comes out again: identical, within what chance does, or different; and what cannot be said is said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Answer, Desk

pytestmark = pytest.mark.long

# Data is outside git, as it mostly is. {dice}: how the generator is made.
SCRIPT = """
import sys
import mlspine, numpy as np, pandas as pd
from sklearn.linear_model import SGDClassifier

rows = pd.read_csv("data/train.csv")
X, y = rows[["a", "b"]].to_numpy(), rows["y"].to_numpy()
{dice}
with mlspine.log("flowers", params={{"alpha": 0.01}}) as run:
    run.data(rows, name="train")
    model = SGDClassifier(alpha=0.01, random_state={state})
    for epoch in range(5):
        order = {order}
        model.partial_fit(X[order], y[order], classes=[0, 1])
        run.metric("accuracy", model.score(X, y))
        run.metric("weight", model.coef_[0, 0])
print(run.id)
"""
SEEDED = SCRIPT.format(dice="rng = np.random.default_rng(7)", state=7, order="rng.permutation(len(X))")
GLOBAL = SCRIPT.format(dice="", state="None", order="np.random.permutation(len(X))")
UNSEEDED = SCRIPT.format(
    dice="rng = np.random.default_rng()", state="int(rng.integers(1 << 31))", order="rng.permutation(len(X))"
)
WITH_MLFLOW = """
import mlflow, numpy as np

mlflow.set_experiment("walks")
with mlflow.start_run() as run:
    at = 0.0
    for step in range(20):
        at += np.random.normal()
        mlflow.log_metric("at", at, step=step)
print(run.info.run_id)
"""


@pytest.fixture
def project(desk: Desk) -> Path:
    """A git repository with data that git does not hold, and a workspace beside the script."""
    _git(desk, "init", "-q")
    (desk.folder / ".gitignore").write_text("data/\nhome/\n.mlspine/\n")
    _write_data(desk, flipped=0)
    return desk.folder


def _write_data(desk: Desk, *, flipped: int) -> None:
    lines = ["a,b,y"]
    for row in range(200):
        a, b = ((row * 37) % 101) / 50 - 1, ((row * 53) % 97) / 48 - 1
        label = int(a + 0.3 * b > 0)
        lines.append(f"{a},{b},{1 - label if row < flipped else label}")
    (desk.folder / "data").mkdir(exist_ok=True)
    (desk.folder / "data" / "train.csv").write_text("\n".join(lines))


def _git(desk: Desk, *words: str) -> None:
    person = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", *person, *words], cwd=desk.folder, check=True, capture_output=True)


def _committed(desk: Desk, script: str) -> None:
    (desk.folder / "fit.py").write_text(script)
    _git(desk, "add", ".")
    _git(desk, "commit", "-q", "-m", "fit")


def _fit(desk: Desk) -> str:
    return desk.run([sys.executable, "fit.py"], check=True).out.split()[-1]


def _judged(desk: Desk, run: str, *words: str) -> tuple[Answer, Any]:
    answer = desk.mlspine("reproduce", run, "--json", *words, check=False)
    assert answer.code in (0, 1), answer.err
    return answer, answer.json["reproduction"]


@pytest.mark.usefixtures("project")
def test_a_seeded_run_is_identical_also_when_the_script_has_gone_on(desk: Desk) -> None:
    _committed(desk, SEEDED.replace("range(5)", "range(3)"))
    (desk.folder / "fit.py").write_text(SEEDED)  # ran uncommitted
    run = _fit(desk)
    (desk.folder / "fit.py").write_text("raise SystemExit('rewritten since')")
    answer, judged = _judged(desk, run)
    assert (answer.code, judged["verdict"], judged["repetitions"], judged["points"]) == (0, "IDENTICAL", 1, 10)
    assert "is identical after 1 repetition" in desk.mlspine("reproduce", run).out
    assert (desk.folder / "fit.py").read_text().startswith("raise SystemExit")


@pytest.mark.usefixtures("project")
def test_states_of_global_generators_are_put_back(desk: Desk) -> None:
    _committed(desk, GLOBAL)
    assert _judged(desk, _fit(desk))[1]["verdict"] == "IDENTICAL"


@pytest.mark.usefixtures("project")
def test_an_unseeded_run_is_within_its_band(desk: Desk) -> None:
    _committed(desk, UNSEEDED)
    answer, judged = _judged(desk, _fit(desk))
    assert (answer.code, judged["verdict"], judged["repetitions"]) == (0, "WITHIN_BAND", 3)
    assert judged["difference"]["metric"] in ("accuracy", "weight")
    assert all(band["holds"] and band["low"] < band["high"] for band in judged["bands"])


@pytest.mark.usefixtures("project")
def test_changed_data_makes_a_seeded_run_different_and_is_named(desk: Desk) -> None:
    _committed(desk, SEEDED)
    run = _fit(desk)
    _write_data(desk, flipped=60)
    answer, judged = _judged(desk, run)
    assert (answer.code, judged["verdict"]) == (1, "DIFFERENT")
    assert judged["difference"]["step"] == 0
    assert answer.json["changed"][0].startswith("data 'train': digest")
    told = desk.mlspine("reproduce", run, check=False)
    assert told.code == 1
    assert "first differs" in told.out


@pytest.mark.usefixtures("project")
def test_changed_data_stands_out_of_an_unseeded_run(desk: Desk) -> None:
    _committed(desk, UNSEEDED)
    run = _fit(desk)
    _write_data(desk, flipped=120)
    _, judged = _judged(desk, run, "--repetitions", "5")
    assert judged["verdict"] == "DIFFERENT"
    assert judged["difference"]["metric"] in ("accuracy", "weight")


@pytest.mark.parametrize("pushed", [True, False])
def test_the_working_copy_is_gone_and_the_run_alone_brings_it_back(
    desk: Desk, tmp_path: Path, project: Path, pushed: bool
) -> None:
    rows = "pd.DataFrame({'a': [0., 1., 2., 3.] * 9, 'b': [1., 0.] * 18, 'y': [0, 0, 1, 1] * 9})"
    _committed(desk, SEEDED.replace('pd.read_csv("data/train.csv")', rows).replace("range(5)", "range(9)"))
    if pushed:
        subprocess.run(["git", "clone", "-q", "--bare", str(project), str(tmp_path / "origin.git")], check=True)
        _git(desk, "remote", "add", "origin", str(tmp_path / "origin.git"))
        _git(desk, "fetch", "-q", "origin")
    (project / "fit.py").write_text((project / "fit.py").read_text().replace("range(9)", "range(4)"))
    run = _fit(desk)
    shutil.rmtree(project / ".git")
    (project / "fit.py").unlink()
    answer, judged = _judged(desk, run)
    assert (judged["verdict"], judged["points"], answer.json["changed"]) == ("IDENTICAL", 8, [])
    assert answer.json["source"] == (str(tmp_path / "origin.git") if pushed else "the run's own snapshot")


@pytest.mark.usefixtures("project")
def test_a_run_of_mlflows_client_without_a_server_is_repeated_too(desk: Desk) -> None:
    pytest.importorskip("mlflow")
    _committed(desk, WITH_MLFLOW)
    run = desk.run([sys.executable, "fit.py"], check=True, MLFLOW_TRACKING_URI="mlspine:").out.split()[-1]
    assert _judged(desk, run)[1]["verdict"] == "IDENTICAL"


@pytest.mark.usefixtures("project")
def test_it_goes_through_the_control_process_while_that_runs(desk: Desk) -> None:
    _committed(desk, SEEDED)
    desk.mlspine("up", "--port", str(desk.port), "--control-port", str(desk.control_port))
    run = _fit(desk)
    assert _judged(desk, run)[1]["verdict"] == "IDENTICAL"
    desk.mlspine("down")
    assert _judged(desk, run)[1]["verdict"] == "IDENTICAL"


def test_what_was_not_recorded_is_named(desk: Desk) -> None:
    run = desk.python(
        "import mlspine\nwith mlspine.log('bare') as run:\n    run.metric('x', 1)\nprint(run.id)"
    ).out.strip()
    answer = desk.mlspine("reproduce", run, check=False)
    assert answer.code == 2
    assert "git init, git add, git commit" in answer.err
    assert desk.mlspine("reproduce", "0" * 32, check=False).code == 4
