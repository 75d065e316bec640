"""The catalogue on both databases, and what a store of an earlier version becomes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.postgres import PostgresDatabase
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.ids import now_ms
from mlspine.core.plan import Plan
from mlspine.core.types import Actor
from mlspine.data.service import Data
from mlspine.deployment.moves import Moves
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.ports import Database
from mlspine.registry.catalogue import Catalogue
from mlspine.registry.service import Registry
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.service import Tracking
from tests.postgres import postgres_schema
from tests.unit.deployment.test_service import StandIn

ANN = Actor(name="ann")
SCRIPTS = migrations.scripts()
BEFORE = {name: text for name, text in SCRIPTS.items() if name < "0016"}


class Rooms(NamedTuple):
    registry: Registry
    catalogue: Catalogue
    moves: Moves
    governance: Governance


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    if request.param == "sqlite":
        opened: Database = SqliteDatabase(tmp_path / "store.db")
        yield opened
        opened.close()
        return
    with postgres_schema() as url:
        opened = PostgresDatabase(url)
        yield opened
        opened.close()


def rooms(db: Database, folder: Path) -> Rooms:
    governance, releases = Governance(db=db), folder / "releases"
    registry = Registry(db=db, data=Data(db=db), governance=governance, releases_dir=releases)
    catalogue = Catalogue(
        db=db,
        tracking=Tracking(db=db),
        models=LoggedModels(db=db),
        artifacts=Artifacts(db=db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=now_ms),
        governance=governance,
        releases_dir=releases,
    )
    deployment = Deployment(
        db=db,
        registry=registry,
        governance=governance,
        deployer=StandIn(),
        base_plan=Plan(number=0, workspace=str(folder), host="127.0.0.1", port=8080),
    )
    moves = Moves(
        db=db,
        registry=registry,
        catalogue=catalogue,
        deployment=deployment,
        governance=governance,
        gated_aliases=("champion",),
    )
    return Rooms(registry, catalogue, moves, governance)


def test_a_store_of_an_earlier_version_keeps_its_models(db: Database, tmp_path: Path) -> None:
    db.migrate(BEFORE)
    with db.write() as tx:
        tx.execute("insert into model (name, created_at_ms) values ('churn', 5)")
        for version, release in ((1, "a" * 64), (3, "b" * 64)):
            tx.execute(
                "insert into model_version (model, version, release_hash, stage, created_at_ms, owner, owner_assumed,"
                " tier, message, origin, trusted, flavor, metric, missing, captured, bulk) values ('churn', :version,"
                " :release, 'Production', 7, 'ann', 0, 'low', 'said', 'in-process', 1, 'sklearn', 'null', '[]', '{}',"
                " '{}')",
                version=version,
                release=release,
            )
        tx.execute("insert into model_alias (model, alias, version) values ('churn', 'best', 3)")
    db.migrate(SCRIPTS)
    there = rooms(db, tmp_path)
    entry = there.catalogue.entry("churn", 3)
    assert (entry.version.stage, entry.version.description, entry.version.bare) == ("Production", "said", False)
    assert (entry.aliases, entry.version.updated_at_ms) == (("best",), 7)
    assert there.catalogue.model("churn").updated_at_ms == 5
    made = there.catalogue.create_version("churn", source="s3://bucket/model", actor=ANN)
    assert made.version.version == 4


def test_everything_the_catalogue_does_runs_on_both(db: Database, tmp_path: Path) -> None:
    db.migrate(SCRIPTS)
    there = rooms(db, tmp_path)
    there.catalogue.create("churn", description="d", tags=[("team", "red")], actor=ANN)
    for bucket in ("one", "two", "two"):
        there.catalogue.create_version("churn", source=f"s3://{bucket}/model", tags=[("at", bucket)], actor=ANN)
    there.catalogue.set_tag("churn", "team", "blue")
    there.catalogue.delete_tag("churn", "absent")
    there.catalogue.describe("churn", "e")
    there.catalogue.set_version_tag("churn", 1, "seen", "yes")
    there.catalogue.delete_version_tag("churn", 1, "at")
    there.catalogue.describe_version("churn", 2, "second")
    there.moves.transition("churn", 1, stage="Staging", actor=ANN)
    there.moves.transition("churn", 2, stage="Staging", archive_existing=True, actor=ANN)
    there.moves.set_alias("churn", alias="champion", version=1, actor=ANN)
    there.moves.set_alias("churn", alias="champion", version=2, actor=ANN)
    there.moves.rename("churn", new_name="Churn, June", actor=ANN)
    model = there.catalogue.model("Churn, June")
    assert (model.description, model.tags, model.aliases) == ("e", {"team": "blue"}, {"champion": 2})
    assert [(each.version.version, each.version.stage) for each in model.latest] == [
        (1, "Archived"),
        (2, "Staging"),
        (3, "None"),
    ]
    found = there.catalogue.search_versions(filter="tag.at = 'two' and version_number < 3").entries
    assert [(each.version.version, each.version.description) for each in found] == [(2, "second")]
    assert [each.name for each in there.catalogue.search(filter="tags.team = 'blue'").models] == ["Churn, June"]
    there.moves.delete_version("Churn, June", 3, actor=ANN)
    there.moves.delete_alias("Churn, June", alias="champion", actor=ANN)
    there.moves.delete("Churn, June", actor=ANN)
    assert there.catalogue.search().models == ()
    assert there.governance.verify().intact
