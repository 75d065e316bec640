"""The kserve client, unmodified, in an environment of its own: v1, v2 in both forms, and gRPC."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.desk import free_port
from tests.serving_harness import endpoint, make_plan, make_release, start, write_plan
from tests.wire.conftest import flowers

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("MLSPINE_KSERVE_PYTHON", ROOT / ".venv-kserve" / "bin" / "python"))


@pytest.mark.wire
def test_the_kserve_client_is_answered_on_every_wire_it_speaks(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip(f"no interpreter with the kserve client at {PYTHON}; make wire creates it")
    model, X, y = flowers()
    port, grpc_port = free_port(), free_port()
    plan = make_plan(tmp_path, endpoint("flowers", make_release(tmp_path, model, X, y)), port=port)
    write_plan(tmp_path, msgspec.structs.replace(plan, grpc_port=grpc_port))
    running = start(tmp_path, port)
    try:
        rows = X[:5].tolist()
        done = subprocess.run(
            [
                str(PYTHON),
                str(Path(__file__).with_name("kserve_calls.py")),
                running.url,
                f"127.0.0.1:{grpc_port}",
                json.dumps(rows),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (line,) = (each for each in done.stdout.splitlines() if each.startswith("SAID "))
        said = json.loads(line[5:])
    finally:
        running.stop()
    right = model.predict(X[:5]).tolist()
    shares = model.predict_proba(X[:5])
    assert said["rest"] | {"shares": None} == {
        "live": True,
        "ready": True,
        "model": True,
        "json": right,
        "bytes": right,
        "v1": right,
        "shares": None,
    }
    assert said["rest"]["shares"] == [pytest.approx(row) for row in shares.tolist()]
    assert said["grpc"] == {"live": True, "ready": True, "model": True, "typed": right, "bytes": right}
