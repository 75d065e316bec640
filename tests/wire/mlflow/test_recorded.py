"""Our answers beside those that `mlflow server` gave when it was last asked: needs no `mlflow server`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.needs import need
from tests.wire.mlflow import recorded
from tests.wire.mlflow.allowed import not_allowed
from tests.wire.mlflow.clients import HERE, NEEDS, version
from tests.wire.mlflow.compare import compare
from tests.wire.mlflow.observed import observe
from tests.wire.mlflow.servers import our_server

RAW = [flow for flow, needs in NEEDS.items() if "one" in needs]
CLIENT = [flow for flow in HERE.flows if flow not in RAW]


@pytest.mark.slow
@pytest.mark.parametrize("flows", [RAW, CLIENT], ids=["raw requests", "the client"])
def test_we_answer_as_mlflow_did(tmp_path: Path, flows: list[str]) -> None:
    if flows is CLIENT:
        here, then = version(Path(sys.executable)), recorded.client_version()
        need("mlflow-skinny", here == then, f"{here} is installed, the answers are those that {then} got: make wire")
    (tmp_path / "ours").mkdir()
    with our_server(tmp_path / "ours") as ours:  # searches for everything find what others left
        seen = observe(HERE, ours, tmp_path, flows)
    found = [each for flow in flows for each in compare(recorded.read(flow), seen[flow], client=HERE.name)]
    left = not_allowed(found)
    assert not left, f"{len(left)} differences:\n" + "\n".join(map(str, left[:50]))
