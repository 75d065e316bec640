"""J1: a first team on one machine, typed as new users would. Installing offline is what CI does with the wheel."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.kills import Callers, pid_of
from tests.journeys.team import outcomes, rows, send, write_labels
from tests.journeys.waiting import until

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}


@pytest.mark.slow
def test_a_first_team_goes_from_a_notebook_to_a_watched_endpoint_and_back(desk: Desk) -> None:
    # 2: the one line prints the release, what was captured and what was not given
    shipped = ship_churn(desk).out
    assert re.search(r"churn version 1 is release [0-9a-f]{12}", shipped)
    for captured in ("quality", "takes", "data", "code", "libraries"):
        assert f"  {captured} " in shipped
    assert "Not given" in shipped

    # 3: the URL, and the recorded predictions reproduced
    served = desk.mlspine("serve", "churn", "--notify", f"command:tee -a {desk.folder}/told.json").out
    assert f"POST http://127.0.0.1:{desk.port}/endpoints/churn/predict" in served
    proved = re.search(r"(\d+) of (\d+) recorded predictions reproduced", served)
    assert proved is not None
    assert proved[1] == proved[2] != "0"

    # 4: one request
    status, headers, answer = desk.post("/endpoints/churn/predict", ROW)
    assert (status, answer["id"]) == (200, headers["mlspine-request-id"])
    release = desk.mlspine("models", "churn", "--json").json[0]["release_hash"]
    assert headers["mlspine-release"] == release
    assert 0.5 < answer["predictions"][0]["score"] <= 1

    # 5: 2,000 ordinary requests are judged and nobody is alarmed
    send(desk, rows(2000, seed=21), hours_ago=1)
    desk.mlspine("check", "churn")
    told = desk.mlspine("status", "churn", "--json").json
    assert (told["verdict"], told["alerts"]) == ("healthy", [])
    assert (len(told["questions"]), len(told["checks"])) == (5, 8)
    assert (told["infrastructure"]["state"], told["data"]["state"]) == ("green", "green")
    assert "unverified; no labels yet" in told["quality"]["evidence"]  # estimated, and said so

    # 6: 2,000 with one influential column shifted
    send(desk, rows(2000, seed=22, tenure_up=12))
    desk.mlspine("check", "churn")
    told = desk.mlspine("status", "churn", "--json").json
    assert told["verdict"] == "alert"
    assert told["drifted"][0] == "tenure"
    assert told["alerts"][0]["severity"] in ("WARNING", "CRITICAL")
    assert "tenure" in (desk.folder / "told.json").read_text()

    # 8: rollback under load, 9: a killed process comes back and somebody is told
    ship_churn(desk, C=0.0001)
    desk.mlspine("promote", "churn", "2")
    callers = Callers(f"http://127.0.0.1:{desk.port}/endpoints/churn/predict", ROW)
    try:
        back = desk.mlspine("rollback", "churn", "--json").json
    finally:
        callers.stop()
    assert (callers.failed, back["revision"]["version"]) == ([], 1)
    assert back["effective_s"] < 5
    os.kill(pid_of(desk, "inference"), signal.SIGKILL)
    until(lambda: "process:inference-0" in (desk.folder / "told.json").read_text(), "an alert about the dead process")
    until(lambda: answers(desk), "answers again")


@pytest.mark.long
@pytest.mark.slow
def test_a_second_person_deploys_renews_and_reverts_by_the_runbooks_alone(desk: Desk) -> None:
    """10: every line as it is printed, by somebody who knows nothing else."""
    ship_churn(desk)
    ship_churn(desk, C=0.5)
    desk.mlspine("serve", "churn:1")
    customers = rows(1200, seed=31)
    desk.mlspine("labels", "add", "churn", write_labels(desk, send(desk, customers), outcomes(customers, seed=32)))
    (desk.folder / "bin").mkdir()
    typed = desk.folder / "bin" / "mlspine"
    typed.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mlspine "$@"\n')
    typed.chmod(0o755)

    follow(desk, "deploy", until="## Undo")
    assert live(desk) == 2
    follow(desk, "retrain", until="## Undo")
    renewed = desk.mlspine("models", "churn", "--json").json
    assert [each["version"] for each in renewed] == [1, 2, 3]
    follow(desk, "rollback", until="## Undo")
    assert live(desk) == {3: 2, 2: 1}[max(each["version"] for each in renewed if each["stage"] == "Production")]


def answers(desk: Desk) -> bool:
    try:
        return desk.post("/endpoints/churn/predict", ROW)[0] == 200
    except OSError:
        return False  # nobody listens


def live(desk: Desk) -> int:
    return int(desk.mlspine("status", "churn", "--json").json["version"])


def follow(desk: Desk, task: str, *, until: str) -> None:
    """Type what stands on the page, line by line, where the page says; check what it says it prints."""
    page = desk.mlspine("runbook", "churn", task).out.partition(until)[0]
    place = re.search(r"export MLSPINE_WORKSPACE=(\S+)", page)
    assert place is not None
    path = f"{desk.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    before = ""
    for part in page.split("```sh\n")[2:]:
        command, _, after = part.partition("\n```")
        condition = re.search(
            r"Only if the line before printed `(.+?)`", page.partition(command)[0].rsplit("\n\n", 2)[-2]
        )
        if condition and condition[1] not in before:
            continue
        before = desk.run(
            ["bash", "-c", command], check=True, cwd=desk.folder / "home", PATH=path, MLSPINE_WORKSPACE=place[1]
        ).out
        prints = re.search(r"Right: it prints `(.+?)`\.", after.partition("```")[0])
        assert prints is None or prints[1] in before, f"{command} printed {before}"
