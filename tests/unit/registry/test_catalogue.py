"""Models and versions as MLflow's clients register them; what arrives becomes a bare release, unopened."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine import api
from mlspine.core.errors import AlreadyExists, Conflict, Corrupt, Denied, Invalid, NotFound
from mlspine.registry.release import read_release
from mlspine.tracking.logged_model import VERSIONS_TAG
from mlspine.workspace import Workspace
from tests.unit.registry.mlflow_world import ANN, BEN, log_run, open_workspace, put_model, register


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(tmp_path)
    yield opened
    opened.close()


# ---------------------------------------------------------------- arriving


def test_a_version_of_an_mlflow_client_becomes_a_bare_release(workspace: Workspace) -> None:
    version = register(workspace).version
    assert (version.version, version.bare, version.trusted, version.stage) == (1, True, False, "None")
    assert version.origin == f"mlflow:{version.run_id}"
    release = read_release(Path(version.path))
    assert [(each.name, each.type) for each in release.signature.inputs.fields] == [
        ("charge", "float"),
        ("visits", "int"),
    ]
    assert release.environment == {"mlflow": "3.18.0", "scikit-learn": "1.5.0", "python": "3.11.7"}
    assert (release.data, release.code.commit) == ("people@d1", "c0ffee")
    assert (Path(version.path) / "model" / "model.pkl").read_bytes() == b"a pickle nobody opens"
    assert [gap.partition(":")[0] for gap in version.missing] == ["baseline", "parity", "holdout"]
    assert all("mlspine ship models:/churn/1 --data ROWS" in gap for gap in version.missing)
    line = workspace.governance.entries()[-1]
    assert (line.action, line.facts["release"], line.facts["run"]) == (
        "register",
        version.release_hash,
        version.run_id,
    )


def test_a_changed_file_of_a_bare_release_is_noticed(workspace: Workspace) -> None:
    version = register(workspace).version
    (Path(version.path) / "model" / "model.pkl").write_bytes(b"another")
    with pytest.raises(Corrupt, match=r"model\.pkl"):
        read_release(Path(version.path))
    files = Path(version.path) / "mlspine" / "files.json"
    files.write_bytes(files.read_bytes().replace(b"model/model.pkl", b"model/model.pkx"))
    with pytest.raises(Corrupt, match=r"files\.json"):
        read_release(Path(version.path))


def test_the_same_files_registered_twice_are_two_versions_of_one_release(workspace: Workspace) -> None:
    run_id, uri = log_run(workspace)
    workspace.catalogue.create("churn", actor=ANN)
    one, two = (workspace.catalogue.create_version("churn", source=uri, run_id=run_id, actor=ANN) for _ in range(2))
    assert (one.version.version, two.version.version) == (1, 2)
    assert one.version.release_hash == two.version.release_hash


def test_what_lies_elsewhere_has_no_release_and_says_so(workspace: Workspace) -> None:
    workspace.catalogue.create("churn", actor=ANN)
    entry = workspace.catalogue.create_version("churn", source="s3://bucket/model", actor=ANN)
    assert (entry.version.release_hash, entry.version.path) == ("", "")
    assert "s3://bucket/model" in entry.version.missing[0]
    assert workspace.catalogue.download_uri("churn", 1) == "s3://bucket/model"
    with pytest.raises(Invalid, match="no files here"):
        workspace.registry.trust("churn:1", actor=ANN)
    with pytest.raises(Denied, match="stand in the way"):
        workspace.deployment.serve("churn:1", actor=ANN)


def test_a_logged_model_gives_its_run_and_is_told_of_its_versions(workspace: Workspace) -> None:
    run = workspace.tracking.create_run(0)
    logged = workspace.models.create(0, name="m", source_run_id=run.id)
    put_model(workspace, logged.artifact_uri)
    for name in ("churn", "other"):
        workspace.catalogue.create(name, actor=ANN)
        source = f"models:/{logged.id}"
        made = workspace.catalogue.create_version(name, source=source, model_id=logged.id, actor=ANN).version
    assert (made.run_id, made.bare, made.release_hash != "") == (run.id, True, True)
    assert workspace.catalogue.download_uri("other", 1) == logged.artifact_uri
    told = json.loads(workspace.models.get(logged.id).tags[VERSIONS_TAG])
    assert [(each["name"], int(each["version"])) for each in told] == [("churn", 1), ("other", 1)]


def test_a_copy_has_the_release_of_its_original_and_outlives_it(workspace: Workspace) -> None:
    original = register(workspace).version
    workspace.registry.set_alias("churn", alias="best", version=1)
    workspace.catalogue.create("copied", actor=ANN)
    tags = [("mlspine.release", "sent along by the client"), ("team", "red")]
    copy = workspace.catalogue.create_version("copied", source="models:/churn@best", tags=tags, actor=ANN)
    assert (copy.version.release_hash, copy.version.run_id) == (original.release_hash, original.run_id)
    assert copy.version.source == "models:/churn/1"
    assert (copy.tags["mlspine.release"], copy.tags["team"]) == (original.release_hash, "red")
    assert "models:/copied/1" in copy.version.missing[0]
    workspace.catalogue.delete("churn", actor=ANN)
    assert workspace.catalogue.download_uri("copied", 1) == original.location


@pytest.mark.parametrize(
    "source",
    [
        *("/etc/passwd", "file:///etc", "model", "mlflow-artifacts:/1/../../x", "mlflow-artifacts:/1/%2e%2e/x"),
        *("runs:/x", "models://other/churn/1", "mlflow-artifacts://elsewhere/1/x", "models:/churn", "s3://b/..%2fx"),
        "models:/m/1/2",
    ],
)
def test_sources_that_name_the_server_s_files_or_nothing_are_refused(workspace: Workspace, source: str) -> None:
    workspace.catalogue.create("churn", actor=ANN)
    with pytest.raises(Invalid, match="Invalid model version source"):
        workspace.catalogue.create_version("churn", source=source, actor=ANN)
    assert workspace.catalogue.model("churn").latest == ()


def test_a_source_must_be_of_the_run_it_is_said_to_be_of(workspace: Workspace) -> None:
    (one, uri), (two, _) = log_run(workspace), log_run(workspace)
    workspace.catalogue.create("churn", actor=ANN)
    for run_id in (two, ""):
        for source in (uri, f"runs:/{one}/model"):
            with pytest.raises(Invalid, match="run_id request parameter"):
                workspace.catalogue.create_version("churn", source=source, run_id=run_id, actor=ANN)
    made = workspace.catalogue.create_version("churn", source=f"runs:/{one}/model", run_id=one, actor=ANN)
    assert workspace.catalogue.download_uri("churn", 1) == uri
    assert made.version.bare


def test_a_prompt_is_no_model_of_ours(workspace: Workspace) -> None:
    workspace.catalogue.create("ask", tags=[("mlflow.prompt.is_prompt", "true")], actor=ANN)
    made = workspace.catalogue.create_version("ask", source="prompt-template", actor=ANN)
    assert (made.version.missing, made.version.release_hash) == ((), "")
    assert workspace.registry.models() == []
    assert workspace.catalogue.search().models == ()
    found = workspace.catalogue.search(filter="tags.`mlflow.prompt.is_prompt` = 'true'").models
    assert [each.name for each in found] == ["ask"]


# ---------------------------------------------------------------- names, numbers, tags


def test_numbers_are_never_given_twice_and_go_on_with_those_of_ship(workspace: Workspace, tmp_path: Path) -> None:
    register(workspace)
    register(workspace)
    workspace.catalogue.delete_version("churn", 2, actor=ANN)
    with pytest.raises(NotFound):
        workspace.catalogue.entry("churn", 2)
    rows = pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) % 7})
    model = LogisticRegression().fit(rows, rows["b"] > 3)
    shipped = api.ship(model, rows, rows["b"] > 3, name="churn", workspace=workspace.path, quiet=True)
    assert shipped.version == 3
    assert register(workspace).version.version == 4


def test_a_model_keeps_all_it_has_under_another_name(workspace: Workspace) -> None:
    register(workspace)
    workspace.catalogue.set_tag("churn", "team", "red")
    workspace.catalogue.set_version_tag("churn", 1, "seen", "yes")
    workspace.registry.set_alias("churn", alias="best", version=1)
    release = workspace.catalogue.entry("churn", 1).version.release_hash
    document = {"release": release, "verdict": "PASSED", "against": 0}
    workspace.governance.record_evidence("gate", "model:churn", ANN, passed=True, document=document)
    renamed = workspace.catalogue.rename("churn", "Churn, June", actor=ANN)
    assert (renamed.tags, renamed.aliases) == ({"team": "red"}, {"best": 1})
    entry = workspace.catalogue.entry("Churn, June", 1)
    assert (entry.tags["seen"], entry.tags["mlspine.verdict"], entry.aliases) == ("yes", "PASSED", ("best",))
    assert workspace.registry.resolve("Churn, June@best").version == 1
    assert "models:/Churn, June/1" in entry.version.missing[0]
    with pytest.raises(NotFound):
        workspace.catalogue.model("churn")
    assert register(workspace, "Churn, June").version.version == 2


def test_names_are_taken_once_and_free_after_a_delete(workspace: Workspace) -> None:
    register(workspace)
    with pytest.raises(AlreadyExists, match="already exists"):
        workspace.catalogue.create("churn", actor=ANN)
    workspace.catalogue.create("other", actor=ANN)
    with pytest.raises(AlreadyExists):
        workspace.catalogue.rename("other", "churn", actor=ANN)
    workspace.catalogue.delete("churn", actor=ANN)
    assert workspace.governance.entries()[-1].facts["releases"].keys() == {"1"}
    assert register(workspace).version.version == 1
    for name in ("", " ", "..", "a/b", "a:b", "x" * 257, "a\nb"):
        with pytest.raises(Invalid):
            workspace.catalogue.create(name, actor=ANN)


def test_what_the_registry_says_itself_is_not_set_by_anybody(workspace: Workspace) -> None:
    register(workspace)
    with pytest.raises(Denied, match=r"mlspine\.verdict"):
        workspace.catalogue.set_version_tag("churn", 1, "mlspine.verdict", "PASSED")
    assert "mlspine.verdict" not in workspace.catalogue.entry("churn", 1).tags


def test_a_verdict_is_readable_as_tags(workspace: Workspace) -> None:
    release = register(workspace).version.release_hash
    document = {
        "release": release,
        "verdict": "REFUSED",
        "against": 2,
        "mode": "new recipe",
        "metric": "f1",
        "margin": 0.02,
        "gain": {"value": 0.01, "lo": -0.1, "hi": 0.2},
        "judged_rows": 900,
        "paragraph": "No.",
    }
    workspace.governance.record_evidence("gate", "model:churn", ANN, passed=False, document=document)
    tags = workspace.catalogue.entry("churn", 1).tags
    said = {key.removeprefix("mlspine.verdict"): tags[key] for key in tags if key.startswith("mlspine.verdict")}
    assert said == {
        "": "REFUSED",
        ".against": "2",
        ".mode": "new recipe",
        ".metric": "f1",
        ".margin": "0.02",
        ".gain": "0.01",
        ".gain.low": "-0.1",
        ".gain.high": "0.2",
        ".rows": "900",
        ".why": "No.",
    }


# ---------------------------------------------------------------- searching


def test_models_and_versions_are_found_by_the_filter_grammar(workspace: Workspace) -> None:
    for name in ("beta", "alpha", "alpha"):
        register(workspace, name)
    workspace.catalogue.set_version_tag("alpha", 1, "seen", "yes")
    assert [each.name for each in workspace.catalogue.search().models] == ["alpha", "beta"]
    assert [each.name for each in workspace.catalogue.search(filter="name LIKE 'b%'").models] == ["beta"]
    hits = workspace.catalogue.search_versions(filter="name = 'alpha' and tag.seen = 'yes'").entries
    assert [(each.version.model, each.version.version) for each in hits] == [("alpha", 1)]
    run_id = hits[0].version.run_id
    assert len(workspace.catalogue.search_versions(filter=f"run_id = '{run_id}'").entries) == 1
    first = workspace.catalogue.search_versions(max_results=2, order_by=["version_number DESC", "name ASC"])
    rest = workspace.catalogue.search_versions(
        max_results=2, order_by=["version_number DESC", "name ASC"], page_token=first.next_page_token
    )
    found = [(each.version.model, each.version.version) for each in (*first.entries, *rest.entries)]
    assert found == [("alpha", 2), ("alpha", 1), ("beta", 1)]
    assert rest.next_page_token == ""


def test_the_greatest_version_of_each_stage_is_the_latest(workspace: Workspace) -> None:
    for _ in range(4):
        register(workspace)
    workspace.registry.set_stage("churn", 2, "Production")
    assert [each.version.version for each in workspace.catalogue.latest("churn")] == [4, 2]  # None began first
    assert [each.version.version for each in workspace.catalogue.latest("churn", ["production"])] == [2]
    with pytest.raises(Invalid, match="stage"):
        workspace.catalogue.latest("churn", ["Bogus"])


# ---------------------------------------------------------------- filled in, and shipped


def _rows(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"charge": rng.normal(size=200), "visits": rng.integers(0, 9, 200)})
    return rows, (rows["charge"] > 0).astype(int)


def test_ship_fills_a_bare_version_in_under_its_number(workspace: Workspace, tmp_path: Path) -> None:
    X, y = _rows(tmp_path)
    before = register(workspace, pickle=pickle.dumps(LogisticRegression().fit(X, y))).version
    workspace.registry.set_alias("churn", alias="best", version=1)
    with pytest.raises(Denied, match="nobody has vouched"):
        api.ship("models:/churn/1", X, y, workspace=workspace.path, quiet=True)
    filled = api.ship("models:/churn@best", X, y, trust=True, workspace=workspace.path, quiet=True)
    assert (filled.version, filled.bare, filled.trusted, filled.run_id) == (1, False, True, before.run_id)
    assert filled.release_hash != before.release_hash
    line = workspace.governance.entries()[-1]
    assert (line.action, line.facts["release"], line.facts["previous_release"]) == (
        "fill",
        filled.release_hash,
        before.release_hash,
    )
    entry = workspace.catalogue.entry("churn", 1)
    assert (entry.aliases, entry.version.source) == (("best",), before.source)
    assert workspace.registry.has_baseline(filled)
    with pytest.raises(Conflict, match="full release already"):
        api.ship("models:/churn/1", X, y, trust=True, workspace=workspace.path, quiet=True)


def test_clients_find_the_files_of_a_shipped_version_too(workspace: Workspace, tmp_path: Path) -> None:
    X, y = _rows(tmp_path)
    model = LogisticRegression().fit(X, y)
    shipped = api.ship(model, X, y, name="churn", workspace=workspace.path, quiet=True)
    uri = workspace.catalogue.download_uri("churn", 1)
    assert uri == f"mlflow-artifacts:/releases/{shipped.release_hash}"
    names = {each.name for each in workspace.artifacts.list(uri.removeprefix("mlflow-artifacts:/"))}
    assert {"MLmodel", "model.pkl", "requirements.txt"} <= names
    assert workspace.catalogue.download_uri("churn", 1) == uri


def test_nothing_of_a_failed_registration_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    register(workspace)
    run_id, uri = log_run(workspace)

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(workspace.governance, "record", fails)
        with pytest.raises(OSError, match="disk full"):
            workspace.catalogue.create_version("churn", source=uri, run_id=run_id, actor=BEN)
    assert [each.version for each in workspace.registry.versions("churn")] == [1]
    assert register(workspace).version.version == 2


def test_versions_travel_as_json(workspace: Workspace) -> None:
    entry = register(workspace)
    assert msgspec.json.decode(msgspec.json.encode(entry), type=type(entry)) == entry
