"""What a registry that stays where it is hears of the versions taken from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlspine.core.errors import NotFound, Unavailable
from mlspine.interop.attach import ForeignVersion
from mlspine.interop.attached import Attached
from mlspine.workspace import Workspace
from tests.unit.registry.mlflow_world import ANN, open_workspace, register


class Elsewhere:
    """A registry that keeps what it is told, as long as it answers."""

    def __init__(self) -> None:
        self.answers = True
        self.heard: list[tuple[str, int, dict[str, str]]] = []

    def write(self, version: ForeignVersion, tags: Mapping[str, str]) -> None:
        if not self.answers:
            raise Unavailable(f"{version.registry} does not answer")
        self.heard.append((version.name, version.version, dict(tags)))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(tmp_path)
    register(opened)
    yield opened
    opened.close()


def attached_to(workspace: Workspace, registry: Elsewhere) -> Attached:
    return Attached(db=workspace.db, registry=workspace.registry, governance=workspace.governance, write=registry.write)


def attach(attached: Attached) -> None:
    attached.attach("churn", 1, registry="http://127.0.0.1:5000", foreign_name="loan", foreign_version=7, actor=ANN)


def test_it_hears_at_once_and_then_only_what_is_new(workspace: Workspace) -> None:
    elsewhere = Elsewhere()
    attached = attached_to(workspace, elsewhere)
    attach(attached)
    name, number, tags = elsewhere.heard[0]
    assert (name, number, tags["mlspine.stage"]) == ("loan", 7, "None")
    assert tags["mlspine.release"] == workspace.registry.get("churn", 1).release_hash
    assert attached.tell() == 0
    workspace.registry.set_stage("churn", 1, "Staging")
    assert attached.tell() == 1
    assert elsewhere.heard[1:] == [("loan", 7, {"mlspine.stage": "Staging"})]
    assert workspace.governance.entries("model:churn")[-1].action == "attach"


def test_what_it_could_not_hear_is_told_later(workspace: Workspace) -> None:
    elsewhere = Elsewhere()
    elsewhere.answers = False
    attached = attached_to(workspace, elsewhere)
    attach(attached)
    assert attached.versions()[0].problem == "http://127.0.0.1:5000 does not answer"
    elsewhere.answers = True
    assert attached.tell() == 1
    assert attached.versions()[0].problem == ""
    assert len(elsewhere.heard) == 1


def test_only_a_version_that_is_there_can_be_attached(workspace: Workspace) -> None:
    elsewhere = Elsewhere()
    attached = attached_to(workspace, elsewhere)
    with pytest.raises(NotFound, match="churn:9"):
        attached.attach("churn", 9, registry="http://a", foreign_name="loan", foreign_version=7, actor=ANN)
    assert elsewhere.heard == []
