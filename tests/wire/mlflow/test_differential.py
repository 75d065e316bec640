"""Every flow by every client against `mlflow server` and against us: nothing may differ but what is allowed.

`make wire` runs this; with MLSPINE_WIRE_WRITE set, the answers of `mlflow server` are kept for the tests that have
none, and the table of routes is written.
"""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path

import pytest

from tests.wire.mlflow import recorded
from tests.wire.mlflow.allowed import ALLOWED, not_allowed, unused
from tests.wire.mlflow.clients import CLIENTS, ROOT, SKINNY, find, version
from tests.wire.mlflow.compare import compare
from tests.wire.mlflow.coverage import never_asked, table
from tests.wire.mlflow.observed import Observed

pytestmark = pytest.mark.wire
TABLE = Path("benchmarks") / "results" / "mlflow_wire.txt"


def test_two_instances_of_mlflow_answer_alike(themselves: Observed) -> None:
    assert [str(each) for each in themselves.differences] == []


def test_an_altered_answer_is_found(themselves: Observed) -> None:
    altered = copy.deepcopy(themselves.theirs["runs"])
    exchange = next(each for step in altered for each in step["exchanges"] if each["path"].endswith("runs/create"))
    exchange["answer"]["run"]["info"]["status"] = "FINISHED"
    found = compare(themselves.theirs["runs"], altered, client="x")
    assert [each.where.rpartition(" ")[2] for each in found] == ["answer.run.info.status"]


def test_every_flow_comes_to_its_end_against_mlflow(observed: list[Observed]) -> None:
    assert [each for client in observed for each in client.broken] == []


def test_we_answer_as_mlflow_does(observed: list[Observed]) -> None:
    differences = [each for client in observed for each in client.differences]
    left = not_allowed(differences)
    if "MLSPINE_WIRE_WRITE" in os.environ and not any(client.broken for client in observed):
        _write(observed)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "mlflow_wire_differences.txt").write_text("".join(f"{each}\n" for each in left))
    assert not left, f"{len(left)} differences:\n" + "\n".join(map(str, left[:50]))


def test_every_allowance_is_needed(observed: list[Observed]) -> None:
    assert unused([each for client in observed for each in client.differences]) == []


def test_every_route_is_asked(observed: list[Observed]) -> None:
    assert never_asked(step for client in observed for flow in client.ours.values() for step in flow) == []


def _write(observed: list[Observed]) -> None:
    versions = {client.name: version(client.python) for client in CLIENTS}
    for flow, steps in next(seen.theirs for seen in observed if seen.client == SKINNY).items():
        of = f"mlflow server {versions['v318']}, asked by {versions['vskinny']}"
        recorded.write(flow, steps, of=of)
    theirs = [step for seen in observed for flow in seen.theirs.values() for step in flow]
    ours = [step for seen in observed for flow in seen.ours.values() for step in flow]
    found = [each for seen in observed for each in seen.differences]
    left = not_allowed(found)
    meant = len(found) - len(left)
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    requests = sum(len(step["exchanges"]) for step in theirs)
    head = [
        f"mlspine {commit} beside mlflow server {version(find('v318'))}",
        "clients: " + ", ".join(f"{each.name} {versions[each.name]} ({len(each.flows)} flows)" for each in CLIENTS),
        f"{len(theirs)} steps, {requests} requests to each; {len(left)} differences that are neither meant nor mended",
        f"{len(ALLOWED)} allowances for {meant} differences that are meant: tests/wire/mlflow/allowed_*.py",
    ]
    (ROOT / TABLE).write_text("\n".join([*head, "", table(theirs, ours, left), ""]))
