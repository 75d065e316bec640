"""The user's own MLflow client with an `mlspine:` URI: without a server, with one, and from one to the other."""

from __future__ import annotations

import http.server
import subprocess
import sys
from pathlib import Path

import pytest

from mlspine.core.errors import Invalid
from mlspine.mlflow_plugin.place import folder_of
from tests.desk import Desk
from tests.listener import answering

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

LOG = """
import mlflow, sys
from pathlib import Path
mlflow.set_experiment("trees")
with mlflow.start_run(run_name="oak", tags={"team": "b"}) as run:
    mlflow.log_params({"depth": 3})
    for step in range(3):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    Path("folder/deep").mkdir(parents=True, exist_ok=True)
    Path("folder/deep/a.txt").write_text("a")
    Path("b.txt").write_bytes(b"b" * 200_000)
    mlflow.log_artifact("b.txt")
    mlflow.log_artifacts("folder", "tree")
    with mlflow.start_run(nested=True):
        mlflow.log_metric("inner", 1)
client = mlflow.MlflowClient()
client.create_registered_model("forest")
client.create_model_version("forest", f"{run.info.artifact_uri}/tree", run_id=run.info.run_id)
client.set_registered_model_alias("forest", "champion", "1")
print(run.info.run_id)
"""
READ = """
import mlflow, sys
from pathlib import Path
client = mlflow.MlflowClient()
run = client.get_run(sys.argv[1])
scheme = sys.argv[2]
assert run.info.status == "FINISHED" and run.info.run_name == "oak", run.info
assert run.data.params == {"depth": "3"} and run.data.tags["team"] == "b", run.data
assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "loss")] == [
    (0, 1.0), (1, 0.5), (2, 1 / 3)]
assert run.info.artifact_uri.startswith(scheme), run.info.artifact_uri
assert client.get_experiment(run.info.experiment_id).artifact_location.startswith(scheme)
listed = [(each.path, each.is_dir, each.file_size) for each in client.list_artifacts(run.info.run_id)]
assert listed == [("b.txt", False, 200_000), ("tree", True, None)], listed
assert [each.path for each in client.list_artifacts(run.info.run_id, "tree")] == ["tree/deep"]
got = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/tree"))
assert (got / "deep" / "a.txt").read_text() == "a"
where = client.get_model_version_download_uri("forest", client.get_model_version_by_alias("forest", "champion").version)
assert where == f"{run.info.artifact_uri}/tree", where
nested = "metrics.inner = 1 AND tags.`mlflow.parentRunId` LIKE '%'"
assert len(client.search_runs([run.info.experiment_id], nested)) == 1
try:
    client.get_run("a" * 32)
except mlflow.exceptions.MlflowException as exc:
    assert exc.error_code == "RESOURCE_DOES_NOT_EXIST", exc
else:
    raise AssertionError
try:
    mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/absent.txt")
except Exception:
    pass
else:
    raise AssertionError
"""
SPINE, SERVER = "mlspine-artifacts:/", "mlflow-artifacts:/"


def _run(desk: Desk, script: str, *words: str, uri: str = "mlspine:") -> str:
    return desk.run([sys.executable, "-c", script, *words], check=True, MLFLOW_TRACKING_URI=uri).out


@pytest.fixture
def served(desk: Desk) -> Desk:
    desk.mlspine("up", "--port", str(desk.port), "--control-port", str(desk.control_port))
    return desk


def test_without_a_server_everything_is_read_back_and_says_what_it_was_made_of(desk: Desk) -> None:
    told = "print(sorted(key for key in client.get_run(run.info.run_id).data.tags if key.startswith('mlspine')))"
    tags, run = _run(desk, LOG.replace("print(run.info.run_id)", f"{told}\nprint(run.info.run_id)")).splitlines()[-2:]
    assert "mlspine.capture.00" in tags
    assert "mlspine.python" in tags
    _run(desk, READ, run, SPINE)


@pytest.mark.long
def test_nothing_is_lost_by_starting_a_server_later(desk: Desk) -> None:
    run = _run(desk, LOG).split()[-1]
    _run(desk, READ, run, SPINE, uri=f"mlspine://{desk.folder}/.mlspine")
    desk.mlspine("up", "--port", str(desk.port), "--control-port", str(desk.control_port))
    _run(desk, READ, run, SERVER, uri=f"http://127.0.0.1:{desk.control_port}")
    _run(desk, READ, run, SPINE)


@pytest.mark.long
def test_while_control_runs_the_client_speaks_through_it_and_keeps_what_it_said(served: Desk) -> None:
    run = _run(served, LOG).split()[-1]
    _run(served, READ, run, SPINE)
    served.mlspine("down")
    _run(served, READ, run, SPINE)


@pytest.mark.long
def test_a_client_that_stays_open_follows_control_up_and_down(desk: Desk) -> None:
    script = """
import mlflow, subprocess, sys
from pathlib import Path
spine = lambda *words: subprocess.run([sys.executable, "-m", "mlspine", *words], check=True, capture_output=True)
Path("a.txt").write_text("a")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1, step=0); mlflow.log_artifact("a.txt", "one")
    spine("up", *sys.argv[1:])
    mlflow.log_metric("loss", 2, step=1); mlflow.log_artifact("a.txt", "two")
    spine("down")
    mlflow.log_metric("loss", 3, step=2); mlflow.log_artifact("a.txt", "three")
client = mlflow.MlflowClient()
print([each.value for each in client.get_metric_history(run.info.run_id, "loss")])
print(sorted(each.path for each in client.list_artifacts(run.info.run_id)))
"""
    out = _run(desk, script, "--port", str(desk.port), "--control-port", str(desk.control_port))
    assert out.splitlines()[-2:] == ["[1.0, 2.0, 3.0]", "['one', 'three', 'two']"]


def test_runs_say_what_they_were_made_of(desk: Desk) -> None:
    script = (
        LOG + "print(sorted(key for key in client.get_run(run.info.run_id).data.tags if key.startswith('mlspine')))"
    )
    told = _run(desk, script).splitlines()[-1]
    assert "mlspine.capture.00" in told
    assert "mlspine.python" in told


class Foreign(http.server.BaseHTTPRequestHandler):
    """A tracking server that is not ours."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.mark.long
def test_other_peoples_servers_are_sent_nothing_of_ours(served: Desk) -> None:
    ask = "from mlspine.mlflow_plugin.entries import RunContext; print(RunContext().in_context())"
    server = http.server.HTTPServer(("127.0.0.1", 0), Foreign)
    with answering(server):
        foreign = f"http://127.0.0.1:{server.server_address[1]}"
        assert _run(served, ask, uri=foreign).strip() == "False"
    assert _run(served, ask, uri=f"sqlite:///{served.folder}/own.db").strip() == "False"
    assert _run(served, ask, uri=f"http://127.0.0.1:{served.control_port}").strip() == "True"
    assert _run(served, ask).strip() == "True"


def test_importing_mlflow_does_not_import_what_it_may_not_need() -> None:
    heavy = "duckdb scipy starlette msgspec"
    code = f"import mlflow, sys; print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = set(done.stdout.split())
    bare = f"import sys; sys.modules['mlspine.mlflow_plugin.entries'] = None; import warnings; {code}"
    without = subprocess.run([sys.executable, "-W", "ignore", "-c", bare], capture_output=True, text=True, check=True)
    assert ours <= set(without.stdout.split())


@pytest.mark.parametrize("uri", ["mlspine://host/path", "mlspine:relative", "mlspine:///a?b=c", "sqlite:///a"])
def test_a_uri_that_names_no_workspace_is_refused_with_one_that_does(uri: str) -> None:
    with pytest.raises(Invalid, match="names no workspace") as refused:
        folder_of(uri)
    assert "mlspine:///FOLDER" in refused.value.hint


def test_a_uri_may_name_a_folder_with_blanks() -> None:
    assert folder_of("mlspine:///srv/my%20work/.mlspine") == Path("/srv/my work/.mlspine")
    assert folder_of("mlspine:") is None
