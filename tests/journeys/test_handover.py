"""A second person takes over: runbooks are typed on a copy, everything can be taken out, nothing is left running."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.kills import Callers
from tests.journeys.waiting import until

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}


@pytest.mark.long
@pytest.mark.slow
def test_a_rollback_is_drilled_on_a_copy_while_the_endpoint_answers_undisturbed(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, C=0.0001)
    desk.mlspine("serve", "churn:1", "--notify", f"command:tee {desk.folder}/told.json")
    desk.mlspine("promote", "churn", "2")
    live = release(desk, 2)
    callers = Callers(f"http://127.0.0.1:{desk.port}/endpoints/churn/predict", ROW, threads=1)
    try:
        (drilled,) = desk.mlspine("drill", "churn", "rollback", "--json").json
    finally:
        callers.stop()
    assert callers.failed == []
    assert drilled["passed"]
    assert drilled["requests"] > 10
    assert drilled["failed_requests"] == 0
    assert drilled["releases"] == [live, release(desk, 1), live]  # there, and by the undo lines back again
    assert [line["exit_code"] for line in drilled["lines"]] == [0] * len(drilled["lines"])
    # nothing of it happened here
    told = desk.mlspine("status", "churn", "--json").json
    assert (told["version"], told["alerts"]) == (2, [])
    assert not (desk.folder / "told.json").exists()
    assert copies(desk) == []
    # and it is kept
    rollback = next(claim for claim in told["questions"] if claim["name"] == "how it is rolled back")
    assert (rollback["state"], "drill rollback passed today" in rollback["evidence"]) == ("green", True)
    (kept,) = desk.mlspine("drill", "churn", "--list", "--json").json
    assert (kept["kind"], kept["passed"]) == ("drill:rollback", True)
    line = desk.mlspine("ledger", "endpoint:churn", "--json").json[-1]
    assert (line["action"], line["facts"]["evidence"]) == ("drill", kept["id"])
    assert "Drilled" in desk.mlspine("runbook", "churn", "rollback").out


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_drill_leaves_nothing_running(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    drill, copy = begin_drill(desk)
    drill.kill()
    drill.wait()
    until(lambda: copies(desk) == [] and serving_from(copy) == [], "the copy is gone")
    # its guard killed as well: the next drill clears what is left
    drill, copy = begin_drill(desk)
    (guard,) = [pid for pid in running_in(copy) if "mlspine.handover.guard" in command_line(pid)]
    os.kill(guard, signal.SIGKILL)
    drill.kill()
    drill.wait()
    (asked,) = desk.mlspine("drill", "churn", "retrain", "--json").json
    assert "mlspine feeds churn --source" in asked["why"]  # not possible yet, said so, nothing failed
    until(lambda: copies(desk) == [] and running_in(copy) == [], "the copy is gone")
    assert desk.post("/endpoints/churn/predict", ROW)[0] == 200


READ_BACK = """
import sys; sys.modules["mlspine"] = None
import json, subprocess, duckdb, pandas
import mlflow.pyfunc
count = lambda what: duckdb.sql(f"select count(*) from read_parquet('{what}', union_by_name=true)").fetchall()[0][0]
model = mlflow.pyfunc.load_model("out/models/churn/1")
frame = pandas.DataFrame([{"monthly charge": 75.5, "tenure": 3, "contract": "month"}])
print(json.dumps({
    "log": count("out/log/churn/*.parquet"),
    "labelled": duckdb.sql("select count(*) from 'out/log/churn/*.parquet' l join 'out/labels/churn/*.parquet' t"
                           " on l._id = t._id where l.tenure = 3 and l.contract = 'month'").fetchall()[0][0],
    "ledger": count("out/tables/ledger.parquet"),
    "profiles": duckdb.sql("select sum(rows), min(octet_length(inputs))"
                           " from 'out/tables/sub_window.parquet'").fetchall()[0],
    "proof": json.loads(duckdb.sql("select document from 'out/tables/proof.parquet'").fetchall()[0][0])[
        "recorded_rows"
    ],
    "prediction": int(model.predict(frame)[0]),
    "verified": subprocess.run([sys.executable, "out/ledger/verify_ledger.py", "out/ledger/ledger.jsonl"],
                               capture_output=True, text=True).stdout,
}))
"""


@pytest.mark.long
@pytest.mark.slow
def test_everything_is_taken_out_and_read_back_without_mlspine(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    answers = [desk.post("/endpoints/churn/predict", ROW)[2] for _ in range(30)]
    labels = "".join(f"{answer['id']},{n % 2}\n" for n, answer in enumerate(answers))
    (desk.folder / "labels.csv").write_text("id,label\n" + labels)
    desk.mlspine("labels", "add", "churn", "labels.csv")
    desk.mlspine("export", "workspace", "out")
    lines = len(desk.mlspine("ledger", "--json").out.splitlines())
    back = desk.python(READ_BACK).json
    assert back["log"] == back["labelled"] == back["profiles"][0] == 30
    assert back["profiles"][1] > 100
    assert back["ledger"] == lines
    assert back["proof"] == 100
    assert back["prediction"] == answers[0]["predictions"][0]["prediction"]
    assert back["verified"].startswith(f"intact: {lines} lines")
    told = (desk.folder / "out" / "README.txt").read_text()
    top = {path.name for path in (desk.folder / "out").iterdir()} - {"README.txt"}
    assert all(name in told for name in top)
    assert not list(desk.folder.glob(".out-draft-*"))
    # a second time: refused, and the first stays as it is
    assert "is there already" in desk.mlspine("export", "workspace", "out", check=False).err


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False], ids=["while serving", "while stopped"])
def test_somebody_who_may_only_read_takes_everything_out(desk: Desk, running: bool) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    for _ in range(5):
        desk.post("/endpoints/churn/predict", ROW)
    desk.mlspine("status", "churn")  # brings them into the log
    if not running:
        desk.mlspine("down")
    with reading_only(desk):
        refused = type_without_privilege(desk, ["alerts", "churn", "--json"])
        done = type_without_privilege(desk, ["export", "workspace", "out", "--json"])
    assert running or "cannot be written" in refused.stderr  # the modes hold
    assert done.returncode == 0, done.stderr
    parts = {part["path"]: part["rows"] for part in json.loads(done.stdout)["parts"]}
    assert parts["log/churn/"] == 5


@contextlib.contextmanager
def reading_only(desk: Desk) -> Iterator[None]:
    """Nobody may write to the desk's workspace by its modes; root obeys them without the capability to ignore them."""
    paths = [desk.folder / ".mlspine", *(desk.folder / ".mlspine").rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            with contextlib.suppress(FileNotFoundError):
                path.chmod(mode)


def type_without_privilege(desk: Desk, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlspine", *words],
        cwd=desk.folder,
        env=desk.env,
        preexec_fn=_obey_modes,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _obey_modes() -> None:
    if os.geteuid() == 0:
        drop_from_bounding_set, may_ignore_modes = 24, 1  # prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)
        ctypes.CDLL(None).prctl(drop_from_bounding_set, may_ignore_modes, 0, 0, 0)


# ---------------------------------------------------------------- what is there


def release(desk: Desk, version: int) -> str:
    versions = desk.mlspine("models", "churn", "--json").json
    return str(next(each["release_hash"] for each in versions if each["version"] == version))


def copies(desk: Desk) -> list[Path]:
    return list(desk.folder.glob(".mlspine-drill-*"))


def begin_drill(desk: Desk) -> tuple[subprocess.Popen[bytes], Path]:
    """A drill whose copy serves already, and its folder."""
    drill = subprocess.Popen(
        [sys.executable, "-m", "mlspine", "drill", "churn", "rollback"],
        cwd=desk.folder,
        env=desk.env,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: any((copy / "run" / "inference-0.json").exists() for copy in copies(desk)), "the copy serves")
    return drill, copies(desk)[0]


def running_in(copy: Path) -> list[int]:
    pids = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if str(copy) in command_line(pid)]


def serving_from(copy: Path) -> list[int]:
    """Processes of the copy but its guard, who looks on for a while."""
    return [pid for pid in running_in(copy) if "mlspine.handover.guard" not in command_line(pid)]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
